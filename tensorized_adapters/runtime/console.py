"""The terminal that tables are printed on, and the memory of this process."""

import resource
import sys

import torch
from rich.console import Console


def peak_memory() -> dict[str, int]:
    """Bytes: the process's peak resident set; if it uses a GPU, the peaks allocated there, and reserved for it."""
    unit = 1 if sys.platform == "darwin" else 1024
    peak = {"resident": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit}
    if torch.cuda.is_initialized():
        peak |= {"gpu": torch.cuda.max_memory_allocated(), "gpu_reserved": torch.cuda.max_memory_reserved()}
    return peak


def console(stderr: bool = False) -> Console:
    """Rich's console, wide enough that a table prints in full when piped, and plain: what it prints holds names of
    files and settings, in which brackets and colons are no markup."""
    width = None if sys.stdout is not None and sys.stdout.isatty() else 160
    return Console(stderr=stderr, width=width, highlight=False, soft_wrap=True, markup=False, emoji=False)
