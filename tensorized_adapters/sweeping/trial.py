"""A trial as a Ray task: it runs the main job in a process of its own, and again if the job fails.

This module and job_process.py import the standard library only, because Ray sends them to other machines by value.
"""

import contextlib
import errno
import fcntl
import json
import math
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Optional

from .job_process import Job, server_for

NO_FAILURE = {"reason": "", "last_lines": [], "failures": 0, "seconds": 0.0}
LAST_LINES = 15
_HEADER = "== "  # starts the line that the log holds for each start of the job
_SECONDS_TO_STOP = 10.0  # for a stopped job to write its record
# A job whose sweep was killed, or whose machine was lost, may hold its folder for a moment longer.
_SECONDS_FOR_FOLDER = 60.0
_NO_ROOM_ERRORS = (errno.ENOSPC, errno.EDQUOT)
# How a job's last line reports a full disk: with the system's message, or with the words of runs/failures.py.
_NO_ROOM_WORDS = (*map(os.strerror, _NO_ROOM_ERRORS), "no space left for")
_ROOM_BYTES = 2**20


def run_job(job: Job) -> dict[str, Any]:
    """Run the job until it has finished or has failed too often. A cancelled task stops it, raising KeyboardInterrupt.

    The outcome has the ``state`` (finished, failed or no_room: a full disk is no failure of the trial), ``reason`` and
    ``last_lines`` of a failure, the number of ``failures``, and the ``seconds`` of all starts.
    """
    # Ray cancels a task by SIGINT, which is ignored in all processes of a sweep that a shell runs in the background.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    outcome = {"state": "finished"} | NO_FAILURE
    try:
        while not _has_finished(job.folder):
            began, kills = time.time(), _out_of_memory_kills()
            code = _run_once(job, outcome["failures"] + 1)
            outcome["seconds"] += time.time() - began
            if code == 0 and _has_finished(job.folder):
                break
            last_lines = _last_lines(job.log)
            last = "".join(last_lines[-1:])
            job_found_no_room = last.startswith("failed: ") and any(words in last for words in _NO_ROOM_WORDS)
            if no_room := disk_is_full(job.log.parent) or (last if job_found_no_room else None):
                return outcome | {"state": "no_room", "reason": no_room}
            outcome["failures"] += 1
            if outcome["failures"] > job.max_failures:
                ran_out = code == -signal.SIGKILL and _out_of_memory_kills() > kills
                reason = "killed by the system, as memory ran out" if ran_out else _reason_of(code, job)
                return outcome | {"state": "failed", "reason": reason, "last_lines": last_lines}
    except OSError as error:
        if error.errno not in _NO_ROOM_ERRORS:
            raise
        return outcome | {"state": "no_room", "reason": error.strerror}
    return outcome


def disk_is_full(folder: Path) -> Optional[str]:
    """Return the system's message if the folder's disk has no room for a small file, or None."""
    return os.strerror(errno.ENOSPC) if shutil.disk_usage(folder).free < _ROOM_BYTES else None


def _run_once(job: Job, number: int) -> Optional[int]:
    """Return the exit code of one start of the job, or None if it took longer than its time limit."""
    _wait_until_unlocked(job.folder)
    job.log.parent.mkdir(parents=True, exist_ok=True)
    with open(job.log, "ab") as log:
        log.write(f"{_HEADER}{time.strftime('%Y-%m-%dT%H:%M:%S%z')} start {number}\n".encode())
    process = server_for(job)
    try:
        with _cancelled_afterwards():
            try:
                process.fork(job)
            except OSError:  # the server was killed since its last job
                process = server_for(job)
                process.fork(job)
        return process.wait(timeout=job.time_limit or math.inf)
    except subprocess.TimeoutExpired:
        return None
    except KeyboardInterrupt:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=_SECONDS_TO_STOP)
        raise
    finally:
        process.kill()


@contextlib.contextmanager
def _cancelled_afterwards() -> Iterator[None]:
    """Raise KeyboardInterrupt for a cancellation only at the end of the block. A job starts within it, which could not
    be stopped while its process is not known."""
    cancelled = []
    signal.signal(signal.SIGINT, lambda *_: cancelled.append(True))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if cancelled:
        raise KeyboardInterrupt


def _has_finished(folder: Path) -> bool:
    """Return whether run.json says that the run has finished."""
    path = folder / "run.json"
    with contextlib.suppress(OSError, ValueError, AttributeError):
        return path.is_file() and json.loads(path.read_bytes()).get("status") == "finished"
    return False


def _wait_until_unlocked(folder: Path) -> None:
    """Wait up to a minute until no run holds the folder's lock. If one still does, the job refuses the folder."""
    until = time.time() + _SECONDS_FOR_FOLDER
    while folder.is_dir() and time.time() < until:
        handle = os.open(folder, os.O_RDONLY)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            time.sleep(0.2)
        except OSError:  # a file system without locks
            return
        finally:
            os.close(handle)


def _reason_of(code: Optional[int], job: Job) -> str:
    """Return why a job failed, by the exit code of its last start, which is None for one that took too long."""
    if code is None:
        return f"killed: a start of it took longer than --trial_time_limit {job.time_limit:g}s"
    if code < 0:
        return f"killed by {signal.Signals(-code).name}"
    return {0: "ended without a finished record", 2: "refused its input (exit code 2)"}.get(code, f"exit code {code}")


def _out_of_memory_kills() -> int:
    """Return how many processes this machine's system has killed because memory ran out, control groups included."""
    with contextlib.suppress(OSError, ValueError, KeyError):
        return int(dict(line.split() for line in Path("/proc/vmstat").read_text().splitlines())["oom_kill"])
    return 0


def _last_lines(log: Path) -> list[str]:
    """Return the last lines of the newest start. Those of earlier starts do not say how this one ended."""
    with open(log, "rb") as file:
        file.seek(max(0, log.stat().st_size - 20_000))
        text = file.read().decode(errors="replace")
    _, _, of_start = f"\n{text}".rpartition(f"\n{_HEADER}")
    return [line for line in of_start.splitlines()[1:] if line.strip()][-LAST_LINES:]
