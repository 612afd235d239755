"""The several processes of one run, as torchrun starts them: which one speaks and writes, and how they agree.

The first one (rank 0) holds the folder, writes and prints. What is refused before training is refused by all of them
together: a process that gave up by itself would leave the others waiting for it.
"""

import contextlib
import os
import re
import signal
import socket
import sys
import time
from collections.abc import Iterator
from typing import Any, Optional

from ..errors import RunFailed, Terminated, UsageError, one_line

# How many seconds a process that was refused waits for the launcher to end it, as the first one was refused too.
_PATIENCE = 30.0
# As gloo and NCCL put it; NCCL's other errors are of this process's own.
_LOST = re.compile(
    "connection (was )?(closed|reset|refused)|gloo|(remote process|peer).*(exit|clos|lost|abort|error)|"
    "watchdog|nccl.*(timed? ?out|aborted|remote error)|store.*(closed|timeout)",
    re.I | re.S,
)

_first: Optional[tuple[str, int]] = None  # host and process id of the first process, once they have met


def count() -> int:
    """How many processes the run has; 1 unless a launcher's variables say otherwise."""
    return max(1, _variable("WORLD_SIZE", 1))


def local_count() -> int:
    """How many of them run on this machine."""
    return max(1, _variable("LOCAL_WORLD_SIZE", 1)) if count() > 1 else 1


def rank() -> int:
    """This process's number among them, from 0."""
    return _variable("RANK", 0) if count() > 1 else 0


def is_first() -> bool:
    """Whether this is the process that writes and prints: the only one, or that of rank 0."""
    return rank() == 0


def check_launch() -> None:
    """Raises UsageError where several processes are asked for, and one was started, or a variable that each needs is
    missing."""
    # What accelerate launch sets for --num_processes above 1, and then starts one process without --multi_gpu.
    if "WORLD_SIZE" not in os.environ and {"ACCELERATE_MIXED_PRECISION", "MASTER_ADDR"} <= os.environ.keys():
        raise UsageError(
            "accelerate launch was asked for several processes and has started one: use torchrun --nproc_per_node, or "
            "accelerate launch --multi_gpu, which both start several, on processors too (if one was meant, unset "
            "MASTER_ADDR)"
        )
    lacking = [name for name in ("RANK", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT") if not os.environ.get(name)]
    if count() > 1 and lacking:
        raise UsageError(
            f"WORLD_SIZE is {count()} and {lacking[0]} is not set: start several processes with torchrun "
            "--nproc_per_node, which sets both, or unset WORLD_SIZE"
        )


def be_quiet() -> None:
    """Print nothing to standard output, and no progress, in any process but the first; before libraries are loaded."""
    if not is_first():
        sys.stdout = open(os.devnull, "w")
        os.environ["HF_DATASETS_DISABLE_PROGRESS_BARS"] = os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] = "1"


@contextlib.contextmanager
def agreed() -> Iterator[None]:
    """What is raised within it in one process is raised in all, as the same line. Nothing within may wait for others.

    Raises:
        UsageError: refused by one of them.
        RunFailed: anything else; the process in which it happened raises what it was.
    """
    global _first
    own: Optional[Exception] = None
    try:
        yield
    except Exception as error:
        if count() == 1:
            raise
        own = error
    if count() == 1:
        return
    told = None if own is None else (isinstance(own, UsageError), one_line(own) or type(own).__name__)
    answers: list[Any] = [None] * count()
    _distributed().all_gather_object(answers, (told, socket.gethostname(), os.getpid()))
    _first = answers[0][1:]
    failures = [(number, told) for number, (told, *_) in enumerate(answers) if told is not None]
    if failures:
        number, (refused, line) = failures[0]
        if own is not None and not isinstance(own, (UsageError, RunFailed)):
            raise own
        line = line if number == 0 else f"rank {number}: {line}"
        raise told_once(UsageError(line) if refused else RunFailed(line))


def from_first(value: Any) -> Any:
    """The first process's ``value``, in all of them."""
    if count() == 1:
        return value
    box = [value]
    _distributed().broadcast_object_list(box, src=0)
    return box[0]


@contextlib.contextmanager
def first_before_others() -> Iterator[None]:
    """What the first process of each machine does within it is done when the others begin, who find its files.

    It may not fail in one of them alone without ending the run: who waits is ended by the launcher.
    """
    if count() > 1 and _variable("LOCAL_RANK", 0):
        _meet()
    yield
    if count() > 1 and not _variable("LOCAL_RANK", 0):
        _meet()


def mean_over_processes(values):
    """The mean of a tensor over all processes."""
    if count() == 1:
        return values
    _distributed().all_reduce(values)
    return values / count()


def share_(values) -> None:
    """Make a tensor the first process's, in place."""
    if count() > 1 and _distributed().is_initialized():
        _distributed().broadcast(values, src=0)


def told_once(error: Exception) -> Exception:
    """Mark an error that all processes raise: the first one says it for all."""
    error.of_all_processes = True
    return error


def leaves_it_to_the_first(error: object) -> bool:
    """Whether another process says how the run ended, so that this one says nothing.

    A refusal is said by the first process; this one waits until the launcher ends it, since it would otherwise take
    the first one along. If nothing comes, the first one knows of nothing, and this one has to say it. An interrupt is
    everybody's, and the first process's to say while that is alive.
    """
    if is_first():
        return False
    if isinstance(error, (KeyboardInterrupt, Terminated)):
        return _first_lives()
    known = getattr(error, "of_all_processes", False)
    if not (known or isinstance(error, UsageError)):
        return False
    ended: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda number, _: ended.append(number))
    until = time.monotonic() + _PATIENCE
    while not ended and time.monotonic() < until and _first_lives():
        time.sleep(0.05)
    return known or bool(ended) or not _first_lives()


def is_lost_peer(error: BaseException) -> bool:
    """Whether this error is that another process of the run is gone."""
    return count() > 1 and isinstance(error, RuntimeError) and bool(_LOST.search(str(error)))


def part(code: int) -> None:
    """What this process does last: it ends the group. One that failed ends at once, as there may be nobody left to end
    the group with, and the launcher, which then ends all of them, must not interrupt its way out."""
    if code and count() > 1:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    if (distributed := sys.modules.get("torch.distributed")) and distributed.is_initialized():
        distributed.destroy_process_group()


def _first_lives() -> bool:
    if _first is None or _first[0] != socket.gethostname():
        return True  # for all that can be seen from here
    try:
        os.kill(_first[1], 0)
    except OSError:
        return False
    return True


def _meet() -> None:
    distributed = _distributed()
    on_gpu = distributed.get_backend() == "nccl"  # which else guesses the device, and warns
    distributed.barrier(device_ids=[_variable("LOCAL_RANK", 0)] if on_gpu else None)


def _variable(name: str, default: int) -> int:
    value = os.environ.get(name, "")
    return int(value) if value.isdecimal() else default


def _distributed():
    import torch.distributed

    return torch.distributed
