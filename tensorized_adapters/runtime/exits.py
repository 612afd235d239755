"""Ends our processes: exceptions become an exit code and one line on stderr."""

import contextlib
import gc
import os
import sys
import tempfile
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn, Optional

from ..errors import RunFailed, Terminated, UsageError, one_line
from . import signals
from .distributed import end_process_group, is_reported_by_main_process, rank
from .files import write_atomically

TRACEBACK_FILE = "traceback.txt"

_running = False  # whether a main function is running in run()


def run(main: Callable[[list[str]], int], argv: Optional[list[str]] = None) -> int:
    """Run ``main`` and return its exit code; an exception becomes a code and one line on stderr.

    ``main`` can raise KeyboardInterrupt and Terminated with a text that says how to go on. After the outermost
    ``main`` of a process signals are ignored until the next one, because its exit code is decided.
    """
    global _running
    nested, _running = _running, True
    signals.ending = signals.came_while_ending = False
    try:
        try:
            code = main(sys.argv[1:] if argv is None else argv)
        except SystemExit as ended:  # argparse has printed its help
            code = ended.code or 0
        try:
            if sys.stdout is not None:
                sys.stdout.flush()  # the interpreter flushes at its end too, but then shows a traceback
        except OSError as error:
            raise RunFailed(f"standard output cannot be written: {error.strerror}") from None
        signals.ending = True
        return code
    except BaseException as error:
        signals.ending = True
        word, message, code = _ending(error)
        if not is_reported_by_main_process(error, lambda: signals.came_while_ending):
            _report(word, message)
        return code
    finally:
        _running = nested
        if nested:  # the outer main goes on
            signals.ending = False


def run_program(main: Callable[[list[str]], int]) -> NoReturn:
    """Run ``main`` on the command line as :func:`run` does, take signals from here on, and exit with its code."""
    signals.begin()
    signals.raise_on_signals()
    exit_with(run(main))


def exit_with(code: int) -> NoReturn:
    """End this process at once."""
    signals.ignore_signals()
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:  # a full disk, which run() has reported
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
    end_process_group(code)
    gc.freeze()  # the interpreter's last garbage collections would take a second to visit what was imported
    sys.exit(code)


def unexpected(error: BaseException, folder: Optional[Path] = None) -> str:
    """Keep the traceback of an unforeseen error in ``folder``, or else with the temporary files; returns the line."""
    frames = traceback.extract_tb(error.__traceback__)[-1:]
    where = "".join(f" at {Path(frame.filename).name}:{frame.lineno}" for frame in frames)
    content = "".join(traceback.format_exception(error)).encode(errors="backslashreplace")
    try:
        path = (folder or Path(tempfile.mkdtemp(prefix="tensorized_adapters_"))) / TRACEBACK_FILE
        write_atomically(path, content)
        kept = f"the traceback is in {path}"
    except OSError as full:
        kept = f"the traceback could not be kept: {full.strerror}"
    return f"{type(error).__name__}{where}: {one_line(error)[:500]}; {kept}"


def _ending(error: BaseException) -> tuple[str, object, int]:
    """Return the first word of the line, its text, and the exit code."""
    if isinstance(error, UsageError):
        return "error", error, 2
    if isinstance(error, RunFailed):
        return "failed", error, 1
    if isinstance(error, KeyboardInterrupt):
        return "interrupted", str(error) or "by Ctrl-C", 130
    if isinstance(error, Terminated):
        return "terminated", str(error) or "by SIGTERM", 143
    if isinstance(error, OSError) and error.filename is not None:
        return "error", f"{error.filename}: {error.strerror or error}", 2
    return "failed", unexpected(error), 1


def _report(word: str, message: object) -> None:
    """Print how the process ends, on a line of its own below the progress bars."""
    tqdm = sys.modules.get("tqdm")
    for bar in list(getattr(tqdm and tqdm.tqdm, "_instances", ())):  # an open bar would be drawn again
        bar.close()
    of_process = f"rank {rank()}: " if rank() else ""
    with contextlib.suppress(OSError):  # the disk is full
        print(f"{word}: {of_process}{one_line(message)}", file=sys.stderr)
