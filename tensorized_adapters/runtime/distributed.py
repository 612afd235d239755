"""The processes of one run, as torchrun starts them. All refuse together, and rank 0 alone prints and writes.

A process that gave up by itself would leave the others waiting for it. Accelerate is imported where processes talk to
each other, and not above, because it imports PyTorch and a script's first import is of this module.
"""

import contextlib
import os
import re
import socket
import sys
import time
from collections.abc import Callable, Iterator
from typing import Optional

from ..errors import RunFailed, Terminated, UsageError, reason_of

# Seconds that a refusing process waits for the launcher to end it, which shows that rank 0 was refused too.
_PATIENCE = 30.0
# How gloo and NCCL report a lost process. NCCL's other errors are this process's own.
_LOST = re.compile(
    "connection (was )?(closed|reset|refused)|gloo|(remote process|peer).*(exit|clos|lost|abort|error)|"
    "watchdog|nccl.*(timed? ?out|aborted|remote error)|store.*(closed|timeout)",
    re.I | re.S,
)

_main_process: Optional[tuple[str, int]] = None  # host and process id of rank 0, once the processes have talked
_failed_together = False  # whether this process knows that all of them end because of an error


def world_size() -> int:
    """Return the number of processes of the run; 1 unless a launcher's variables say otherwise."""
    return max(1, _variable("WORLD_SIZE", 1))


def local_world_size() -> int:
    """Return the number of processes of the run on this machine."""
    return max(1, _variable("LOCAL_WORLD_SIZE", 1)) if world_size() > 1 else 1


def rank() -> int:
    """Return this process's number, from 0."""
    return _variable("RANK", 0) if world_size() > 1 else 0


def is_main_process() -> bool:
    """Return whether this process prints and writes: rank 0, or the only process."""
    return rank() == 0


def check_launch() -> None:
    """Raise UsageError if one process was started where several are wanted, or if the launcher set too little."""
    # accelerate launch sets these for --num_processes above 1, and without --multi_gpu it starts one process.
    if "WORLD_SIZE" not in os.environ and {"ACCELERATE_MIXED_PRECISION", "MASTER_ADDR"} <= os.environ.keys():
        raise UsageError(
            "accelerate launch started one process where several were requested: use torchrun --nproc_per_node N or "
            "accelerate launch --multi_gpu (both also work on CPUs); for a single process, unset MASTER_ADDR"
        )
    missing = [name for name in ("RANK", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT") if not os.environ.get(name)]
    if world_size() > 1 and missing:
        raise UsageError(
            f"WORLD_SIZE is {world_size()} and {missing[0]} is not set: start several processes with torchrun "
            "--nproc_per_node, which sets both, or unset WORLD_SIZE"
        )


def silence_other_processes() -> None:
    """Print nothing to standard output, and no progress, in every process but rank 0, before libraries load."""
    if not is_main_process():
        sys.stdout = open(os.devnull, "w")
        os.environ["HF_DATASETS_DISABLE_PROGRESS_BARS"] = os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] = "1"


@contextlib.contextmanager
def fail_together() -> Iterator[None]:
    """If one process raises in the block, all raise the same message: as UsageError if it was one, else as RunFailed.
    The process with an unexpected error raises that error. All wait for each other at the end of the block, and must
    not wait within it."""
    global _main_process, _failed_together
    if world_size() == 1:
        yield
        return
    own: Optional[Exception] = None
    try:
        yield
    except Exception as error:
        own = error
    from accelerate.utils import gather_object

    report = None if own is None else (isinstance(own, UsageError), reason_of(own))
    answers = gather_object([(report, socket.gethostname(), os.getpid())])
    _main_process, _failed_together = answers[0][1:], False
    failures = [(number, report) for number, (report, *_) in enumerate(answers) if report is not None]
    if failures:
        number, (refused, line) = failures[0]
        line = line if number == 0 else f"rank {number}: {line}"
        common = raised_by_all(UsageError(line) if refused else RunFailed(line))
        raise common if own is None or isinstance(own, (UsageError, RunFailed)) else own


def raised_by_all(error: Exception) -> Exception:
    """Mark an error that every process raises at the same point, so that rank 0 alone reports it or what it causes.

    All processes wait for each other here. Otherwise rank 0 could end, and the launcher end this process, before this
    process knows of the error.
    """
    global _failed_together
    error.raised_by_all = True
    if world_size() > 1:
        from accelerate import PartialState

        _failed_together = True
        with contextlib.suppress(RuntimeError):  # a process that has ended meanwhile
            PartialState().wait_for_everyone()
    return error


def is_reported_by_main_process(error: BaseException, signalled: Callable[[], bool]) -> bool:
    """Return whether rank 0 reports how the run ends, so that this process prints nothing.

    After a refusal this process waits until the launcher ends it, because its own end could make the launcher end
    rank 0 before that has printed the line. If no signal arrives within 30 s, rank 0 has not failed too, so this
    process reports the error. An interrupt concerns all processes, and rank 0 reports it if it is alive.

    Args:
        signalled: tells whether a signal has come since the error was caught.
    """
    if is_main_process():
        return False
    if isinstance(error, (KeyboardInterrupt, Terminated)):
        return _failed_together or _main_process_lives()
    marked = any(getattr(each, "raised_by_all", False) for each in (error, error.__cause__))
    if not (marked or isinstance(error, UsageError)):
        return False
    for _ in range(int(_PATIENCE / 0.05)):
        if signalled() or not _main_process_lives():
            return True
        time.sleep(0.05)
    return marked


def is_lost_process(error: BaseException) -> bool:
    """Return whether this error means that another process of the run has ended."""
    return world_size() > 1 and isinstance(error, RuntimeError) and bool(_LOST.search(str(error)))


def end_process_group(code: int) -> None:
    """Leave the group of processes. After a failure end at once, since the launcher would interrupt a slow end."""
    if world_size() > 1:
        if code:
            os._exit(code)
        from accelerate import PartialState

        PartialState().destroy_process_group()


def _main_process_lives() -> bool:
    """Return False only if rank 0 ran on this machine and has ended."""
    if _main_process is None or _main_process[0] != socket.gethostname():
        return True
    try:
        os.kill(_main_process[1], 0)
    except OSError:
        return False
    return True


def _variable(name: str, default: int) -> int:
    value = os.environ.get(name, "")
    return int(value) if value.isdecimal() else default
