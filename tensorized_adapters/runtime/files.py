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
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, Optional

from ..errors import UsageError, printable


def write_atomically(path: Path, content: bytes) -> None:
    """Write a temporary file beside ``path`` and rename it, so that a kill leaves the old file or the new one."""
    with written_then_renamed(path) as temporary:
        write_to_disk(temporary, content)


@contextlib.contextmanager
def refusing_unwritable(name: str, advice: str = "") -> Iterator[None]:
    """Turn an error of the system within the block into one line: UsageError, NAME cannot be written."""
    try:
        yield
    except UsageError:
        raise
    except (OSError, ValueError) as error:  # ValueError for a path with a null byte
        raise UsageError(f"{name} cannot be written: {getattr(error, 'strerror', None) or error}{advice}") from None


def make_folder(path: Path) -> None:
    """Make a folder, and those above it. Raise OSError, which names the link, for a link to a missing folder: it is
    not made, since it may be on a disk that is not mounted."""
    for folder in (path, *path.parents):
        if folder.is_symlink() and not folder.exists():
            raise OSError(errno.ENOENT, f"{folder} links to {os.readlink(folder)}, where there is no folder")
    path.mkdir(parents=True, exist_ok=True)


def write_to_disk(path: Path, content: bytes) -> None:
    """Write a file, and return when it is on the disk, so that a power cut after that leaves it complete."""
    with open(path, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


@contextlib.contextmanager
def written_then_renamed(path: Path) -> Iterator[Path]:
    """Yield a temporary file beside ``path``. It is renamed at the end, or removed if writing fails.

    Several hosts may share the folder, so the name is random, and the file is locked while it is written. The lock
    ends with its process on any host. An unlocked file was left by a killed process, and is removed.
    """
    for temporary in path.parent.glob(f".{path.name}.*.tmp"):
        with contextlib.suppress(OSError), open(temporary, "rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            temporary.unlink(missing_ok=True)
    while True:
        temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}.tmp")
        handle = os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o666)
        with contextlib.suppress(OSError):  # a file system without locks; no file counts as abandoned there
            fcntl.flock(handle, fcntl.LOCK_EX)
        if temporary.exists():
            break
        os.close(handle)  # another process removed it as abandoned, just before it was locked
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        os.close(handle)
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def locked_folder(path: Path, user: str) -> Iterator[None]:
    """Make the folder of ``--output_dir`` and lock it within the block. If it was made here and nothing was written,
    it is removed at the end. Raises UsageError if it cannot be made, written or locked, or if another ``user`` (a run
    or a sweep) holds it."""
    with contextlib.ExitStack() as at_the_end:
        made: list[Path] = []
        at_the_end.callback(_remove_empty, made)
        with refusing_unwritable(f"--output_dir {path}"):
            made += [folder for folder in (path, *path.parents) if not folder.exists()]
            make_folder(path)
            tempfile.TemporaryFile(dir=path).close()  # mode bits do not tell whether root can write
            lock = [os.open(path, os.O_RDONLY)]

        def unlock() -> None:
            if lock:
                os.close(lock.pop())

        at_the_end.callback(unlock)
        os.register_at_fork(after_in_child=unlock)  # a worker that outlives a killed process must not keep its lock
        try:
            fcntl.flock(lock[0], fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            made.clear()  # the folder is the other's now
            raise UsageError(f"--output_dir {path} is in use by another {user}; wait for it or name another") from None
        except OSError as error:
            advice = "name a folder on a file system with locks"
            raise UsageError(f"--output_dir {path} cannot be locked: {error.strerror}; {advice}") from None
        yield


def _remove_empty(folders: list[Path]) -> None:
    """Remove folders, the innermost first, up to the first that is not empty."""
    with contextlib.suppress(OSError, ValueError):
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
    """Open a regular file for reading; raise OSError. A pipe or a device of that name is not waited for."""
    file = open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK))
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise OSError(errno.EINVAL, "not a regular file", str(path))
    return file


def content_of(path: Path, largest: Optional[int] = None) -> bytes:
    """Return the bytes of a regular file; raise UsageError if it cannot be read or has more than ``largest`` bytes."""
    try:
        with open_regular(path) as file:
            size = os.fstat(file.fileno()).st_size
            if largest is None or size <= largest:
                return file.read()
    except (OSError, MemoryError, ValueError) as error:  # ValueError for a path with a null byte
        reason = getattr(error, "strerror", None) or str(error) or "it does not fit into memory"
        raise UsageError(f"{printable(str(path))} cannot be read: {reason}") from None
    raise UsageError(f"{path} has {size:,} bytes, and at most {largest:,} are read")


def read_json(path: Path) -> dict[str, Any]:
    """Return the object in a JSON file. Raise UsageError if it cannot be read, or holds anything else."""
    content = content_of(path)
    try:
        value = json.loads(content)
    except (ValueError, RecursionError):  # a damaged file may be nested too deeply
        raise UsageError(f"{path} is not JSON; it may be damaged") from None
    if not isinstance(value, dict):
        raise UsageError(f"{path} does not hold an object")
    return value


@contextlib.contextmanager
def one_at_a_time(path: Path) -> Iterator[None]:
    """Let one process at a time run the block, which writes ``path``. On a file system without locks none waits."""
    with contextlib.ExitStack() as stack:
        try:  # reading suffices, so that users can share a folder
            file = os.open(path.with_suffix(".lock"), os.O_RDONLY | os.O_CREAT, 0o666)
            stack.callback(os.close, file)
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(f"waiting for another process that computes {path}", flush=True)
            fcntl.flock(file, fcntl.LOCK_EX)
        except OSError:
            pass  # a file system without locks, or a folder that is not ours
        yield
