"""Prints tables on the terminal, and measures the memory of this process."""

import resource
import sys
from collections.abc import Collection

import torch
from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from ..errors import one_line


def peak_memory() -> dict[str, int]:
    """Return this process's peak memory in bytes: resident, and if it uses a GPU, allocated and reserved there."""
    unit = 1 if sys.platform == "darwin" else 1024
    peak = {"resident": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit}
    if torch.cuda.is_initialized():
        peak |= {"gpu": torch.cuda.max_memory_allocated(), "gpu_reserved": torch.cuda.max_memory_reserved()}
    return peak


def console() -> Console:
    """Return Rich's console, wide enough for a table in a pipe, without markup: names may hold brackets and colons."""
    width = None if sys.stdout is not None and sys.stdout.isatty() else 160
    return Console(width=width, highlight=False, soft_wrap=True, markup=False, emoji=False)


def numbers_table(title: str, first: str, *others: str, text: Collection[str] = ()) -> Table:
    """Return an empty table whose columns are aligned to the right, except the ``first`` and those in ``text``."""
    columns = [Column(name, justify="left" if name in (first, *text) else "right") for name in (first, *others)]
    return Table(*columns, title=Text(one_line(title)), title_justify="left", caption_justify="left")
