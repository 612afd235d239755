"""What the command lines of the Python scripts have in common."""

import argparse
from collections.abc import Callable, Iterable

from tensorized_adapters.errors import RaisesUsageErrors


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


def counts(text: str) -> tuple[int, ...]:
    """Such numbers, comma-separated."""
    return tuple(count(word) for word in text.split(","))


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
