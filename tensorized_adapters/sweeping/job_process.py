"""Starts a job's process as a fork of another one: a new interpreter, or one that has imported everything.

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
from typing import Optional

_SECONDS_TO_DIE = 10.0
_SECONDS_OF_A_LOOK = 0.1  # Ray's cancellation does not end a system call that waits
# The arguments are this process's id, the job's script, the number of the pipe for replies, and whether everything is
# imported. The script's folder holds the package. Python looks there for modules, and not in the current folder.
_FORK_SERVER = """
import sys
sys.path[0] = sys.argv[2].rpartition("/")[0]
import signal
signal.pthread_sigmask(signal.SIG_SETMASK, ())
from tensorized_adapters.sweeping.fork_server import main
main()
"""


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
    """The process from which jobs are forked (fork_server.py), and the job that it forked last.

    It has its own session, so that Ctrl-C reaches only the sweep, which stops its jobs. If it has imported everything,
    it lives as long as its Ray worker, and otherwise as long as its job.
    """

    def __init__(self, job: Job, preloads: bool):
        replies, pipe = os.pipe()  # not standard output, because imported libraries may print
        self._replies = open(replies, "rb", buffering=0)  # select would not see a reply that was read ahead
        self._job: Optional[int] = None  # the process id of the job, until it has ended
        words = [str(os.getpid()), job.command[0], str(pipe), *(["preload"] if preloads else [])]
        try:
            self._server = subprocess.Popen(
                [sys.executable, "-c", _FORK_SERVER, *words],
                env=os.environ | job.environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=[pipe],
                start_new_session=True,
            )
        finally:
            os.close(pipe)

    def lives(self) -> bool:
        """Return whether the server still runs."""
        return self._server.poll() is None

    def fork(self, job: Job) -> None:
        """Start the job; raise OSError if the server has ended."""
        request = {"command": job.command, "directory": str(job.directory), "log": str(job.log)}
        try:
            self._server.stdin.write(json.dumps(request).encode() + b"\n")
            self._server.stdin.flush()
            self._job = self._reply(math.inf)["pid"]
        except BaseException:
            self.end()
            raise

    def wait(self, timeout: float) -> int:
        """Return the job's exit code; raise subprocess.TimeoutExpired. One that is killed with the server has -9."""
        try:
            code = self._reply(timeout)["code"]
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
        with contextlib.suppress(OSError):  # a request that was not written
            self._server.stdin.close()
        self._replies.close()

    def _kill_group(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._job, signal.SIGKILL)

    def _reply(self, timeout: float) -> dict[str, int]:
        """Return the next reply; raise OSError if the server has ended, or subprocess.TimeoutExpired."""
        until = time.monotonic() + timeout
        while not select.select([self._replies], [], [], _SECONDS_OF_A_LOOK)[0]:
            if time.monotonic() > until:
                raise subprocess.TimeoutExpired("the job", timeout)
        if line := self._replies.readline():  # a reply is written at once
            return json.loads(line)
        raise OSError("the server has ended")


_server: Optional[ForkServer] = None  # of this Ray worker, with everything imported
_server_starts = True  # False once it did not: each further try would cost a job the seconds of the imports


def start(job: Job) -> ForkServer:
    """Start the job. If a process with everything imported does not start, this job and all later ones get a new
    interpreter."""
    global _server, _server_starts
    if job.forks and _server_starts:
        try:
            if _server is None or not _server.lives():
                _server = ForkServer(job, preloads=True)
            _server.fork(job)
            return _server
        except OSError:
            _server_starts = False
    server = ForkServer(job, preloads=False)
    server.fork(job)
    return server
