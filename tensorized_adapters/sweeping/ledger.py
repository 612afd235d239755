"""A sweep's folder: its lock, the states of its trials, and sweep.json.

A trial's state follows from its run.json. sweep.json lists the states for readers. It also holds why a start failed
before it had a record, and the trials of earlier grids. If it is lost, no trial runs again.
"""

import contextlib
import math
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Optional

from .. import PROGRAM
from ..errors import RunFailed, UsageError, one_line
from ..runs.folder import entries_of, inspect_folder
from ..runtime.files import locked_folder, read_json, write_json
from ..saving.manifest import read_config
from ..training.checkpoints import ADAPTER_FOLDER
from . import LEDGER_FILE, LOGS, REPORT, TRIALS
from .plan import Trial
from .trial import NO_FAILURE

KIND = f"{PROGRAM} sweep"
_ENTRY = {"state", "method", "task", "seed", "words", "score", *NO_FAILURE}
# NFS caches the listing of a folder, so files of another machine may appear here only after a while.
_SECONDS_TO_SHOW = 90


class Ledger:
    """A sweep's folder and its trials' states: finished, failed, refused, interrupted or waiting."""

    def __init__(self, folder: Path, trials: list[Trial], command: str = ""):
        self.folder, self.trials, self.command = folder, {trial.name: trial for trial in trials}, command
        self.read()

    def read(self) -> None:
        """Read every trial's state from its files; raise UsageError if the folder holds something that is no sweep."""
        summary = _summary_in(self.folder)
        flaw = f"{self.folder / LEDGER_FILE} is damaged; it is written anew from the trials' own files"
        self.notes = [flaw] if summary is None else []  # a line for each damaged file, and what finished trials lack
        summary = summary or {}
        self.entries: dict[str, dict[str, Any]] = summary.get("trials", {})  # those of earlier grids too
        self.timing: dict[str, float] = summary.get("timing", {})
        self._unusable: set[str] = set()  # trials whose folders hold other files
        self._unmeasured: set[str] = set()  # finished trials that lack the contribution that this command asks for
        for name in self.trials:
            self.refresh(name)
        self.notes += [self.entries[name]["reason"] for name in self.trials if name in self._unusable]
        for name, trial in self.trials.items():
            try:
                if self.entries[name]["state"] == "finished":
                    read_config(trial.folder(self.folder) / ADAPTER_FOLDER)  # not its weights, which takes longer
            except UsageError as error:
                self.notes.append(f"{error}; move the trial's folder away to train it again")
        if lacking := len(self._unmeasured):
            what = f"trained without --measure_contribution: {lacking} of the finished trials"
            self.notes.append(f"{what}; another --output_dir trains them anew")

    def print_notes(self) -> None:
        """Print the notes about damaged files and finished trials, and a line for each trial that is not run."""
        for note in self.notes:
            print(f"note: {one_line(note)}", file=sys.stderr)
        for trial in self.trials.values():
            if trial.refused:
                what = f"{trial.task} {trial.config.describe()} seed {trial.seed}"
                print(f"skipped: {one_line(f'{what}: {trial.refused}')}", file=sys.stderr)

    def refresh(self, name: str) -> None:
        """Read one trial's state from its run.json. The first row that fits decides.

        | the folder or run.json   | sweep.json says | the state          | the reason                                |
        |--------------------------|-----------------|--------------------|-------------------------------------------|
        | is damaged or another's  | anything        | failed             | which folder to move away                 |
        | is missing or unfinished | failed          | failed             | the sweep's: no record yet, or killed     |
        | has failed               | failed          | failed             | the sweep's, which says more              |
        | has failed               | anything else   | failed             | the record's                              |
        | anything else            | anything        | what run.json says | none, or why the model refuses the method |
        """
        trial, known = self.trials[name], self.entries.get(name, {})
        entry = {"method": trial.config.describe(), "task": trial.task, "seed": trial.seed, "words": list(trial.words)}
        entry |= {part: trial.counts and trial.counts[part] for part in ("trained", "model")} | {"score": None}
        entry |= NO_FAILURE | {key: known[key] for key in NO_FAILURE if key in known}
        try:
            found = {"state": "refused", "reason": trial.refused} if trial.refused else self._in_folder(trial)
        except UsageError as error:
            where = trial.folder(self.folder)
            flaw = one_line(error).partition(";")[0]  # the rest is advice for a single run
            reason = f"{where} is not as this sweep left it; move it away ({flaw})"
            found = {"state": "failed", "reason": reason, "last_lines": []}
            self._unusable.add(name)
        else:
            if known.get("state") == "failed" and found["state"] in ("failed", "waiting", "interrupted"):
                found |= {"state": "failed", "reason": entry["reason"]}
            elif found["state"] != "failed":
                found = {"reason": "", "last_lines": []} | found
        found["seconds"] = entry["seconds"] or found.get("seconds", 0.0)
        self.entries[name] = entry | found

    def started(self, name: str) -> None:
        """Remove the reason of an earlier failure when a trial starts again."""
        self.entries[name] |= {"state": "waiting", "reason": "", "last_lines": []}

    def ended(self, name: str, outcome: dict[str, Any]) -> None:
        """Store the result of a trial's task and its run.json, and write sweep.json."""
        entry = self.entries[name]
        sums = {key: round(entry[key] + outcome[key], 3) for key in ("failures", "seconds")}
        entry |= {"state": outcome["state"], "reason": outcome["reason"], "last_lines": outcome["last_lines"]} | sums
        self.refresh(name)
        until = time.time() + _SECONDS_TO_SHOW
        while outcome["state"] == "finished" and self.entries[name]["state"] != "finished" and time.time() < until:
            time.sleep(0.5)
            self.refresh(name)
        self.write()

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Make the folder, lock it within the block, and read it again; raise UsageError as ``locked_folder`` does."""
        with locked_folder(self.folder, "sweep"):
            self.read()
            yield

    def to_run(self) -> list[Trial]:
        """Return the trials that are not finished, not refused and not in a folder of others, in the plan's order."""
        done = {name for name in self.trials if self.entries[name]["state"] in ("finished", "refused")}
        return [trial for name, trial in self.trials.items() if name not in done | self._unusable]

    def states(self) -> Counter[str]:
        """Return how many of this command's trials are in each state."""
        return Counter(self.entries[name]["state"] for name in self.trials)

    def write(self) -> None:
        """Write sweep.json."""
        record = {"program": KIND, "command": self.command, "written": time.strftime("%Y-%m-%dT%H:%M:%S%z")}
        write_json(self.folder / LEDGER_FILE, record | {"timing": self.timing, "trials": self.entries})

    def _in_folder(self, trial: Trial) -> dict[str, Any]:
        """Return a trial's state by its run.json, with the reason of a failure, or the score and the parameters."""
        start = inspect_folder(trial.folder(self.folder), trial.resolved)
        if start.kind == "new":
            return {"state": "waiting"}
        seconds = float(start.record.get("seconds", 0.0))
        if start.kind == "resume":
            if start.record["status"] != "failed":
                return {"state": "interrupted", "seconds": seconds}
            return {"state": "failed", "reason": str(start.record.get("reason", "")), "seconds": seconds}
        if trial.resolved["measure_contribution"] and "contribution" not in start.record:
            self._unmeasured.add(trial.name)
        metric = start.record["primary_metric"]
        value = start.record["metrics"].get(f"eval_{metric}")
        score = {metric: value} if isinstance(value, int | float) and math.isfinite(value) else None
        counted = {part: start.record["parameters"][part] for part in ("trained", "model")}  # with the data's labels
        return {"state": "finished", "score": score, "seconds": seconds} | counted


def no_room(folder: Path, flaw: object) -> RunFailed:
    """Return the error that ends a sweep whose folder cannot be written."""
    advice = "nothing is lost: make room, then give the same command again"
    return RunFailed(f"{folder} cannot be written ({flaw}); {advice}")


def score_text(score: Optional[dict[str, float]]) -> str:
    """Return a score as ``f1 0.9063``; empty for none."""
    return " ".join(f"{metric} {value:.4f}" for metric, value in (score or {}).items())


def _summary_in(folder: Path) -> Optional[dict[str, Any]]:
    """Return the content of sweep.json, empty if it is missing, or None if it is damaged. Raises UsageError if the
    folder holds something that is not a sweep."""
    names = [entry.name for entry in entries_of(folder)]
    no_sweep = f"--output_dir {folder} holds something that is not a sweep"
    if TRIALS in names and not (folder / TRIALS).is_dir():
        raise UsageError(f"{no_sweep} ({TRIALS} is a file)")
    with contextlib.suppress(UsageError, LookupError, TypeError, AttributeError):
        summary = read_json(folder / LEDGER_FILE)
        if summary["program"] == KIND and all(entry.keys() >= _ENTRY for entry in summary["trials"].values()):
            return summary
    # sweep.json is missing or damaged. A sweep that was killed early has none.
    known = (LEDGER_FILE, TRIALS, LOGS, REPORT)
    foreign = [name for name in names if name not in known and not name.startswith(f".{LEDGER_FILE}.")]
    if names and (foreign or TRIALS not in names):
        raise UsageError(f"{no_sweep} ({(foreign or names)[0]}); name another folder")
    return None if LEDGER_FILE in names else {}
