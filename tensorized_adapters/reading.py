"""Reading files that come from anywhere."""

import os
import stat
from pathlib import Path
from typing import Optional

from .errors import UsageError, quoted


def content_of(path: Path, largest: Optional[int] = None) -> bytes:
    """A regular file's bytes; a pipe in its place is not waited for.

    Raises:
        UsageError: if it cannot be read, is something else, or has more than ``largest`` bytes.
    """
    try:
        with open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK)) as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise UsageError(f"{path} is not a regular file")
            if largest is not None and status.st_size > largest:
                raise UsageError(f"{path} has {status.st_size:,} bytes, and at most {largest:,} are read")
            return file.read()
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from None
    except MemoryError:
        raise UsageError(f"{path} cannot be read: it does not fit into memory") from None
    except UsageError:
        raise
    except ValueError as error:  # of a path that no file can have
        raise UsageError(f"{quoted(str(path))} cannot be read: {error}") from None
