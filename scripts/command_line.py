"""What the command lines of the Python scripts have in common."""

import argparse
from collections.abc import Callable, Iterable
from typing import TypeVar

from tensorized_adapters.errors import RaisesUsageErrors

T = TypeVar("T")


class ScriptParser(RaisesUsageErrors, argparse.ArgumentParser):
    """Shows the script's docstring as it stands, takes flags in full only, and raises UsageError for a wrong one."""

    def __init__(self, description: str):
        formatter = argparse.RawDescriptionHelpFormatter
        super().__init__(description=description, formatter_class=formatter, allow_abbrev=False)


def count(text: str) -> int:
    """A whole number of at least 1."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} must be a whole number of at least 1")
    return int(text)


def whole(text: str) -> int:
    """A whole number of at least 0."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} must be a whole number of at least 0")
    return int(text)


def rate(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} must be a number, such as 1e-3") from None


def list_of(kind: Callable[[str], T]) -> Callable[[str], tuple[T, ...]]:
    """A parser of comma-separated values of a kind."""
    return lambda text: tuple(kind(word) for word in text.split(","))


def names_of(choices: Iterable[str], or_none: bool = False) -> Callable[[str], tuple[str, ...]]:
    """A parser of comma-separated names out of ``choices``; with ``or_none`` the word "none" stands for no name."""

    def parse(text: str) -> tuple[str, ...]:
        if or_none and text == "none":
            return ()
        for name in text.split(","):
            if name not in choices:
                raise argparse.ArgumentTypeError(f"{name!r} must be one of {', '.join(choices)}")
        return tuple(text.split(","))

    return parse
