"""Handles Ctrl-C and SIGTERM, and standard streams whose reader has ended.

A script calls :func:`begin` before its long imports, so this module imports next to nothing.
"""

from __future__ import annotations

import gc
import io
import os
import signal
import sys
import threading

from ..errors import Terminated
from .distributed import is_main_process

_NUMBERS = (signal.SIGINT, signal.SIGTERM)

# While this is True, signals change nothing, so that a process that is ending can write and report why. It is assigned
# where an error is caught, and not by a function: Python handles signals at calls, and the signal's exception would
# replace the error.
ending = False
# Whether a signal has come while ``ending`` was True.
came_while_ending = False
# The hook that ours has replaced. It still reports the other exceptions that Python drops.
_earlier_hook = sys.__unraisablehook__


def begin() -> None:
    """Let this process end with one line at a signal, and continue when the reader of its output ends.

    Until :func:`raise_on_signals` a signal ends the process at once. Nothing has to be closed yet, and a library's
    import could swallow an exception or turn it into another one.
    """
    global ending, came_while_ending
    ending = came_while_ending = False  # a forked process may have its parent's values, and would ignore a signal
    for number in _NUMBERS:
        if signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler):  # nohup ignores a signal
            signal.signal(number, _exit_at_once)
    for handle in range(3):  # a new file would get the number of a closed stream
        try:
            os.fstat(handle)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    if not isinstance(getattr(getattr(sys.stdout, "buffer", None), "raw", None), _Output):  # unless called before
        sys.stdout, sys.stderr = _stream(1, sys.stdout), _stream(2, sys.stderr)
    # Imports make a million lasting objects. At Python's default, garbage collection takes a fifth of a start.
    gc.set_threshold(50_000, 10, 10)


def raise_on_signals() -> None:
    """Let Ctrl-C raise KeyboardInterrupt and SIGTERM raise Terminated from now on, so that files are closed.

    Only the handlers that :func:`begin` has set are changed. A program that calls us as a library keeps its own.
    """
    global _earlier_hook
    _replace_ours(_raise)
    if sys.unraisablehook is not _repeat_dropped and any(signal.getsignal(number) is _raise for number in _NUMBERS):
        _earlier_hook, sys.unraisablehook = sys.unraisablehook, _repeat_dropped


def ignore_signals() -> None:
    """Ignore Ctrl-C and SIGTERM to the end of the process, also after the interpreter has removed its handlers."""
    _replace_ours(signal.SIG_IGN)


class _Output(io.FileIO):
    """Drops what is written to a standard stream whose reader has ended (as in ``| head``)."""

    def write(self, content) -> int | None:
        try:
            return super().write(content)
        except BrokenPipeError:
            return len(content)


def _stream(handle: int, old: io.TextIOWrapper | None) -> io.TextIOWrapper:
    """Return standard output or error as :class:`_Output`. Characters that its encoding lacks are escaped."""
    raw = _Output(handle, "w", closefd=False)
    return io.TextIOWrapper(
        io.BufferedWriter(raw),
        encoding=old.encoding if old else "utf-8",
        errors="backslashreplace",
        line_buffering=handle == 2 or raw.isatty() or bool(old and old.write_through),
    )


def _replace_ours(new) -> None:
    """Replace the handlers that are ours."""
    for number in _NUMBERS:
        if signal.getsignal(number) in (_exit_at_once, _raise):
            signal.signal(number, new)


def _exit_at_once(number: int, _) -> None:
    if _noted_while_ending():
        return
    word = "interrupted" if number == signal.SIGINT else "terminated"
    try:
        if is_main_process():
            os.write(2, f"{word}: before anything was started\n".encode())
    finally:
        os._exit(128 + number)


def _raise(number: int, _) -> None:
    if not _noted_while_ending():
        raise KeyboardInterrupt if number == signal.SIGINT else Terminated


def _repeat_dropped(unraisable: sys.UnraisableHookArgs) -> None:
    """Send a signal again if Python has dropped its exception, as it does in destructors and other callbacks."""
    number = {KeyboardInterrupt: signal.SIGINT, Terminated: signal.SIGTERM}.get(unraisable.exc_type)
    if number is None:
        _earlier_hook(unraisable)
    else:  # later, because Python would handle it within the same callback
        threading.Timer(0.05, os.kill, (os.getpid(), number)).start()


def _noted_while_ending() -> bool:
    """Return whether the process is ending. If it is, remember that a signal has come."""
    global came_while_ending
    came_while_ending = came_while_ending or ending
    return ending
