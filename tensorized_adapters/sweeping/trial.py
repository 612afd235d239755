"""One trial on Ray Tune: the main job in a process of its own, started again if it fails.

Only the standard library, Ray, notes.py and memory.py are imported: this module is sent to other machines by value.
"""

import contextlib
import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Optional

import ray
from ray import tune

from . import notes
from .memory import available_bytes, name_of

POLL_SECONDS = 2.0
LAST_LINES = 15
_HEADER = "== "  # of each start, in the log
# A killed sweep's trial, or that of a lost machine, may hold its folder for a moment longer.
WAIT_FOR_FOLDER_SECONDS = 60.0

# The key under which a step's result says that the sweep's disk is full, and how that shows.
NO_ROOM = "no_room"
_NO_ROOM_WORDS = (*map(os.strerror, notes.NO_ROOM_ERRORS), "a checkpoint cannot be written")

# The process asks to be killed with its parent, makes sure that it was not too late for that, and becomes the job.
_LAUNCHER = """
import ctypes, os, signal, sys
if sys.platform == "linux":
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
if os.getppid() != int(sys.argv[1]):
    sys.exit("the sweep is gone")
signal.pthread_sigmask(signal.SIG_SETMASK, ())
os.execv(sys.executable, [sys.executable, *sys.argv[2:]])
"""


class JobTrial(tune.Trainable):
    """Ray Tune's view of a trial: each step is a look at the job. What becomes of it stands in the trial's note.

    ``config["trial"]`` holds start (the sweep's, which its notes name), command (words for the interpreter), folder,
    log, note, directory (the working one), environment (variables on top of the worker's), max_failures and time_limit
    (seconds of one start, or None). A full disk is no failure of the trial: its steps say so, and go on once there is
    room.
    """

    def setup(self, config: dict[str, Any]) -> None:
        self.trial = config["trial"]
        self.folder, self.log = Path(self.trial["folder"]), Path(self.trial["log"])
        self.job: Optional[subprocess.Popen] = None
        self.failures = 0  # in this start of the sweep
        self.note = notes.read_note(Path(self.trial["note"])) | {"start": self.trial["start"]}

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """The next trial in the same worker process, which spares the start of another."""
        self.cleanup()
        self.setup(new_config)
        return True

    def step(self) -> dict[str, Any]:
        try:
            return self._step()
        except OSError as error:
            if error.errno not in notes.NO_ROOM_ERRORS:
                raise
            return {tune.result.DONE: False, NO_ROOM: error.strerror}

    def _step(self) -> dict[str, Any]:
        if self.job is None:
            if self._finished():  # before this worker was lost, or its sweep
                return self._note("finished")
            if why := self._why_wait():
                if self.note["reason"] != why:
                    self._note("waiting", why)
                time.sleep(POLL_SECONDS)
                return {tune.result.DONE: False}
            self._start()
        code = self._ending()
        self._tell_memory()
        if code is None:
            return {tune.result.DONE: False}
        self._left()
        self.note["seconds"] = round(self.note["seconds"] + time.time() - self.began, 3)
        if code == 0 and self._finished():
            return self._note("finished")
        if full := notes.disk_is_full(self.log.parent) or _told_to_be_full(self.log):
            return {tune.result.DONE: False, NO_ROOM: full}
        self.failures += 1
        self.note["failures"] += 1
        if self.failures <= self.trial["max_failures"]:
            return self._note("running")
        ran_out = code == -signal.SIGKILL and _out_of_memory_kills() > self.kills_before
        return self._note("failed", _ending_of(code, ran_out), _last_lines(self.log))

    def cleanup(self) -> None:
        """The sweep is being stopped: let the job write its record, but not for long."""
        if self.job is not None:
            self.job.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.job.wait(10)
            self._kill()
            self._left()
            self.note["seconds"] = round(self.note["seconds"] + time.time() - self.began, 3)
            with contextlib.suppress(OSError):  # of a full disk
                notes.write_note(Path(self.trial["note"]), self.note)

    def _ending(self) -> int | str | None:
        """The job's exit code, or why it was killed, or None if it goes on: after a look of some seconds."""
        limit = self.trial["time_limit"]
        left = POLL_SECONDS if limit is None else self.began + limit - time.time()
        try:
            return self.job.wait(max(0.0, min(POLL_SECONDS, left)))
        except subprocess.TimeoutExpired:
            if left > POLL_SECONDS or limit is None:
                return None
        self._kill()
        return f"killed: a start of it took longer than --trial_time_limit {limit:g}s"

    def _kill(self) -> None:
        """Also what it started, and also if it is stopped."""
        with contextlib.suppress(ProcessLookupError):  # nothing is left of its group
            os.killpg(self.job.pid, signal.SIGKILL)
        self.job.wait()

    def _start(self) -> None:
        self._note("running")
        _wait_until_free(self.folder)
        self.former = self._record().get("started")
        with open(self.log, "ab") as log:
            log.write(f"{_HEADER}{time.strftime('%Y-%m-%dT%H:%M:%S%z')} start {self.failures + 1}\n".encode())
            log.flush()
            self.began, self.kills_before = time.time(), _out_of_memory_kills()
            self.job = subprocess.Popen(
                [sys.executable, "-c", _LAUNCHER, str(os.getpid()), *self.trial["command"]],
                cwd=self.trial["directory"],
                env=os.environ | self.trial["environment"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C is for the sweep, which stops its trials itself
            )

    def _finished(self) -> bool:
        return self._record().get("status") == "finished"

    def _record(self) -> dict[str, Any]:
        """What the run has written so far, if anything."""
        path = self.folder / "run.json"
        with contextlib.suppress(OSError, ValueError):
            record = json.loads(path.read_text()) if path.is_file() else {}  # a pipe never ends
            return record if isinstance(record, dict) else {}
        return {}

    def _why_wait(self) -> str:
        return self._of_memory("why_wait", *_place(), available_bytes())

    def _tell_memory(self) -> None:
        record = self._record()
        self._of_memory("tell", *_place(), record if record.get("started") != self.former else {})

    def _left(self) -> None:
        self.job = None
        self._of_memory("left")

    def _of_memory(self, ask: str, *what: Any) -> Any:
        actor = ray.get_actor(name_of(self.trial["start"]))
        return ray.get(getattr(actor, ask).remote(self.trial["folder"], *what))

    def _note(self, state: str, reason: str = "", last_lines: Sequence[str] = ()) -> dict[str, Any]:
        """Write the note; what a step returns then."""
        self.note |= {"state": state, "reason": reason, "last_lines": list(last_lines)}
        notes.write_note(Path(self.trial["note"]), self.note)
        return {tune.result.DONE: state != "running"}


def _place() -> tuple[str, Optional[str]]:
    """This machine's name, and the GPU that Ray has given to this worker."""
    gpus = ray.get_gpu_ids()
    return socket.gethostname(), str(gpus[0]) if gpus else None


def _wait_until_free(folder: Path) -> None:
    """Until no run holds the folder's lock; after a while the job itself is left to refuse it."""
    until = time.time() + WAIT_FOR_FOLDER_SECONDS
    while folder.is_dir() and time.time() < until:
        handle = os.open(folder, os.O_RDONLY)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except OSError:
            time.sleep(0.2)
        finally:
            os.close(handle)


class StopWhenFull(tune.Stopper):
    """Stops all trials as soon as one of them finds no room."""

    def __init__(self) -> None:
        self.full = False

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        self.full |= NO_ROOM in result
        return False

    def stop_all(self) -> bool:
        return self.full


def _told_to_be_full(log: Path) -> Optional[str]:
    """The job's last line, if it says that there was no room for something larger."""
    last = "".join(_last_lines(log)[-1:])
    return last if last.startswith("failed: ") and any(words in last for words in _NO_ROOM_WORDS) else None


def _out_of_memory_kills() -> int:
    """How many processes the system of this machine has killed because memory ran out, also within a control group."""
    with contextlib.suppress(OSError, ValueError, KeyError):
        return int(dict(line.split() for line in Path("/proc/vmstat").read_text().splitlines())["oom_kill"])
    return 0


def _ending_of(code: int | str, ran_out: bool) -> str:
    if isinstance(code, str):
        return code
    if ran_out:
        return "killed by the system, as memory ran out"
    if code < 0:
        return f"killed by {signal.Signals(-code).name}"
    return {0: "ended without a finished record", 2: "refused its input (exit code 2)"}.get(code, f"exit code {code}")


def _last_lines(log: Path) -> list[str]:
    with open(log, "rb") as file:
        file.seek(max(0, log.stat().st_size - 20_000))
        lines = file.read().decode(errors="replace").splitlines()
    return [line for line in lines if line.strip() and not line.startswith(_HEADER)][-LAST_LINES:]
