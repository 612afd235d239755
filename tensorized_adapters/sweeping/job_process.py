"""Starts a job's process: a new interpreter, or a fork of a process that has imported everything.

This module imports the standard library only, because Ray sends it to other machines by value.
"""

import contextlib
import json
import math
import os
import select
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Optional

# The process asks the system to kill it together with its parent, checks that the parent still lives, and becomes the
# job. Ray's worker dies with the sweep, so a killed sweep leaves no job behind.
_LAUNCHER = """
import ctypes, os, signal, sys
if sys.platform == "linux":
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
if os.getppid() != int(sys.argv[1]):
    sys.exit("the sweep has ended")
signal.pthread_sigmask(signal.SIG_SETMASK, ())
os.execv(sys.executable, [sys.executable, *sys.argv[2:]])
"""
# The arguments are this process's id, the job's script, and the number of the pipe for replies. The script's folder
# holds the package. Python looks there for modules, and not in the current folder, as in a new interpreter.
_FORK_SERVER = """
import sys
sys.path[0] = sys.argv[2].rpartition("/")[0]
import signal
signal.pthread_sigmask(signal.SIG_SETMASK, ())
from tensorized_adapters.sweeping.fork_server import main
main()
"""


@dataclass
class Start:
    """The settings with which a job's process is started.

    Attributes:
        command: arguments of the interpreter; the first is the script.
        directory: where the job runs.
        log: the file for the job's output.
        environment: variables added to those of this process.
    """

    command: list[str]
    directory: Path
    log: Path
    environment: dict[str, str]


class FreshProcess:
    """A job in a new interpreter. It has its own session, so that Ctrl-C reaches only the sweep, which stops its
    jobs."""

    def __init__(self, job: Start, log: BinaryIO):
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-c", _LAUNCHER, str(os.getpid()), *job.command],
            cwd=job.directory,
            env=os.environ | job.environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def wait(self, timeout: float) -> int:
        """Return the exit code; raise subprocess.TimeoutExpired."""
        return self._process.wait(timeout)

    def terminate(self) -> None:
        """Send SIGTERM."""
        self._process.terminate()

    def kill(self) -> None:
        """Kill the job and all processes that it has started."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()


class ForkServer:
    """The process that has imported everything (fork_server.py). It lives as long as its Ray worker."""

    def __init__(self, job: Start):
        self._environment = job.environment
        replies, pipe = os.pipe()  # not standard output, because imported libraries may print
        self._replies = open(replies, "rb", buffering=0)  # select would not see a reply that was read ahead
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-c", _FORK_SERVER, str(os.getpid()), job.command[0], str(pipe)],
                env=os.environ | job.environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=[pipe],
                start_new_session=True,
            )
        finally:
            os.close(pipe)

    def ask(self, job: Start) -> None:
        """Request a job; raise OSError if the server has ended."""
        request = {"command": job.command, "directory": str(job.directory), "log": str(job.log)}
        self._process.stdin.write(json.dumps(request).encode() + b"\n")
        self._process.stdin.flush()

    def fits(self, job: Start) -> bool:
        """Return whether the server still runs, in the environment of the job."""
        return self._process.poll() is None and self._environment == job.environment

    def reply(self, timeout: Optional[float] = None) -> dict[str, int]:
        """Return the next reply; raise OSError if the server has ended, or subprocess.TimeoutExpired."""
        until = time.monotonic() + (math.inf if timeout is None else timeout)
        while not select.select([self._replies], [], [], _SECONDS_OF_A_LOOK)[0]:
            if time.monotonic() > until:
                raise subprocess.TimeoutExpired("the job", timeout)
        if line := self._replies.readline():  # a reply is written at once
            return json.loads(line)
        raise OSError("the server has ended")

    def end(self) -> None:
        """Kill the server and its job."""
        self._process.kill()
        self._process.wait()
        self._process.stdin.close()
        self._replies.close()


_SECONDS_TO_DIE = 10.0
_SECONDS_OF_A_LOOK = 0.1  # Ray's cancellation does not end a system call that waits
_server: Optional[ForkServer] = None  # of this Ray worker
_server_starts = True  # False once it did not: each further try would cost a job the seconds of the imports


class ForkedProcess:
    """A job forked from the server of this Ray worker. The first job starts the server."""

    def __init__(self, job: Start):
        """Fork the job; raise OSError if the server ends before."""
        global _server
        if _server is not None and not _server.fits(job):
            self._end_server()
        if _server is None:
            _server = ForkServer(job)
        self._ended = False
        try:
            _server.ask(job)
            self._pid = _server.reply()["pid"]
        except BaseException:
            self._end_server()
            raise

    def wait(self, timeout: float) -> int:
        """Return the exit code; raise subprocess.TimeoutExpired. A job that is killed with its server has -9."""
        try:
            code = _server.reply(timeout)["code"]
        except OSError:
            self._end_server()
            self._kill_group()
            code = -signal.SIGKILL
        self._ended = True
        return code

    def terminate(self) -> None:
        """Send SIGTERM, if the job has not ended."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._pid, signal.SIGTERM)

    def kill(self) -> None:
        """Kill the job and all processes that it has started. If it has ended, the server has killed these already."""
        if self._ended:
            return
        self._kill_group()
        try:
            self.wait(_SECONDS_TO_DIE)
        except subprocess.TimeoutExpired:
            self._end_server()

    def _kill_group(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._pid, signal.SIGKILL)

    @staticmethod
    def _end_server() -> None:
        global _server
        _server.end()
        _server = None


def start(job: Start, log: BinaryIO, forks: bool) -> FreshProcess | ForkedProcess:
    """Start the job; ``log`` is its open log file. If the server does not start, this job and all later ones get a
    new interpreter."""
    global _server_starts
    if forks and _server_starts:
        try:
            return ForkedProcess(job)
        except OSError:
            _server_starts = False
    return FreshProcess(job, log)
