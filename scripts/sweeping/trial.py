"""One trial on Ray Tune: the main job in a process of its own, started again if it fails.

Only the standard library, Ray and notes.py are imported, for this module is sent to other machines by value.
"""

import contextlib
import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Optional

from ray import tune

from . import notes

POLL_SECONDS = 2.0
LAST_LINES = 15
# A killed sweep's trial, or that of a lost machine, may hold its folder for a moment longer.
WAIT_FOR_FOLDER_SECONDS = 60.0

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
    log, note, directory (the working one), environment (variables on top of the worker's) and max_failures.
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
        if self.job is None:
            if self._finished():  # before this worker was lost, or its sweep
                return self._note("finished")
            self._start()
        try:
            code = self.job.wait(POLL_SECONDS)
        except subprocess.TimeoutExpired:
            return {tune.result.DONE: False}
        self.job = None
        self.note["seconds"] = round(self.note["seconds"] + time.time() - self.began, 3)
        if code == 0 and self._finished():
            return self._note("finished")
        self.failures += 1
        self.note["failures"] += 1
        if self.failures <= self.trial["max_failures"]:
            return self._note("running")
        return self._note("failed", _ending_of(code), _last_lines(self.log))

    def cleanup(self) -> None:
        """The sweep is being stopped: let the job write its record, but not for long."""
        if self.job is not None:
            self.job.terminate()
            try:
                self.job.wait(10)
            except subprocess.TimeoutExpired:
                self.job.kill()
                self.job.wait()
            self.job = None

    def _start(self) -> None:
        self._note("running")
        _wait_until_free(self.folder)
        with open(self.log, "ab") as log:
            log.write(f"== {time.strftime('%Y-%m-%dT%H:%M:%S%z')} start {self.failures + 1}\n".encode())
            log.flush()
            self.began = time.time()
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
        with contextlib.suppress(OSError, ValueError):
            return json.loads((self.folder / "run.json").read_text())["status"] == "finished"
        return False

    def _note(self, state: str, reason: str = "", last_lines: Sequence[str] = ()) -> dict[str, Any]:
        """Write the note; what a step returns then."""
        self.note |= {"state": state, "reason": reason, "last_lines": list(last_lines)}
        notes.write_note(Path(self.trial["note"]), self.note)
        return {tune.result.DONE: state != "running"}


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


def _ending_of(code: int) -> str:
    if code < 0:
        return f"killed by {signal.Signals(-code).name}"
    return {0: "ended without a finished record", 2: "refused its input (exit code 2)"}.get(code, f"exit code {code}")


def _last_lines(log: Path) -> list[str]:
    with open(log, "rb") as file:
        file.seek(max(0, log.stat().st_size - 20_000))
        lines = file.read().decode(errors="replace").splitlines()
    return [line for line in lines if line.strip()][-LAST_LINES:]
