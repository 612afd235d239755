"""The argument parser and the types of arguments that the subcommands and scripts share."""

import argparse
import re
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TypeVar

from tensorized_adapters.errors import RaisesUsageErrors, UsageError, quoted

T = TypeVar("T")
_MOST = 2**32 - 1  # the largest seed


class ScriptParser(RaisesUsageErrors, argparse.ArgumentParser):
    """Shows the script's docstring unchanged, refuses abbreviated flags, and raises UsageError for a wrong one."""

    def __init__(self, description: str):
        formatter = argparse.RawDescriptionHelpFormatter
        super().__init__(description=description, formatter_class=formatter, allow_abbrev=False)


def count(text: str) -> int:
    """Parse an integer of at least 1."""
    return _integer(text, 1)


def count_from_zero(text: str) -> int:
    """Parse an integer of at least 0."""
    return _integer(text, 0)


def rate(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{quoted(text)} must be a number, such as 1e-3") from None


def duration(text: str) -> float:
    """Parse ``90m``, ``1.5h`` or ``30s`` into seconds."""
    match = re.fullmatch(r"([0-9]{1,9}(?:\.[0-9]{1,9})?)([smh])", text)
    seconds = float(match[1]) * {"s": 1, "m": 60, "h": 3600}[match[2]] if match else 0.0
    if not seconds:
        raise argparse.ArgumentTypeError(f"{quoted(text)} must be a time above 0 with its unit, such as 90m or 1.5h")
    return seconds


def check_output(path: Path) -> None:
    """Refuse, before any work is done, a file that could not be written after it.

    Raises:
        UsageError: naming ``--output``.
    """
    flaw: object = None
    try:
        if path.is_dir():
            flaw = "it is a folder; name a file"
        else:
            with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name[:20]}."):
                pass
    except (OSError, ValueError) as error:  # ValueError: of a NUL character
        flaw = getattr(error, "strerror", None) or error
    if flaw:
        raise UsageError(f"--output {path} cannot be written: {flaw}")


def list_of(parse: Callable[[str], T]) -> Callable[[str], tuple[T, ...]]:
    """Return a parser of comma-separated values, each of which ``parse`` reads."""
    return lambda text: tuple(parse(word) for word in text.split(","))


def names_of(choices: Iterable[str], or_none: bool = False) -> Callable[[str], tuple[str, ...]]:
    """Return a parser of comma-separated names in ``choices``, also in capitals. ``or_none`` allows "none" for no
    name."""

    def parse(text: str) -> tuple[str, ...]:
        if or_none and text.lower() == "none":
            return ()
        for name in text.split(","):
            if name.lower() not in choices:
                raise argparse.ArgumentTypeError(f"{quoted(name)} must be one of {', '.join(choices)}")
        return tuple(text.lower().split(","))

    return parse


def _integer(text: str, least: int) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) <= 18 and least <= int(text) <= _MOST):
        raise argparse.ArgumentTypeError(
            f"{quoted(text)} must be an integer of at least {least}, and at most {_MOST:,}"
        )
    return int(text)
