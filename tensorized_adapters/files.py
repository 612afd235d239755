"""Writing so that a reader never sees half a file, and hashing."""

import contextlib
import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any


def write_aside(path: Path, content: bytes) -> None:
    """Write ``content`` beside ``path`` and rename it into place: a kill leaves the old file or the new one."""
    aside = path.with_name(f".{path.name}.{os.getpid()}.aside")
    with open(aside, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    os.replace(aside, path)


@contextlib.contextmanager
def rename_into_place(path: Path) -> Iterator[Path]:
    """Give a path beside ``path`` to write to; it is renamed at the end, and removed if writing fails."""
    for left in path.parent.glob(f".{path.name}.*.aside"):  # by a process that was killed
        if not Path(f"/proc/{left.name.split('.')[-2]}").exists():
            left.unlink(missing_ok=True)
    aside = path.with_name(f".{path.name}.{os.getpid()}.aside")
    try:
        yield aside
        os.replace(aside, path)
    finally:
        aside.unlink(missing_ok=True)


def write_json(path: Path, value: Any) -> None:
    write_aside(path, (json.dumps(value, indent=2, default=str) + "\n").encode())


def sha256_of(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
