"""Faults inside of a process, set up before the job starts in it: kills at chosen points, and limits."""

import os
import resource
import signal
import sys
from collections.abc import Callable
from pathlib import Path

from forked_run import changed_paths


def _below(folder: Path, event: str, arguments: tuple) -> bool:
    return any(path.startswith(str(folder)) for path in changed_paths(event, arguments))


def counting(folder: Path, counter: Path) -> Callable[[], None]:
    """Append a byte to the file ``counter`` for each change of files below ``folder``."""

    def prepare() -> None:
        opened = os.open(counter, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
        sys.addaudithook(lambda event, arguments: _below(folder, event, arguments) and os.write(opened, b"."))

    return prepare


def killed_at_change(folder: Path, number: int) -> Callable[[], None]:
    """kill -9 right before the ``number``-th change of files below ``folder`` (open to write, rename, remove, ...)."""
    seen = 0

    def hook(event: str, arguments: tuple) -> None:
        nonlocal seen
        if _below(folder, event, arguments):
            seen += 1
            if seen == number:
                os.kill(os.getpid(), signal.SIGKILL)

    return lambda: sys.addaudithook(hook)


def killed_after_seals(folder: Path, number: int) -> Callable[[], None]:
    """kill -9 right before the first change of files after ``number`` checkpoints have a manifest."""
    seals = 0

    def hook(event: str, arguments: tuple) -> None:
        nonlocal seals
        if seals == number and _below(folder, event, arguments):
            os.kill(os.getpid(), signal.SIGKILL)
        if event == "os.rename" and str(arguments[1]).endswith("manifest.json"):
            seals += 1

    return lambda: sys.addaudithook(hook)


def killed_in_write(size: int) -> Callable[[], None]:
    """Kill the process in the first write that makes a file larger than ``size`` bytes."""

    def prepare() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_DFL)  # Python ignores it
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))

    return prepare


def files_limited(size: int) -> Callable[[], None]:
    """No file may grow beyond ``size`` bytes: the next write fails, as on a full disk."""
    return lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
