"""The sweep's folder: its lock, and every trial's state, read from the trial's own files.

Whether a trial is finished stands in its run.json, and what that cannot tell in its note (notes.py). sweep.json sums
them up for readers and for trials of earlier grids; when it is lost, nothing is.
"""

import contextlib
import fcntl
import math
import os
import secrets
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Optional

from ..errors import RunFailed, UsageError, one_line
from ..runs.folder import RECORD_FILE, inspect_folder
from ..runtime.files import remove_empty, write_json
from . import LEDGER_FILE, LOGS
from .folder import KIND, read_folder
from .notes import is_damaged, read_note, write_note
from .plan import Trial


class Ledger:
    """A sweep's folder and its trials' states: finished, failed, refused, interrupted or waiting.

    Attributes:
        notes: a line for each file that is damaged, and what is taken instead.
    """

    def __init__(self, folder: Path, trials: list[Trial], command: str = ""):
        """Read what is there; nothing is written.

        Args:
            command: the sweep's, for sweep.json.

        Raises:
            UsageError: if the folder holds something that is not a sweep.
        """
        self.folder, self.trials = folder, {trial.name: trial for trial in trials}
        self.command = command
        self.start = secrets.token_hex(8)  # by which notes of this start are told from older ones
        self._unusable: set[str] = set()  # trials whose folders hold something else
        self.read()

    def read(self) -> None:
        """Take every trial's state from its files; trials of other grids stay as sweep.json has them.

        Raises:
            UsageError: as the constructor.
        """
        self.entries: dict[str, dict[str, Any]]
        self.entries, self.timing, damage = read_folder(self.folder)
        self.notes = [damage] if damage else []
        self._unusable.clear()
        for name in self.trials:
            self.look(name)
            if is_damaged(self.note_path(name)):
                self.notes.append(f"{self.note_path(name)} is damaged; what it told of its trial's failures is lost")
        self.notes += [self.entries[name]["reason"] for name in self.trials if name in self._unusable]

    def look(self, name: str) -> None:
        """Take one trial's state from its files; one whose folder holds something else has failed."""
        trial, note = self.trials[name], read_note(self.note_path(name))
        try:
            state, score = ("refused", None) if trial.refused else self._in_folder(trial)
        except (ValueError, TypeError, AttributeError, LookupError, ArithmeticError, RecursionError) as error:
            why = one_line(error) if isinstance(error, UsageError) else f"its {RECORD_FILE} is damaged"
            reason = f"{trial.folder(self.folder)} is no longer what this sweep left there; move it away ({why})"
            note, state, score = note | {"reason": reason, "last_lines": []}, "failed", None
            self._unusable.add(name)
        self.entries[name] = {
            "state": "failed" if note["state"] == "failed" and state in ("waiting", "interrupted") else state,
            "method": trial.config.describe(),
            "task": trial.task,
            "seed": trial.seed,
            "words": list(trial.words),
            "trained": trial.counts and trial.counts["trained"],
            "score": score,
            "reason": trial.refused or ("" if note["state"] == "waiting" else note["reason"]),
        } | {key: note[key] for key in ("last_lines", "failures", "seconds")}

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Make the folder, hold it until the block or this process ends, however it does, and read it again; a folder
        that was made here and in which nothing was written is removed.

        Raises:
            UsageError: if another sweep holds it, or it cannot be written.
        """
        made: list[Path] = []
        lock = None
        try:
            made = [path for path in (self.folder, *self.folder.parents) if not path.exists()]
            self.folder.mkdir(parents=True, exist_ok=True)
            lock = os.open(self.folder, os.O_RDONLY)
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if lock is not None:
                os.close(lock)
            remove_empty(made)
            if isinstance(error, BlockingIOError):
                flaw = "is in use by another sweep; wait for it or name another folder"
            else:
                flaw = f"cannot be written: {error.strerror}"
            raise UsageError(f"--output_dir {self.folder} {flaw}") from None
        try:
            self.read()
            yield
        finally:
            os.close(lock)
            remove_empty(made)

    def to_run(self) -> list[Trial]:
        """Trials that are neither finished nor refused, in the order of the plan; failed ones get another chance
        unless their folders hold something else."""
        done = {name for name in self.trials if self.entries[name]["state"] in ("finished", "refused")}
        return [trial for name, trial in self.trials.items() if name not in done | self._unusable]

    def states(self) -> Counter[str]:
        """How many of this command's trials are in which state."""
        return Counter(self.entries[name]["state"] for name in self.trials)

    def seconds(self) -> float:
        """What this command's trials took, over all their starts."""
        return sum(self.entries[name]["seconds"] for name in self.trials)

    def note_path(self, name: str) -> Path:
        return self.folder / LOGS / f"{name}.json"

    def state_now(self, name: str) -> str:
        """What a trial has noted in this start of the sweep: waiting, running, finished, failed, or nothing yet."""
        return self.state_and_reason_now(name)[0]

    def state_and_reason_now(self, name: str) -> tuple[str, str]:
        """Also why it waits or has failed."""
        note = read_note(self.note_path(name))
        return (note["state"], note["reason"]) if note["start"] == self.start else ("", "")

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
        start = inspect_folder(trial.folder(self.folder), trial.resolved, False, False)
        if start.kind != "finished":
            return {"new": "waiting", "resume": "interrupted"}[start.kind], None
        metric = start.record["primary_metric"]
        value = start.record["metrics"].get(f"eval_{metric}")
        return "finished", {metric: value} if isinstance(value, (int, float)) and math.isfinite(value) else None


def no_room(folder: Path, flaw: object) -> RunFailed:
    """What ends a sweep that cannot write."""
    return RunFailed(f"{folder} cannot be written ({flaw}); nothing is lost: the same command goes on once it can be")


def told(score: Optional[dict[str, float]]) -> str:
    """A score as ``f1 0.9063``; empty for none."""
    return " ".join(f"{metric} {value:.4f}" for metric, value in (score or {}).items())
