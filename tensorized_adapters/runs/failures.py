"""Turns each error that can end a run into one line."""

import errno
import os
import shutil
import tempfile
from pathlib import Path
from typing import Optional

from ..errors import RunFailed, Terminated, UsageError
from ..runtime.distributed import is_lost_process
from ..runtime.exits import unexpected

_NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
# How libraries that write files report a full disk: torch.save, datasets, and those that pass on the system's message.
_NO_SPACE_WORDS = ("file write failed", "unexpected pos", "PytorchStreamWriter failed", "Not enough disk space")
_NO_SPACE_WORDS += ("iostream error", *map(os.strerror, _NO_SPACE))
_OUT_OF_MEMORY = ("out of memory", "can't allocate memory")


def as_failure(error: BaseException, doing: str, folder: Path, began: bool) -> BaseException:
    """Return the one-line error with which a run ends because of ``error``. Refusals and interrupts stay as they are.

    ``doing`` is the step of the run, as in "while ...". If the run ``began`` to write, its folder gets the traceback.
    """
    if no_space := _cause_without_space(error):
        return RunFailed(_no_space(no_space, doing, folder, began))
    if began and isinstance(error, UsageError):  # for example, the folder can no longer be written
        return RunFailed(str(error))
    if isinstance(error, (UsageError, RunFailed, KeyboardInterrupt, Terminated, SystemExit, GeneratorExit)):
        return error
    if is_out_of_memory(error):
        return RunFailed(
            f"out of memory while {doing}: try a smaller --per_device_train_batch_size or --max_seq_length"
        )
    if is_lost_process(error):
        kept = "; the same command goes on from the newest checkpoint, if there is one" if began else ""
        return RunFailed(f"while {doing}: another process of this run has ended{kept}")
    if isinstance(error, OSError) and error.filename is not None:
        return RunFailed(f"{error.filename} failed while {doing}: {error.strerror or error}")
    return RunFailed(f"while {doing}: {unexpected(error, folder if began else None)}")


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether the machine or its GPU has no memory left."""
    return isinstance(error, MemoryError) or any(words in str(error).lower() for words in _OUT_OF_MEMORY)


def _cause_without_space(error: Optional[BaseException]) -> Optional[BaseException]:
    """Return the first of an error and its causes that reports a full disk, or None."""
    while error is not None:
        if getattr(error, "errno", None) in _NO_SPACE or any(words in str(error) for words in _NO_SPACE_WORDS):
            return error
        error = error.__cause__ or error.__context__
    return None


def _no_space(error: BaseException, doing: str, folder: Path, began: bool) -> str:
    """Return the message about a full disk. It names the file of the error, or if there is none the full folders."""
    file = getattr(error, "filename", None)
    if file is None:
        folders = {str(folder): folder, "the temporary files' " + tempfile.gettempdir(): Path(tempfile.gettempdir())}
        file = " and ".join(name for name, path in folders.items() if _is_full(path)) or "a file"
    kept = ": checkpoints that were saved before are kept, and the same command goes on from them" if began else ""
    return f"no space left for {file} while {doing}; free some and start again{kept}"


def _is_full(path: Path) -> bool:
    try:
        return shutil.disk_usage(path).free < 2**20
    except OSError:
        return False
