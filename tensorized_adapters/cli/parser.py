"""The argument parser, the types of arguments and the checks of outputs that the subcommands and scripts share."""

import argparse
import contextlib
import os
import re
import secrets
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from tensorized_adapters.errors import RaisesUsageErrors, UsageError, quoted
from tensorized_adapters.runtime.files import refusing_unwritable

T = TypeVar("T")
_MOST = 2**32 - 1  # the largest seed


class ScriptParser(RaisesUsageErrors, argparse.ArgumentParser):
    """Shows the script's docstring unchanged, expands ``~`` in paths, and raises UsageError for abbreviated flags, for
    empty values, and for an ``--output`` that could not be written."""

    def __init__(self, description: str):
        formatter = argparse.RawDescriptionHelpFormatter
        super().__init__(description=description, formatter_class=formatter, allow_abbrev=False)

    def _get_value(self, action: argparse.Action, arg_string: str) -> Any:
        if not arg_string:  # pathlib would read it as the current folder
            name = action.option_strings[0] if action.option_strings else action.metavar
            raise UsageError(f"{name} is empty; give it a value or leave it out")
        value = super()._get_value(action, arg_string)
        if isinstance(value, Path):  # a shell does not expand --output_dir=~/x
            value = Path(os.path.expanduser(value))
        if action.dest == "output":
            check_output(value)
        return value


def _integer(text: str, least: int) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) <= 18 and least <= int(text) <= _MOST):
        bounds = f"at least {least}, and at most {_MOST:,}"
        raise argparse.ArgumentTypeError(f"{quoted(text)} must be an integer of {bounds}")
    return int(text)


positive_integer, nonnegative_integer = partial(_integer, least=1), partial(_integer, least=0)


def number(text: str) -> float:
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
    """Refuse an ``--output`` that could not be written, or a pipe or device, which a file would replace. A link is
    judged by where it points."""
    with refusing_unwritable(f"--output {path}"):
        target = Path(os.path.realpath(path))
        if target.is_dir():
            raise ValueError("it is a folder; name a file")
        if os.path.lexists(target) and not target.is_file():
            raise ValueError("it is not a regular file; name another")
        tempfile.TemporaryFile(dir=target.parent).close()


@contextlib.contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """Yield a folder that takes the place of ``path``, or of the empty folder to which it links, at the end. It is
    removed if anything fails. Raises UsageError at once if ``path`` holds something, or cannot be made or replaced."""
    flag = f"--output_dir {quoted(str(path))}"
    if path.name in ("", ".."):
        raise UsageError(f"{flag} must end in the name of a new or empty folder")
    with refusing_unwritable(flag, "; name another folder"):
        target = Path(os.path.realpath(path))
        if os.path.lexists(path) and not (target.is_dir() and not any(target.iterdir())):
            raise UsageError(f"--output_dir {path} exists and is not an empty folder; name another")
        if os.path.ismount(target):
            raise UsageError(f"{flag} is a mount point, which cannot be replaced; name a folder in it")
        temporary = target.with_name(f".{target.name[:20]}.{secrets.token_hex(8)}")
        temporary.mkdir(parents=True)
    try:
        yield temporary
        os.replace(temporary, target)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def comma_separated(parse: Callable[[str], T]) -> Callable[[str], tuple[T, ...]]:
    """Return an argparse type for comma-separated values, each of which ``parse`` reads."""
    return lambda text: tuple(parse(word) for word in text.split(","))


def names_among(choices: Iterable[str], or_none: bool = False) -> Callable[[str], tuple[str, ...]]:
    """Return an argparse type for comma-separated names in ``choices``, in any case. With ``or_none``, "none" means no
    name."""

    def parse(text: str) -> tuple[str, ...]:
        if or_none and text.lower() == "none":
            return ()
        for name in text.split(","):
            if name.lower() not in choices:
                raise argparse.ArgumentTypeError(f"{quoted(name)} must be one of {', '.join(choices)}")
        return tuple(text.lower().split(","))

    return parse
