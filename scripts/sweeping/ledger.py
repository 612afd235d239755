"""The sweep's folder: its lock, and sweep.json, which says of every trial what became of it.

What is finished is read from the trials' own records; the ledger keeps what those cannot tell: settings of trials that
have not run, failures with their last lines, times.
"""

import fcntl
import json
import os
import time
from pathlib import Path
from typing import Any, Optional

from tensorized_adapters.errors import UsageError
from tensorized_adapters.files import write_json
from tensorized_adapters.job.run_folder import PROGRAM, inspect_folder

from . import LEDGER_FILE, LOGS, REPORT, TRIALS
from .plan import Trial

RAY = ".ray"  # Tune's own state, of no use afterwards
_OURS = {LEDGER_FILE, TRIALS, LOGS, REPORT, RAY}
KIND = f"{PROGRAM} sweep"


class Ledger:
    """A sweep's folder and its trials' states: finished, failed, refused, interrupted or waiting."""

    def __init__(self, folder: Path, trials: list[Trial]):
        """Read what is there; nothing is written.

        Raises:
            UsageError: if the folder holds something that is not a sweep, or a trial's folder something foreign.
        """
        self.folder, self.trials = folder, {trial.name: trial for trial in trials}
        self._lock: Optional[int] = None
        self.read()

    def read(self) -> None:
        """Take every trial's state from its folder, and the rest from sweep.json, whose other trials are kept.

        Raises:
            UsageError: as the constructor.
        """
        self.entries: dict[str, dict[str, Any]]
        self.entries, self.timing = _read(self.folder)
        for name, trial in self.trials.items():
            before = self.entries.get(
                name, {"state": "", "reason": "", "last_lines": [], "failures": 0, "seconds": 0.0}
            )
            state = "refused" if trial.refused else self._state_in_folder(trial)
            if before["state"] == "failed" and state != "finished":
                state = "failed"
            self.entries[name] = before | {
                "state": state,
                "method": trial.config.describe(),
                "task": trial.task,
                "seed": trial.seed,
                "words": list(trial.words),
                "trained": trial.counts and trial.counts["trained"],
                "reason": trial.refused or before["reason"],
            }

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

    def states(self) -> dict[str, int]:
        """How many of this command's trials are in which state."""
        counts: dict[str, int] = {}
        for name in self.trials:
            state = self.entries[name]["state"]
            counts[state] = counts.get(state, 0) + 1
        return counts

    def note(self, name: str, state: str, **changes: Any) -> None:
        """Write down what became of a trial; times and failures add up over starts of the sweep."""
        entry = self.entries[name]
        for total in ("seconds", "failures"):
            changes[total] = entry[total] + changes.get(total, 0)
        self.entries[name] = entry | {"state": state} | changes

    def record_of(self, name: str) -> Optional[dict[str, Any]]:
        """A trial's own record, or None where there is none yet."""
        try:
            return json.loads((self.trials[name].folder(self.folder) / "run.json").read_text())
        except (OSError, ValueError):
            return None

    def write(self, command: str) -> None:
        """Write sweep.json."""
        record = {"program": KIND, "command": command, "written": time.strftime("%Y-%m-%dT%H:%M:%S%z")}
        write_json(self.folder / LEDGER_FILE, record | {"timing": self.timing, "trials": self.entries})

    def _state_in_folder(self, trial: Trial) -> str:
        folder = trial.folder(self.folder)
        try:
            kind = inspect_folder(folder, trial.resolved, False, False).kind
        except UsageError:
            raise UsageError(f"{folder} is no longer what this sweep left there; move it away") from None
        return {"new": "waiting", "resume": "interrupted", "finished": "finished"}[kind]


def _check_entries(trials: dict[str, dict[str, Any]]) -> None:
    kinds = {"state": str, "reason": str, "last_lines": list, "failures": int, "seconds": (int, float)}
    kinds |= {"task": str, "method": str, "seed": int}
    for entry in trials.values():
        if not all(isinstance(entry[name], kind) for name, kind in kinds.items()):
            raise ValueError


def _read(folder: Path) -> tuple[dict[str, dict[str, Any]], dict[str, float]]:
    """The trials of sweep.json, and the times of its last start that ran any."""
    if not folder.exists():
        return {}, {}
    if not folder.is_dir():
        raise UsageError(f"--output_dir {folder} is a file; name a folder")
    if (folder / TRIALS).exists() and not (folder / TRIALS).is_dir():
        raise UsageError(f"--output_dir {folder} holds something that is not a sweep ({TRIALS} is a file)")
    path = folder / LEDGER_FILE
    try:
        entries = sorted(entry.name for entry in folder.iterdir())
        if not entries:
            return {}, {}
        record = json.loads(path.read_bytes())
        if record["program"] == KIND:
            _check_entries(record["trials"])
            return record["trials"], record["timing"]
    except OSError as error:
        if not isinstance(error, FileNotFoundError):
            raise UsageError(f"--output_dir {folder} cannot be read: {error.strerror}") from None
        foreign = [name for name in entries if name not in _OURS and not name.startswith(f".{LEDGER_FILE}.")]
        if not foreign and TRIALS in entries:
            return {}, {}  # killed before its first line
    except (ValueError, KeyError, TypeError, AttributeError):
        raise UsageError(f"{path} is not the ledger of a sweep; name another --output_dir") from None
    raise UsageError(f"--output_dir {folder} holds something that is not a sweep ({entries[0]}); name another folder")
