"""How a process of ours begins: its standard streams, and Ctrl-C and SIGTERM from the first import on.

A script imports this before anything else, so it imports next to nothing itself.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import io
import os
import signal
import sys
from collections.abc import Iterator

from ..errors import Terminated
from .distributed import is_first


def begin() -> None:
    """What a script does first: it ends in one line from here on, and survives whoever reads its output.

    Until :func:`raise_on_signals` nothing has to be closed, so Ctrl-C and SIGTERM end the process at once; an
    exception in the middle of an import could be swallowed there, or come out as another one.
    """
    for number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler):  # not ignored, as under nohup
            signal.signal(number, _end_at_once)
    atexit.register(_ignore_signals)  # the first one is called last
    for handle in range(3):  # a closed one would be given to the next file that is opened
        try:
            os.fstat(handle)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    sys.stdout, sys.stderr = _stream(1, sys.stdout), _stream(2, sys.stderr)
    # Imports make a million lasting objects. Looking for garbage among them at Python's pace is a fifth of a start.
    gc.set_threshold(50_000, 10, 10)


def raise_on_signals() -> None:
    """From here on SIGTERM raises Terminated, and Ctrl-C KeyboardInterrupt, so that files are closed."""
    signal.signal(signal.SIGTERM, _raise)
    if signal.getsignal(signal.SIGINT) is _end_at_once:
        signal.signal(signal.SIGINT, _raise)


def settled() -> None:
    """What a signal raised was caught by whoever ends the process: it need not be raised again."""
    signal.setitimer(signal.ITIMER_REAL, 0)


@contextlib.contextmanager
def undisturbed() -> Iterator[None]:
    """Within it Ctrl-C and SIGTERM wait until it is over: for the last words of what is ending already."""
    waiting: list[int] = []
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.signal(number, lambda number, _: waiting.append(number)) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        if waiting:
            os.kill(os.getpid(), waiting[0])


class _Dropping(io.BufferedWriter):
    """A standard stream whose reader may go away (``| head``), or whose disk may fill: what cannot be written is
    dropped, since nobody's reading is worth a run.

    Attributes:
        mid_line: whether the last thing written ended in the middle of a line.
    """

    mid_line = False

    def write(self, content) -> int:
        if len(content):
            self.mid_line = bytes(content[-1:]) != b"\n"
        return super().write(content)


class _RawDropping(io.FileIO):
    def write(self, content) -> int | None:
        try:
            return super().write(content)
        except OSError:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self.fileno())
            os.close(nowhere)
            return len(content)


def _stream(handle: int, old: io.TextIOWrapper | None) -> io.TextIOWrapper:
    """``old``, or a new one where there was none, whose writing never fails, also at what its encoding lacks."""
    raw = _RawDropping(handle, "w", closefd=False)
    return io.TextIOWrapper(
        _Dropping(raw),
        encoding=old.encoding if old else "utf-8",
        errors="backslashreplace",
        line_buffering=handle == 2 or raw.isatty() or bool(old and old.write_through),
    )


def _ignore_signals() -> None:
    """All is said and done, and in the second that the interpreter takes to end a signal would kill without a word."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)


def _end_at_once(number: int, _) -> None:
    word = "interrupted" if number == signal.SIGINT else "terminated"
    try:
        if is_first():
            os.write(2, f"{word}: before anything was begun\n".encode())
    finally:
        os._exit(128 + number)


def _raise(number: int, _) -> None:
    """Raise, and again every two seconds until it is settled: in a destructor, a callback of the garbage collector or
    under a library's bare ``except`` an exception is lost, and the process would go on as if nobody had asked."""
    signal.signal(signal.SIGALRM, lambda _, frame: _raise(number, frame))
    signal.setitimer(signal.ITIMER_REAL, 2)
    raise KeyboardInterrupt() if number == signal.SIGINT else Terminated()
