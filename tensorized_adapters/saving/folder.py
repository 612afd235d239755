"""Writing an adapter's files into a folder that may hold others, or the adapter before."""

import contextlib
import errno
import json
import os
from collections.abc import Iterator
from pathlib import Path

from ..errors import UsageError, quoted
from ..runtime.files import content_of, rename_into_place
from . import ADAPTER_FILES, BESIDE_PEFT_FILE, CARD_FILE, CONFIG_FILE
from .format import LARGEST_CONFIG
from .model_card import MARK_OF_OURS

_HEADER = 2**12  # bytes of a card in which its header names whose it is
_CONFIGS = (BESIDE_PEFT_FILE, CONFIG_FILE)
_OF_THE_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EFBIG)  # what fails through no fault of the folder


def check_free_for_adapter(folder: Path) -> None:
    """Refuse a folder in which the files of an adapter would replace something else.

    Raises:
        UsageError: if it is a file, or holds a model card or a config that is not of this program.
    """
    with _refusing(folder):
        if not folder.exists():
            return
        if not folder.is_dir():
            raise UsageError(f"{folder} is a file; name a folder for the adapter")
        for name in sorted(ADAPTER_FILES):
            if os.path.isdir(folder / name):
                raise UsageError(f"{folder / name} is a folder, where the adapter has a file; name another folder")
        if _is_our_card(folder / CARD_FILE) or any(_is_our_config(folder / name) for name in _CONFIGS):
            return
        for name in (CARD_FILE, CONFIG_FILE):
            if os.path.lexists(folder / name):
                raise UsageError(f"{folder / name} is not of an adapter of this program; name another folder")


def write_adapter(folder: Path, files: dict[str, bytes]) -> None:
    """Write the files beside their places, all of them, and then rename each, in the order given.

    Raises:
        UsageError: if the folder cannot be made or written.
        OSError: if the disk is full or fails.
    """
    with _refusing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        with contextlib.ExitStack() as renames:  # which happen in reverse, and not at all if something is raised
            for name, content in reversed(files.items()):
                with open(renames.enter_context(rename_into_place(folder / name)), "wb") as file:
                    file.write(content)
                    file.flush()
                    os.fsync(file.fileno())
        if BESIDE_PEFT_FILE not in files:
            (folder / BESIDE_PEFT_FILE).unlink(missing_ok=True)


def replace_card(folder: Path, content: bytes) -> None:
    """Write the card of an adapter that is there; raises as :func:`write_adapter`."""
    with _refusing(folder), rename_into_place(folder / CARD_FILE) as aside:
        aside.write_bytes(content)


@contextlib.contextmanager
def _refusing(folder: Path) -> Iterator[None]:
    """What the system says against a folder, as one line for whoever named it."""
    try:
        yield
    except OSError as error:
        if error.errno in _OF_THE_DISK:
            raise
        raise UsageError(f"{folder} cannot be written: {error.strerror}; name another folder") from None
    except UsageError:
        raise
    except ValueError as error:  # of a path that no folder can have
        raise UsageError(f"{quoted(str(folder))} cannot be written: {error}") from None


def _is_our_card(path: Path) -> bool:
    if not path.is_file():
        return False
    with open(path, "rb") as file:
        header = file.read(_HEADER)
    return header.startswith(b"---\n") and MARK_OF_OURS.encode() in header


def _is_our_config(path: Path) -> bool:
    """Whether it names a format of ours, altered or not."""
    try:
        record = json.loads(content_of(path, LARGEST_CONFIG))
    except (ValueError, RecursionError):  # UsageError is a ValueError
        return False
    return isinstance(record, dict) and "format_version" in record and "weights_sha256" in record
