"""How a process of ours ends: with an exit code, and in one line if not well."""

import sys
import tempfile
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn, Optional

from ..errors import RunFailed, Terminated, UsageError, one_line
from .distributed import leaves_it_to_the_first, rank
from .files import write_aside
from .signals import begin, raise_on_signals, settled

TRACEBACK_FILE = "traceback.txt"


def run(main: Callable[[list[str]], int]) -> int:
    """Run a script's ``main`` on the command line; its exit code, and one line for whatever it raises."""
    raise_on_signals()
    try:
        return main(sys.argv[1:])
    except UsageError as error:
        return tell("error", error, 2)
    except RunFailed as error:
        return tell("failed", error, 1)
    except KeyboardInterrupt:
        return tell("interrupted", "by Ctrl-C", 130)
    except Terminated:
        return tell("terminated", "by SIGTERM", 143)
    except Exception as error:
        return tell("failed", unexpected(error), 1)


def run_program(main: Callable[[list[str]], int]) -> NoReturn:
    """Run a development tool's ``main`` as :func:`run` does, with safe standard streams, and exit with its code."""
    begin()
    sys.exit(run(main))


def tell(what: str, message: object, code: int, error: Optional[BaseException] = None) -> int:
    """Say on stderr, on a line of its own, how it ended; returns ``code``.

    Of a run of several processes one says it: another is silent about an ``error`` that the first one tells.
    """
    settled()
    if leaves_it_to_the_first(error):
        return code
    tqdm = sys.modules.get("tqdm")
    for bar in list(getattr(tqdm and tqdm.tqdm, "_instances", ())):  # else they are drawn once more, below the line
        bar.close()
    # A progress bar leaves the cursor at its end.
    start = "\n" if getattr(getattr(sys.stderr, "buffer", None), "mid_line", False) else ""
    of_process = f"rank {rank()}: " if rank() else ""
    print(f"{start}{what}: {of_process}{one_line(message)}", file=sys.stderr)
    return code


def unexpected(error: BaseException, folder: Optional[Path] = None) -> str:
    """Keep the traceback of what nobody foresaw, in ``folder`` or else with the temporary files, and name it."""
    where = traceback.extract_tb(error.__traceback__)[-1:]
    place = "".join(f" at {Path(frame.filename).name}:{frame.lineno}" for frame in where)
    content = "".join(traceback.format_exception(error)).encode(errors="backslashreplace")
    try:
        if folder is None:
            path = Path(tempfile.mkdtemp(prefix="tensorized_adapters_")) / TRACEBACK_FILE
        else:
            path = folder / TRACEBACK_FILE
        write_aside(path, content)
        kept = f"the traceback is in {path}"
    except OSError as full:
        kept = f"the traceback could not be kept: {full.strerror}"
    return f"{type(error).__name__}{place}: {one_line(error)[:500]}; {kept}"
