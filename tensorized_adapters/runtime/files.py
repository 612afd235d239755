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


def write_atomically(path: Path, content: bytes) -> None:
    """Write ``content`` to a temporary file beside ``path`` and rename it, so that a kill leaves the old file or the
    new one."""
    with _temporary_file(path) as temporary:
        with open(temporary, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)


@contextlib.contextmanager
def written_then_renamed(path: Path) -> Iterator[Path]:
    """Yield a temporary file beside ``path``. It is renamed at the end, or removed if writing fails.

    Several hosts may share the folder. Temporary files of killed processes are removed, and those that another
    process is writing are kept.
    """
    for temporary in path.parent.glob(f".{path.name}.*.aside"):
        _remove_if_abandoned(temporary)
    with _temporary_file(path) as temporary:
        yield temporary
        os.replace(temporary, path)


@contextlib.contextmanager
def _temporary_file(path: Path) -> Iterator[Path]:
    """Yield a new file beside ``path``, locked while it is written.

    Its name is random, because two hosts can have equal process ids. The lock ends with its process on any host, so
    an unlocked file is abandoned.
    """
    while True:
        temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}.aside")
        handle = os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o666)
        with contextlib.suppress(OSError):  # a file system without locks; no file counts as abandoned there
            fcntl.flock(handle, fcntl.LOCK_EX)
        if temporary.exists():
            break
        os.close(handle)  # another process removed it as abandoned, just before it was locked
    try:
        yield temporary
    finally:
        os.close(handle)
        temporary.unlink(missing_ok=True)


def _remove_if_abandoned(temporary: Path) -> None:
    try:
        handle = os.open(temporary, os.O_RDONLY)
    except OSError:
        return
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        temporary.unlink(missing_ok=True)
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
    write_atomically(path, (json.dumps(value, indent=2, default=str) + "\n").encode())


def tsv_of(rows: Iterable[Iterable[Any]]) -> bytes:
    """Return the rows as tab-separated lines in UTF-8. Fields with tabs, quotes or line ends are quoted."""
    buffer = io.StringIO()
    csv.writer(buffer, delimiter="\t", lineterminator="\n").writerows(rows)
    return buffer.getvalue().encode()


def sha256_of(path: Path) -> str:
    with open_regular(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def open_regular(path: Path) -> BinaryIO:
    """Open a regular file for reading, without waiting for a pipe or reading a device of that name.

    Raises:
        OSError: if it cannot be opened, or is not a regular file.
    """
    file = open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK))
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise OSError(errno.EINVAL, "not a regular file", str(path))
    return file


def content_of(path: Path, largest: Optional[int] = None) -> bytes:
    """Return the bytes of a regular file.

    Raises:
        UsageError: if it cannot be read, is not a regular file, or has more than ``largest`` bytes.
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
    except ValueError as error:  # no file can have such a path, for example one with a null byte
        raise UsageError(f"{quoted(str(path))} cannot be read: {error}") from None


def read_json(path: Path, expected: type = dict, largest: Optional[int] = None) -> Any:
    """Return the value in a JSON file, which has the ``expected`` type (dict or list).

    Raises:
        UsageError: in one line, if the file cannot be read, has more than ``largest`` bytes, is not JSON, or holds
            a value of another type.
    """
    try:
        value = json.loads(content_of(path, largest))
    except UsageError:
        raise
    except ValueError:
        raise UsageError(f"{path} is not JSON; it may be damaged") from None
    except RecursionError:
        raise UsageError(f"{path} is nested too deeply to be read") from None
    if not isinstance(value, expected):
        raise UsageError(f"{path} does not hold {'an object' if expected is dict else 'a list'}")
    return value


def is_number(value: Any) -> bool:
    """Return whether a value that was read from JSON is a finite number. JSON also has integers too large for a
    float."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e300
