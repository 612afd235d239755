"""Reading and writing files: atomic writes, checksums, and reading JSON that may be damaged."""

import contextlib
import csv
import errno
import fcntl
import hashlib
import io
import json
import os
import secrets
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, Optional

from ..errors import UsageError, quoted


def write_aside(path: Path, content: bytes) -> None:
    """Write ``content`` beside ``path`` and rename it into place: a kill leaves the old file or the new one."""
    with _new_aside(path) as aside:
        with open(aside, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(aside, path)


@contextlib.contextmanager
def rename_into_place(path: Path) -> Iterator[Path]:
    """Give a file beside ``path`` to write to; it is renamed at the end, and removed if writing fails.

    For folders that several hosts share: what a killed process left of such a file is removed, what another one is
    writing is not.
    """
    for left in path.parent.glob(f".{path.name}.*.aside"):
        _remove_if_abandoned(left)
    with _new_aside(path) as aside:
        yield aside
        os.replace(aside, path)


@contextlib.contextmanager
def _new_aside(path: Path) -> Iterator[Path]:
    """A file beside ``path`` that nobody else has: its name is random, since process ids are those of one host, and
    it stays locked while it is written, since a lock ends with its holder wherever that ran."""
    while True:
        aside = path.with_name(f".{path.name}.{secrets.token_hex(8)}.aside")
        handle = os.open(aside, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o666)
        with contextlib.suppress(OSError):  # of a file system without locks, where nothing is ever taken for abandoned
            fcntl.flock(handle, fcntl.LOCK_EX)
        if aside.exists():
            break
        os.close(handle)  # taken for abandoned in the moment before it was locked
    try:
        yield aside
    finally:
        os.close(handle)
        aside.unlink(missing_ok=True)


def _remove_if_abandoned(aside: Path) -> None:
    try:
        handle = os.open(aside, os.O_RDONLY)
    except OSError:
        return
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        aside.unlink(missing_ok=True)
    except OSError:
        pass
    finally:
        os.close(handle)


def remove_empty(folders: list[Path]) -> None:
    """Remove folders, the innermost first, up to the first that is not empty."""
    with contextlib.suppress(OSError):
        for folder in folders:
            folder.rmdir()


def write_json(path: Path, value: Any) -> None:
    write_aside(path, (json.dumps(value, indent=2, default=str) + "\n").encode())


def tsv_of(rows: Iterable[Iterable[Any]]) -> bytes:
    """The rows as tab-separated lines in UTF-8; fields with tabs, quotes or line ends are quoted."""
    buffer = io.StringIO()
    csv.writer(buffer, delimiter="\t", lineterminator="\n").writerows(rows)
    return buffer.getvalue().encode()


def sha256_of(path: Path) -> str:
    with open_regular(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def open_regular(path: Path) -> BinaryIO:
    """A regular file, opened for reading; a pipe in its place is not waited for, and a device not read.

    Raises:
        OSError: if it cannot be opened, or is something else.
    """
    file = open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK))
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise OSError(errno.EINVAL, "not a regular file", str(path))
    return file


def content_of(path: Path, largest: Optional[int] = None) -> bytes:
    """A regular file's bytes.

    Raises:
        UsageError: if it cannot be read, is something else, or has more than ``largest`` bytes.
    """
    try:
        with open_regular(path) as file:
            size = os.fstat(file.fileno()).st_size
            if largest is not None and size > largest:
                raise UsageError(f"{path} has {size:,} bytes, and at most {largest:,} are read")
            return file.read()
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from None
    except MemoryError:
        raise UsageError(f"{path} cannot be read: it does not fit into memory") from None
    except UsageError:
        raise
    except ValueError as error:  # of a path that no file can have
        raise UsageError(f"{quoted(str(path))} cannot be read: {error}") from None
