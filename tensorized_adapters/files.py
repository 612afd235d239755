"""Writing so that a reader never sees half a file, and hashing."""

import contextlib
import fcntl
import hashlib
import json
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .reading import open_regular


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


def sha256_of(path: Path) -> str:
    with open_regular(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
