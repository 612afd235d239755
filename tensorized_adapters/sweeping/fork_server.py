"""A process that forks one job for each request. If it imports everything first, its jobs need not.

A fork is safe here because no imported library has started a thread or opened a GPU. A job on a GPU is forked from a
process of its own, which has imported nothing.
"""

import contextlib
import ctypes
import gc
import importlib
import json
import os
import runpy
import signal
import sys
import threading
from typing import Any, NoReturn

# The imports of a job on the embedded model, with all that they import. Jobs import other architectures themselves.
MODULES = (
    "tensorized_adapters.arguments.parsing",
    "tensorized_adapters.runs.evaluation",
    "tensorized_adapters.runs.run",
    "tensorized_adapters.runs.trainer_checks",
    "tensorized_adapters.training.diff_trainer",
    "tensorized_adapters.training.frozen_prefix",
)
_PR_SET_PDEATHSIG = 1


def preload() -> None:
    """Import what a job needs, before anything is forked."""
    for name in MODULES:
        importlib.import_module(name)
    from transformers import BertForSequenceClassification, BertTokenizerFast, Trainer  # noqa: F401 - loaded lazily


def main() -> None:
    """Fork a job for each request. Reply with its process id at once, and with its exit code when it has ended.

    The arguments of this process are the parent's process id, the script, the pipe for replies, and "preload" if
    everything is imported first. Requests are lines of JSON on standard input with ``command`` (a Python script and
    its arguments), ``directory`` and ``log`` (a file). A reply is a line of JSON, ``{"pid": 7}`` and then
    ``{"code": 0}``. If a signal killed the job, the code is its negative number. Processes that the job left behind
    are killed before.
    """
    server = os.getpid()
    die_with_parent(int(sys.argv[1]))
    os.set_inheritable(int(sys.argv[3]), False)
    replies = os.fdopen(int(sys.argv[3]), "w")
    if sys.argv[4:]:
        preload()
    assert threading.active_count() == 1, "a library has started a thread, which a fork would lose"
    gc.collect()
    gc.freeze()  # a garbage collection in a job would copy all of this memory
    for line in sys.stdin:
        sys.stdout.flush()
        pid = os.fork()
        if not pid:
            replies.close()
            _become(json.loads(line), server)
        print(json.dumps({"pid": pid}), file=replies, flush=True)
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)  # the process id stays reserved until its group is killed
        with contextlib.suppress(ProcessLookupError):  # the job ended before it had its own group
            os.killpg(pid, signal.SIGKILL)
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        print(json.dumps({"code": code}), file=replies, flush=True)


def die_with_parent(parent: int) -> None:
    """Ask the system to kill this process when its parent dies. ``parent`` was its process id at the start."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        sys.exit("the sweep has ended")


def _become(request: dict[str, Any], server: int) -> NoReturn:
    """Turn the forked process into the job, as if the interpreter had been started on its command."""
    os.setsid()
    die_with_parent(server)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    log = os.open(request["log"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
    null = os.open(os.devnull, os.O_RDONLY)
    for source, number in ((null, 0), (log, 1), (log, 2)):
        os.dup2(source, number)
    sys.stdin = os.fdopen(0, closefd=False)  # the server's own has read requests ahead
    os.chdir(request["directory"])
    sys.argv = request["command"]
    sys.path[0] = os.path.dirname(sys.argv[0])
    try:
        runpy.run_path(sys.argv[0], run_name="__main__")
    finally:
        sys.stdout.flush()
    sys.exit(0)
