"""A process that imports everything once and then forks one job for each request, which saves the job the imports.

A fork is safe here because no imported library has started a thread or opened a GPU. Jobs on a GPU are started in a
new interpreter instead.
"""

import ctypes
import gc
import importlib
import json
import os
import runpy
import signal
import sys
import threading
from collections.abc import Iterable
from typing import Any, NoReturn, TextIO

# The imports of a job on the embedded model. Jobs import other architectures themselves.
MODULES = (
    "accelerate",
    "datasets",
    "scipy.stats",
    "sklearn.metrics",
    "transformers.trainer",
    "transformers.models.bert.modeling_bert",
    "tensorized_adapters.arguments.parsing",
    "tensorized_adapters.data.encoding",
    "tensorized_adapters.data.metrics",
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


def serve(requests: Iterable[str], replies: TextIO) -> None:
    """Fork a job for each request. Reply with its process id at once, and with its exit code when it has ended.

    Args:
        requests: lines of JSON with ``command`` (a Python script and its arguments), ``directory`` and ``log`` (a
            file).
        replies: gets a line of JSON for each event, ``{"pid": 7}`` and then ``{"code": 0}``. If a signal killed the
            job, the code is its negative number. Processes that the job left behind are killed before.
    """
    preload()
    assert threading.active_count() == 1, "a library has started a thread, which a fork would lose"
    gc.collect()
    gc.freeze()  # a garbage collection in a job would copy all of this memory
    for line in requests:
        request = json.loads(line)
        server = os.getpid()
        sys.stdout.flush()
        pid = os.fork()
        if not pid:
            replies.close()
            _become(request, server)
        _reply(replies, pid=pid)
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)  # the process id stays reserved until its group is killed
        try:
            os.killpg(pid, signal.SIGKILL)
        except ProcessLookupError:  # the job ended before it had its own group
            pass
        _reply(replies, code=os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))


def die_with_parent(parent: int) -> None:
    """Ask the system to kill this process when its parent dies. ``parent`` was its process id at the start."""
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


def _reply(replies: TextIO, **event: int) -> None:
    print(json.dumps(event), file=replies, flush=True)


def main() -> None:
    """Serve the requests of standard input. The arguments are the parent's process id, the script and the pipe."""
    die_with_parent(int(sys.argv[1]))
    replies = int(sys.argv[3])
    os.set_inheritable(replies, False)
    serve(sys.stdin, os.fdopen(replies, "w"))
