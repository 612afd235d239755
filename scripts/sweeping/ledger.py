"""The sweep's folder: its lock, and every trial's state, read from the trial's own files.

Whether a trial is finished stands in its run.json, and what that cannot tell in its note (notes.py). sweep.json sums
them up for readers and for trials of earlier grids; when it is lost, nothing is.
"""

import fcntl
import json
import os
import secrets
import time
from collections import Counter
from pathlib import Path
from typing import Any, Optional

from tensorized_adapters.errors import UsageError
from tensorized_adapters.files import write_json
from tensorized_adapters.job.run_folder import PROGRAM, inspect_folder

from . import LEDGER_FILE, LOGS, REPORT, TRIALS
from .notes import read_note, write_note
from .plan import Trial

RAY = ".ray"  # Tune's own state, of no use afterwards
_OURS = {LEDGER_FILE, TRIALS, LOGS, REPORT, RAY}
KIND = f"{PROGRAM} sweep"


class Ledger:
    """A sweep's folder and its trials' states: finished, failed, refused, interrupted or waiting."""

    def __init__(self, folder: Path, trials: list[Trial], command: str = ""):
        """Read what is there; nothing is written.

        Args:
            command: the sweep's, for sweep.json.

        Raises:
            UsageError: if the folder holds something that is not a sweep, or a trial's folder something foreign.
        """
        self.folder, self.trials = folder, {trial.name: trial for trial in trials}
        self.command = command
        self.start = secrets.token_hex(8)  # by which notes of this start are told from older ones
        self._lock: Optional[int] = None
        self.read()

    def read(self) -> None:
        """Take every trial's state from its files; trials of other grids stay as sweep.json has them.

        Raises:
            UsageError: as the constructor.
        """
        self.entries: dict[str, dict[str, Any]]
        self.entries, self.timing = _read(self.folder)
        for name in self.trials:
            self.look(name)

    def look(self, name: str) -> None:
        """Take one trial's state from its files.

        Raises:
            UsageError: if its folder holds something foreign.
        """
        trial, note = self.trials[name], read_note(self.note_path(name))
        state, score = ("refused", None) if trial.refused else self._in_folder(trial)
        self.entries[name] = {
            "state": "failed" if note["state"] == "failed" and state in ("waiting", "interrupted") else state,
            "method": trial.config.describe(),
            "task": trial.task,
            "seed": trial.seed,
            "words": list(trial.words),
            "trained": trial.counts and trial.counts["trained"],
            "score": score,
            "reason": trial.refused or note["reason"],
        } | {key: note[key] for key in ("last_lines", "failures", "seconds")}

    def lock(self) -> None:
        """Make the folder, hold it until this process ends, however it does, and read it again.

        Raises:
            UsageError: if another sweep holds it, or it cannot be written.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._lock = os.open(self.folder, os.O_RDONLY)
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UsageError(
                f"--output_dir {self.folder} is in use by another sweep; wait for it or name another folder"
            ) from None
        except OSError as error:
            raise UsageError(f"--output_dir {self.folder} cannot be written: {error.strerror}") from None
        self.read()

    def to_run(self) -> list[Trial]:
        """Trials that are neither finished nor refused, in the order of the plan; failed ones get another chance."""
        done = ("finished", "refused")
        return [trial for name, trial in self.trials.items() if self.entries[name]["state"] not in done]

    def states(self) -> Counter[str]:
        """How many of this command's trials are in which state."""
        return Counter(self.entries[name]["state"] for name in self.trials)

    def seconds(self) -> float:
        """What this command's trials took, over all their starts."""
        return sum(self.entries[name]["seconds"] for name in self.trials)

    def note_path(self, name: str) -> Path:
        return self.folder / LOGS / f"{name}.json"

    def state_now(self, name: str) -> str:
        """What a trial has noted in this start of the sweep: running, finished, failed, or nothing yet."""
        note = read_note(self.note_path(name))
        return note["state"] if note["start"] == self.start else ""

    def give_up(self, name: str, reason: str, last_lines: list[str]) -> None:
        """Note for a trial, which cannot any more, that it failed."""
        ending = {"start": self.start, "state": "failed", "reason": reason, "last_lines": last_lines}
        write_note(self.note_path(name), read_note(self.note_path(name)) | ending)

    def write(self) -> None:
        """Write sweep.json."""
        record = {"program": KIND, "command": self.command, "written": time.strftime("%Y-%m-%dT%H:%M:%S%z")}
        write_json(self.folder / LEDGER_FILE, record | {"timing": self.timing, "trials": self.entries})

    def _in_folder(self, trial: Trial) -> tuple[str, Optional[dict[str, float]]]:
        """A trial's state by its run.json, and if it is finished its primary metric, as name and value."""
        folder = trial.folder(self.folder)
        try:
            start = inspect_folder(folder, trial.resolved, False, False)
        except UsageError:
            raise UsageError(f"{folder} is no longer what this sweep left there; move it away") from None
        if start.kind != "finished":
            return {"new": "waiting", "resume": "interrupted"}[start.kind], None
        metric = start.record["primary_metric"]
        value = start.record["metrics"].get(f"eval_{metric}")
        return "finished", {metric: value} if isinstance(value, (int, float)) else None


def told(score: Optional[dict[str, float]]) -> str:
    """A score as ``f1 0.9063``; empty for none."""
    return " ".join(f"{metric} {value:.4f}" for metric, value in (score or {}).items())


def _json_of(path: Path) -> dict[str, Any]:
    """Empty where there is no such file, or no dict in it."""
    try:
        value = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}


def _read(folder: Path) -> tuple[dict[str, dict[str, Any]], dict[str, float]]:
    """The trials of sweep.json, and the times of its last start that ran any."""
    if not folder.exists():
        return {}, {}
    if not folder.is_dir():
        raise UsageError(f"--output_dir {folder} is a file; name a folder")
    if (folder / TRIALS).exists() and not (folder / TRIALS).is_dir():
        raise UsageError(f"--output_dir {folder} holds something that is not a sweep ({TRIALS} is a file)")
    try:
        names = sorted(entry.name for entry in folder.iterdir())
    except OSError as error:
        raise UsageError(f"--output_dir {folder} cannot be read: {error.strerror}") from None
    record = _json_of(folder / LEDGER_FILE)
    if record.get("program") != KIND:  # lost, damaged, or the sweep was killed before its first line
        foreign = [name for name in names if name not in _OURS and not name.startswith(f".{LEDGER_FILE}.")]
        if names and (foreign or TRIALS not in names):
            odd = (foreign or names)[0]
            raise UsageError(f"--output_dir {folder} holds something that is not a sweep ({odd}); name another folder")
    trials, timing = (value if isinstance(value, dict) else {} for value in map(record.get, ("trials", "timing")))
    return {name: entry for name, entry in trials.items() if isinstance(entry, dict)}, timing
