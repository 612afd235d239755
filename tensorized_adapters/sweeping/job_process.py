"""Starts a job's process as a fork of a server: a process that has imported everything, or only this module.

A fork is safe because no imported library has started a thread or opened a GPU. A job on a GPU is forked from a server
of its own, which has imported nothing.

This module imports the standard library only, because Ray sends it to other machines by value.
"""

import contextlib
import ctypes
import gc
import importlib
import math
import multiprocessing
import os
import runpy
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import NoReturn, Optional

_SECONDS_TO_DIE = 10.0
_POLL_SECONDS = 0.1  # Ray's cancellation does not interrupt a blocking system call
# The arguments are this process's id, the job's script, the number of the connection, and "preload" if everything is
# imported first. Python looks for modules in the script's folder, which holds the package, not in the current one.
_FORK_SERVER = """
import sys
sys.path[0] = sys.argv[2].rpartition("/")[0]
import signal
signal.pthread_sigmask(signal.SIG_SETMASK, ())
from tensorized_adapters.sweeping.job_process import serve
serve()
"""
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


@dataclass
class Job:
    """The settings of a trial for its Ray task, with which each of its processes is started."""

    command: list[str]  # the script and its arguments
    directory: Path  # where the job runs
    log: Path  # the file for the job's output
    environment: dict[str, str]  # variables added to those of this process, the same for all jobs of a sweep
    folder: Path  # the trial's folder, with run.json
    max_failures: int  # further starts of a job that fails
    time_limit: Optional[float]  # seconds of one start, or None
    forks: bool  # whether starts are forked from a process that has imported everything


class ForkServer:
    """The process from which jobs are forked (:func:`serve`), and the job that it forked last.

    It has its own session, so that Ctrl-C reaches only the sweep, which stops its jobs. If it has imported everything,
    it lives as long as its Ray worker, and otherwise as long as its job. Raise OSError if it does not start.
    """

    def __init__(self, job: Job, preloads: bool):
        self._connection, remote = multiprocessing.Pipe()  # not standard output, because imported libraries may print
        self._job: Optional[int] = None  # the process id of the job, until it has ended
        arguments = [str(os.getpid()), job.command[0], str(remote.fileno()), *(["preload"] if preloads else [])]
        with remote:
            self._server = subprocess.Popen(
                [sys.executable, "-c", _FORK_SERVER, *arguments],
                env=os.environ | job.environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=[remote.fileno()],
                start_new_session=True,
            )
        try:
            self._reply(math.inf)  # the first reply: the server is ready
        except BaseException:
            self.end()
            raise

    @property
    def has_ended(self) -> bool:
        """Return whether the server has ended. Its connection is closed then."""
        return self._connection.closed

    def fork(self, job: Job) -> None:
        """Start the job; raise OSError if the server has ended."""
        try:
            self._connection.send((job.command, str(job.directory), str(job.log)))
            self._job = self._reply(math.inf)
        except OSError:
            self.end()
            raise

    def wait(self, timeout: float) -> int:
        """Return the job's exit code, -9 if it is killed with the server; raise subprocess.TimeoutExpired."""
        try:
            code = self._reply(timeout)
        except OSError:
            self.end()
            self._kill_group()
            code = -signal.SIGKILL
        self._job = None
        return code

    def terminate(self) -> None:
        """Send SIGTERM, if the job has not ended."""
        if self._job is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._job, signal.SIGTERM)

    def kill(self) -> None:
        """Kill the job and all processes that it has started. If it has ended, the server has killed these already."""
        if self._job is not None:
            self._kill_group()
            try:
                self.wait(_SECONDS_TO_DIE)
            except subprocess.TimeoutExpired:
                self.end()
        if self is not _server:
            self.end()

    def end(self) -> None:
        """Kill the server and its job."""
        self._server.kill()
        self._server.wait()
        self._connection.close()

    def _kill_group(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._job, signal.SIGKILL)

    def _reply(self, timeout: float) -> int:
        """Return the next reply; raise OSError if the server has ended, or subprocess.TimeoutExpired."""
        until = time.monotonic() + timeout
        while not self._connection.poll(_POLL_SECONDS):
            if time.monotonic() > until:
                raise subprocess.TimeoutExpired("the job", timeout)
        try:
            return self._connection.recv()
        except EOFError:
            raise OSError("the server has ended") from None


_server: Optional[ForkServer] = None  # of this Ray worker, with everything imported
_server_starts = True  # False after it failed to start, so that no later job waits for its imports


def server_for(job: Job) -> ForkServer:
    """Return the process from which the job is forked: this Ray worker's own, or a new one if that does not start."""
    global _server, _server_starts
    if job.forks and _server_starts:
        try:
            if _server is None or _server.has_ended:
                _server = ForkServer(job, preloads=True)
            return _server
        except OSError:
            _server_starts = False
    return ForkServer(job, preloads=False)


def preload() -> None:
    """Import what a job needs, before anything is forked."""
    for name in MODULES:
        importlib.import_module(name)
    from transformers import BertForSequenceClassification, BertTokenizerFast, Trainer  # noqa: F401 - loaded lazily


def serve() -> None:
    """Fork a job for each request. Reply with its process id at once, and with its exit code when it has ended.

    This process has the arguments of :data:`_FORK_SERVER`. Its first reply says that it is ready. A request is a
    command (a Python script and its arguments), the folder in which it runs, and the file of its log. The exit code is
    the negative number of the signal that killed the job. Processes that the job left behind are killed first.
    """
    server = os.getpid()
    _die_with_parent(int(sys.argv[1]))
    connection = Connection(int(sys.argv[3]))
    os.set_inheritable(connection.fileno(), False)
    if sys.argv[4:]:
        preload()
    assert threading.active_count() == 1, "a library has started a thread, which a fork would lose"
    gc.collect()
    gc.freeze()  # a garbage collection in a job would copy all of this memory
    connection.send(server)
    while True:
        request = connection.recv()  # EOFError ends this process when no further job can come
        sys.stdout.flush()
        pid = os.fork()
        if not pid:
            connection.close()
            _become(*request, server)
        connection.send(pid)
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)  # the process id stays reserved until its group is killed
        with contextlib.suppress(ProcessLookupError):  # the job ended before it had its own group
            os.killpg(pid, signal.SIGKILL)
        connection.send(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))


def _die_with_parent(parent: int) -> None:
    """Ask the system to kill this process when its parent dies. ``parent`` was its process id at the start."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        sys.exit("the sweep has ended")


def _become(command: list[str], directory: str, log: str, server: int) -> NoReturn:
    """Turn the forked process into the job, as if the interpreter had been started on its command."""
    os.setsid()
    _die_with_parent(server)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    handle = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
    os.dup2(handle, 1)
    os.dup2(handle, 2)
    os.chdir(directory)
    sys.argv = command
    sys.path[0] = os.path.dirname(sys.argv[0])
    try:
        runpy.run_path(sys.argv[0], run_name="__main__")
    finally:
        sys.stdout.flush()
    sys.exit(0)
