"""Makes a folder that appears only when all its files are written."""

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from ..errors import UsageError, quoted


def check_new_folder(path: Path) -> None:
    """Refuse an ``--output_dir`` that holds something, or that could not be made; raise UsageError.

    The check makes the same folder as :func:`new_folder`, and removes it.
    """
    try:
        if os.path.lexists(path) and not (path.is_dir() and not any(path.iterdir())):
            raise UsageError(f"--output_dir {path} is there already; name another folder")
        os.rmdir(_temporary_folder(path))
    except (OSError, ValueError) as error:
        if isinstance(error, UsageError):
            raise
        reason = getattr(error, "strerror", None) or error
        raise UsageError(
            f"--output_dir {quoted(str(path))} cannot be written: {reason}; name another folder"
        ) from None


@contextlib.contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """Yield a folder beside ``path``. It is renamed to ``path`` at the end, or removed if writing fails."""
    temporary = _temporary_folder(path)
    try:
        yield temporary
        temporary.chmod(0o777 & ~_umask())
        os.replace(temporary, path)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def _temporary_folder(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    return Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name[:20]}."))


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
