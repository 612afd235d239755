"""Reading files that come from anywhere."""

import errno
import os
import stat
from pathlib import Path
from typing import BinaryIO, Optional

from .errors import UsageError, quoted


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
