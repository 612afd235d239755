"""Run records as rows (methods) and columns (tasks) of scores: what may be averaged, and what is missing.

Two runs fall into one cell only if everything in their records that can change a result is equal but the seed:
arguments, input files, versions, commit, threads, GPU.
"""

import json
import math
import os
import statistics
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Optional

from sweeping import LEDGER_FILE, TRIALS

from tensorized_adapters.config import METHODS, PROJECTION_TYPES
from tensorized_adapters.errors import UsageError
from tensorized_adapters.job.run_folder import PROGRAM, RECORD_FILE

from .naming import OF_METHODS, OF_TASKS, distinct_names, plain_column, settings_of


@dataclass
class Cell:
    """The runs of one method on one task, one a seed."""

    runs: dict[int, dict[str, Any]] = field(default_factory=dict)  # by seed

    def scores(self, which: str) -> list[float]:
        """Primary metric of the ``last`` or the ``best`` epoch of each run that has it, by ascending seed."""
        scores = [score_of(run, which) for _, run in sorted(self.runs.items())]
        return [score for score in scores if score is not None]

    def mean(self, which: str) -> Optional[float]:
        scores = self.scores(which)
        return statistics.fmean(scores) if scores else None

    def deviation(self, which: str) -> Optional[float]:
        """Sample standard deviation over seeds (n - 1); None for a single run."""
        scores = self.scores(which)
        return statistics.stdev(scores) if len(scores) > 1 else None


@dataclass
class Row:
    """A method with all its settings."""

    name: str  # as in the paper's tables, cp-4, and what tells it from rows of the same name
    record: dict[str, Any]  # of any of its runs, for what they share
    cells: dict[str, Cell] = field(default_factory=dict)  # by column

    @property
    def family(self) -> str:
        """A format of the tensorized adapters, or another method."""
        arguments = self.record["arguments"]
        return arguments["adapter_projection_type"] if arguments["method"] == "tensorized" else arguments["method"]

    @property
    def rank(self) -> Optional[int]:
        arguments = self.record["arguments"]
        return arguments["tensorized_layer_rank"] if arguments["method"] == "tensorized" else None

    @property
    def variant(self) -> str:
        """What the name says beside method and rank."""
        return self.name.removeprefix(self.record["method"].removesuffix(" (one matrix)")).strip()


@dataclass
class Results:
    """Everything that a report is made of."""

    rows: list[Row]
    columns: dict[str, str]  # column -> its primary metric
    runs: list[dict[str, Any]]  # finished, with a score
    missing: list[str]  # lines on what is not there
    notes: list[str]


def read_results(paths: Iterable[Path]) -> Results:
    """All run records at any depth below the paths.

    Raises:
        UsageError: if a path is not there, or no finished run with a score is below them.
    """
    records, missing, notes = _records(paths)
    runs: list[dict[str, Any]] = []
    for record in records:
        place = record["path"].parent
        if record["status"] != "finished":
            reason = f": {record['reason']}" if record.get("reason") else ""
            missing.append(f"{_what(record)}: {record['status']}{reason} ({place})")
        elif not record["arguments"].get("do_train"):
            notes.append(f"left out, for nothing was trained: {place}")
        elif score_of(record, "last") is None:
            missing.append(f"{_what(record)}: no score (evaluate it with --do_eval) ({place})")
        else:
            runs.append(record)
    if not runs:
        raise UsageError(f"no finished run with a score below {', '.join(map(str, paths))}")
    unclean = sum(1 for run in runs if run.get("git") and not run["git"]["clean"])
    if unclean:
        notes.append(f"{unclean} of {len(runs)} runs came from a source tree with uncommitted changes")
    rows, columns = _table(runs, notes)
    missing += _holes(rows, columns)
    return Results(rows, columns, runs, missing, notes)


def score_of(record: dict[str, Any], which: str) -> Optional[float]:
    """Primary metric at the last epoch or at the best one."""
    key = f"eval_{record['primary_metric']}"
    history = [entry[key] for entry in record.get("history", ()) if _is_score(entry.get(key))]
    if which == "best":
        return max(history, default=None)
    if record["arguments"].get("load_best_model_at_end") and history:  # the metrics are the best epoch's then
        return history[-1]
    score = record["metrics"].get(key)
    return score if _is_score(score) else None


def _is_score(value: Any) -> bool:
    return isinstance(value, (int, float)) and math.isfinite(value)


def _records(paths: Iterable[Path]) -> tuple[list[dict[str, Any]], list[str], list[str]]:
    found: dict[Path, None] = {}
    missing: list[str] = []
    notes: list[str] = []
    for path in paths:
        if path.is_file():
            found[path.resolve()] = None
        elif path.is_dir():
            for folder, folders, names in os.walk(path):
                folders.sort()
                found |= {Path(folder, RECORD_FILE).resolve(): None} if RECORD_FILE in names else {}
                missing += _not_run(Path(folder)) if LEDGER_FILE in names else []
        else:
            raise UsageError(f"{path} is not there; name run.json files or folders above them")
    records = []
    for path in found:
        try:
            record = json.loads(path.read_bytes())
            _check(record)
            records.append(record | {"path": path})
        except (OSError, ValueError, KeyError, TypeError) as error:
            notes.append(f"left out, for it is not a run record ({type(error).__name__}): {path}")
    return records, missing, notes


def _check(record: Any) -> None:
    """Raises ValueError, KeyError or TypeError unless the record has what a report needs."""
    kinds = {"arguments": dict, "status": str, "seed": int, "primary_metric": str, "method": str, "task": str}
    if record["status"] == "finished":
        kinds |= {"metrics": dict, "parameters": dict, "command": str, "versions": dict, "machine": dict}
        families = {"method": METHODS}
        if record["arguments"]["method"] == "tensorized":
            families |= {"adapter_projection_type": PROJECTION_TYPES, "tensorized_layer_rank": range(1, 10**6 + 1)}
        for name, choices in families.items():
            choices.index(record["arguments"][name])
        if not all(isinstance(record["parameters"][name], int) for name in ("trained", "model")):
            raise TypeError("parameters")
    if not isinstance(record.get("git") or {}, dict) or not isinstance(record.get("history", []), list):
        raise TypeError("git or history")
    if record["program"] != PROGRAM or not all(isinstance(record[key], kind) for key, kind in kinds.items()):
        raise ValueError("not a record of this program")


def _not_run(folder: Path) -> list[str]:
    """Trials of a sweep without a record, from its ledger."""
    try:
        ledger = json.loads((folder / LEDGER_FILE).read_bytes())["trials"]
        return [
            f"{entry['task']} {entry['method']} seed {entry['seed']}: {entry['state']}"
            + (f": {entry['reason']}" if entry["reason"] else "")
            for name, entry in ledger.items()
            if not (folder / TRIALS / name / RECORD_FILE).is_file()
        ]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return [f"{folder / LEDGER_FILE} cannot be read: trials that never ran are not known"]


def _what(record: dict[str, Any]) -> str:
    return f"{record['task']} {record['method']} seed {record['seed']}"


def _table(runs: list[dict[str, Any]], notes: list[str]) -> tuple[list[Row], dict[str, str]]:
    row_of: dict[str, tuple[dict, list]] = {}
    column_of: dict[str, tuple[dict, list]] = {}
    keys = []
    for run in runs:
        row, column = settings_of(run)
        keys.append((_key(row), _key(column)))
        row_of.setdefault(keys[-1][0], (row, []))[1].append(run)
        column_of.setdefault(keys[-1][1], (column, []))[1].append(run)
    row_names = distinct_names(
        {key: (group[0]["method"], values) for key, (values, group) in row_of.items()}, OF_METHODS
    )
    column_names = distinct_names(
        {key: (plain_column(group[0]), values) for key, (values, group) in column_of.items()}, OF_TASKS
    )
    rows = {key: Row(row_names[key], group[0]) for key, (_, group) in row_of.items()}
    for run, (row, column) in zip(runs, keys):
        cell = rows[row].cells.setdefault(column_names[column], Cell())
        if run["seed"] in cell.runs:
            other = cell.runs[run["seed"]]
            same = "with equal scores" if score_of(other, "last") == score_of(run, "last") else "with OTHER scores"
            notes.append(f"counted once: {other['path'].parent} and {run['path'].parent} are the same run, {same}")
        else:
            cell.runs[run["seed"]] = run
    columns = {column_names[key]: group[0]["primary_metric"] for key, (_, group) in column_of.items()}
    return sorted(rows.values(), key=_order), dict(sorted(columns.items()))


def _key(settings: dict[str, Any]) -> str:
    return json.dumps(settings, sort_keys=True, default=str)


def _order(row: Row) -> tuple:
    families = [*PROJECTION_TYPES, *METHODS]
    return (families.index(row.family), row.rank or 0, row.name)


def _holes(rows: list[Row], columns: dict[str, str]) -> list[str]:
    """Methods without a run on a task that others have, and seeds that others have."""
    lines = []
    for column in columns:
        seeds = sorted({seed for row in rows if column in row.cells for seed in row.cells[column].runs})
        for row in rows:
            lacking = [seed for seed in seeds if column not in row.cells or seed not in row.cells[column].runs]
            if len(lacking) == len(seeds):
                lines.append(f"{column}, {row.name}: no run")
            elif lacking:
                lines.append(f"{column}, {row.name}: no run of seed {', '.join(map(str, lacking))}")
    return lines
