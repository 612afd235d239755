"""Writing an adapter's files into a folder that may hold other files, or an earlier adapter."""

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path

from ..errors import UsageError, quoted
from ..runtime.files import read_json, written_then_renamed
from . import ADAPTER_FILES, BESIDE_PEFT_FILE, CARD_FILE, CONFIG_FILE
from .model_card import MARK_OF_OURS

_HEADER = 2**12  # bytes at the start of a card, in which its header names the library
_CONFIGS = (BESIDE_PEFT_FILE, CONFIG_FILE)
_OF_THE_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EFBIG)  # another folder would not help


def check_free_for_adapter(folder: Path) -> None:
    """Refuse a folder in which the files of an adapter would replace something else.

    Raises:
        UsageError: if it is a file, or holds a model card or a config that this program did not write.
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


def write_adapters(folders: dict[Path, dict[str, bytes]]) -> None:
    """Write all files of all folders under temporary names, and then rename each, in the order given.

    Raises:
        UsageError: if a folder cannot be made or written.
        OSError: if the disk is full or fails.
    """
    with _refusing(Path(os.path.commonpath(folders))):
        with contextlib.ExitStack() as renames:  # they happen in reverse, and none does if something is raised
            for folder, files in reversed(folders.items()):
                folder.mkdir(parents=True, exist_ok=True)
                for name, content in reversed(files.items()):
                    with open(renames.enter_context(written_then_renamed(folder / name)), "wb") as file:
                        file.write(content)
                        file.flush()
                        os.fsync(file.fileno())
        for folder, files in folders.items():
            if CONFIG_FILE in files and BESIDE_PEFT_FILE not in files:
                (folder / BESIDE_PEFT_FILE).unlink(missing_ok=True)


def replace_card(folder: Path, content: bytes) -> None:
    """Replace the card of a saved adapter; raises as :func:`write_adapters`."""
    with _refusing(folder), written_then_renamed(folder / CARD_FILE) as temporary:
        temporary.write_bytes(content)


@contextlib.contextmanager
def _refusing(folder: Path) -> Iterator[None]:
    """Turn an error of the operating system about the folder into one line."""
    try:
        yield
    except OSError as error:
        if error.errno in _OF_THE_DISK:
            raise
        raise UsageError(f"{folder} cannot be written: {error.strerror}; name another folder") from None
    except UsageError:
        raise
    except ValueError as error:  # no folder can have such a path
        raise UsageError(f"{quoted(str(folder))} cannot be written: {error}") from None


def _is_our_card(path: Path) -> bool:
    if not path.is_file():
        return False
    with open(path, "rb") as file:
        header = file.read(_HEADER)
    return header.startswith(b"---\n") and MARK_OF_OURS.encode() in header


def _is_our_config(path: Path) -> bool:
    """Return whether it is a config of this program, altered or not."""
    try:
        return {"format_version", "weights_sha256"} <= read_json(path).keys()
    except UsageError:
        return False
