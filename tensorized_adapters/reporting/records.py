"""Run records as tables of runs and of methods on tasks: what may be averaged, and what is missing.

Two runs fall into one cell only if everything in their records that can change a result is equal but the seed:
arguments, input files, versions, commit, threads, GPU and number of GPUs.
"""

import json
import math
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional

import pandas as pd

from ..config import METHODS, PROJECTION_TYPES
from ..errors import UsageError, one_line, quoted
from ..runs.folder import RECORD_FILE
from ..runtime.files import content_of
from ..sweeping import LEDGER_FILE, TRIALS
from .naming import OF_METHODS, OF_TASKS, distinct_names, plain_column, settings_of
from .schema import is_number, read_record


@dataclass
class Results:
    """Everything that a report is made of; both tables go by format or method, rank, name, task and seed.

    ``runs``, finished ones with a score, have the columns
        method, task: as in the paper's tables, cp-4 and mrpc, and what tells them from others of the same name;
        metric: the task's primary one; seed; last, best: its value at the last and at the best epoch;
        gap: its value on the training set less that on the development set, of the weights at the end;
        share: of the fall of the training loss, what adapters account for; both NaN where the record lacks it;
        one_class: whether every prediction on the development set is the same class (False for earlier records);
        collapsed: whether the run noticed that it collapsed to a constant prediction (False for earlier records);
        family: a format of the tensorized adapters, or another method; rank: 0 for other methods;
        variant: what the method's name says beside method and rank;
        trained, percent: parameters; record.
    ``cells``, one a method and task, have those of the first seed, and over seeds
        last_mean, last_std, last_count, best_mean, ...: with sample standard deviations, NaN for a single run;
        one_class, collapsed: of any run;
        seeds, scores (at the last epoch), shares, records: lists.
    """

    runs: pd.DataFrame
    cells: pd.DataFrame
    missing: list[str]  # lines on what is not there
    notes: list[str]

    @property
    def methods(self) -> list[str]:
        return list(self.cells["method"].unique())

    @property
    def metrics(self) -> dict[str, str]:
        """Task -> its primary metric, by name."""
        return dict(sorted(zip(self.cells["task"], self.cells["metric"])))


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
        others = f"; {notes[0]}" if notes else ""
        raise UsageError(f"no finished run with a score below {', '.join(map(str, paths))}{others}")
    unclean = sum(1 for run in runs if run.get("git") and not run["git"]["clean"])
    if unclean:
        notes.append(f"{unclean} of {len(runs)} runs came from a source tree with uncommitted changes")
    table = _runs(runs, notes)
    cells = _cells(table)
    notes += _means_of_fewer_runs(cells)
    return Results(table, cells, *([*map(one_line, lines)] for lines in (missing + _holes(table), notes)))


def score_of(record: dict[str, Any], which: str) -> Optional[float]:
    """Primary metric at the last epoch or at the best one."""
    key = f"eval_{record['primary_metric']}"
    history = [entry[key] for entry in record.get("history") or () if is_number(entry.get(key))]
    if which == "best":
        return max(history, default=None)
    if record["arguments"].get("load_best_model_at_end") and history:  # the metrics are the best epoch's then
        return history[-1]
    score = record["metrics"].get(key)
    return score if is_number(score) else None


def gap_of(record: dict[str, Any]) -> float:
    """The training set's primary metric less the development set's, of the same weights; NaN without one of them."""
    values = [record["metrics"].get(f"{of}_{record['primary_metric']}") for of in ("train", "eval")]
    return values[0] - values[1] if all(map(is_number, values)) else math.nan


def share_of(record: dict[str, Any]) -> float:
    """The adapters' share of the fall of the training loss; NaN if not measured, or if it did not fall."""
    share = (record.get("contribution") or {}).get("share")
    return share if is_number(share) else math.nan


def _records(paths: Iterable[Path]) -> tuple[list[dict[str, Any]], list[str], list[str]]:
    found: dict[str, None] = {}
    missing: list[str] = []
    notes: list[str] = []
    for path in paths:
        if path.is_dir():
            for folder, folders, names in os.walk(path, onerror=lambda error: notes.append(_unread(error))):
                folders.sort()
                found |= {os.path.realpath(Path(folder, RECORD_FILE)): None} if RECORD_FILE in names + folders else {}
                missing += _not_run(Path(folder)) if LEDGER_FILE in names else []
        elif path.exists():
            found[os.path.realpath(path)] = None
        else:
            raise UsageError(f"{path} is not there; name run.json files or folders above them")
    records = []
    for path in map(Path, found):
        try:
            record = read_record(path)
            if record["status"] == "finished":  # all that is asked of it alone; others have no metrics yet
                settings_of(record), score_of(record, "last"), score_of(record, "best")
            records.append(record)
        except Exception as error:  # whatever it is, the others are reported
            reason = str(error) if isinstance(error, UsageError) else f"{type(error).__name__}: {quoted(str(error))}"
            notes.append(f"left out, for it is not a run record: {path}: {reason}")
    return records, missing, notes


def _unread(error: OSError) -> str:
    return f"left out, for it cannot be read: {error.filename}: {error.strerror}"


def _not_run(folder: Path) -> list[str]:
    """Trials of a sweep without a record, from its ledger."""
    try:
        ledger = json.loads(content_of(folder / LEDGER_FILE))["trials"]
        return [
            f"{entry['task']} {entry['method']} seed {entry['seed']}: {entry['state']}"
            + (f": {entry['reason']}" if entry["reason"] else "")
            for name, entry in ledger.items()
            if not (folder / TRIALS / name / RECORD_FILE).is_file()
        ]
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return [f"{folder / LEDGER_FILE} cannot be read: trials that never ran are not known"]


def _what(record: dict[str, Any]) -> str:
    return f"{record['task']} {record['method']} seed {record['seed']}"


def _runs(records: list[dict[str, Any]], notes: list[str]) -> pd.DataFrame:
    rows, columns = zip(*map(settings_of, records))
    methods = distinct_names([record["method"] for record in records], rows, OF_METHODS)
    tasks = distinct_names([plain_column(record) for record in records], columns, OF_TASKS)
    first: dict[tuple[str, str, int], dict[str, Any]] = {}
    for method, task, record in zip(methods, tasks, records):
        other = first.setdefault((method, task, record["seed"]), record)
        if other is not record:
            same = "with equal scores" if score_of(other, "last") == score_of(record, "last") else "with OTHER scores"
            notes.append(f"counted once: {other['path'].parent} and {record['path'].parent} are the same run, {same}")
    notes += _likely_copies(first)
    order = [*PROJECTION_TYPES, *METHODS]
    return pd.DataFrame([_run(*key, record) for key, record in first.items()]).sort_values(
        ["family", "rank", "method", "task", "seed"],
        key=lambda column: column.map(order.index) if column.name == "family" else column,
        ignore_index=True,
    )


def _likely_copies(runs: dict[tuple[str, str, int], dict[str, Any]]) -> list[str]:
    """Runs whose seeds differ and whose losses do not: no two seeds draw the same batches."""
    seen: dict[tuple[str, str, str], dict[str, Any]] = {}
    lines = []
    for (method, task, _), record in runs.items():
        losses = record.get("step_losses")
        other = seen.setdefault((method, task, repr(losses)), record) if losses else record
        if other is not record:
            places = f"{other['path'].parent} and {record['path'].parent}"
            lines.append(f"counted as two seeds, but equal in the loss of every step: {places}; one may be a copy")
    return lines


def _run(method: str, task: str, seed: int, record: dict[str, Any]) -> dict[str, Any]:
    arguments, counts = record["arguments"], record["parameters"]
    tensorized = arguments["method"] == "tensorized"
    family = arguments["adapter_projection_type"] if tensorized else arguments["method"]
    rank = arguments["tensorized_layer_rank"] if tensorized else 0
    return {
        "method": method,
        "task": task,
        "metric": record["primary_metric"],
        "seed": seed,
        "last": score_of(record, "last"),
        "best": score_of(record, "best"),
        "gap": gap_of(record),
        "share": share_of(record),
        "one_class": bool(record.get("one_class")),
        "collapsed": record.get("collapsed_at_step") is not None,
        "family": family,
        "rank": rank,
        "variant": method.removeprefix(f"{family}-{rank}" if tensorized else record["method"]).strip(),
        "trained": counts["trained"],
        "percent": 100 * counts["trained"] / counts["model"],
        "record": record,
    }


def _cells(runs: pd.DataFrame) -> pd.DataFrame:
    groups = runs.groupby(["method", "task"], sort=False)
    values = ["last", "best", "gap", "share"]
    scores = groups[values].agg(["mean", "std", "count"])
    scores.columns = ["_".join(names) for names in scores.columns]
    lists = groups.agg(
        one_class=("one_class", "any"),
        collapsed=("collapsed", "any"),
        seeds=("seed", list),
        scores=("last", list),
        shares=("share", list),
        records=("record", list),
    )
    return groups.first().drop(columns=["seed", "one_class", "collapsed", *values]).join([scores, lists]).reset_index()


def _means_of_fewer_runs(cells: pd.DataFrame) -> list[str]:
    """One line for each mean that some runs of its cell do not enter, with their seeds and the reason.

    A cell in which no run holds the value at all gets no line, since the report shows no mean of it.
    """
    lines = []
    for cell in cells.itertuples():
        for value, (name, reason_of) in _REASONS.items():
            count = getattr(cell, f"{value}_count")
            seeds_by_reason: dict[str, list[int]] = {}
            for seed, record in zip(cell.seeds, cell.records):
                if reason := reason_of(record):
                    seeds_by_reason.setdefault(reason, []).append(seed)
            if count or _LOSS_DID_NOT_FALL in seeds_by_reason:
                lines += [
                    f"{cell.method} on {cell.task}: the mean {name} is over {count} of {len(cell.seeds)} runs; "
                    f"seed {', '.join(map(str, seeds))} left out: {reason}"
                    for reason, seeds in seeds_by_reason.items()
                ]
    return lines


def _why_no_share(record: dict[str, Any]) -> Optional[str]:
    if not math.isnan(share_of(record)):
        return None
    return _LOSS_DID_NOT_FALL if record.get("contribution") else "the share was not measured"


_LOSS_DID_NOT_FALL = "the training loss did not fall, so the share is not defined"
# value -> its name in a line, and why a record holds none (None if it holds one)
_REASONS: dict[str, tuple[str, Callable[[dict[str, Any]], Optional[str]]]] = {
    "best": ("score of the best epoch", lambda r: "no score in its history" if score_of(r, "best") is None else None),
    "gap": ("gap", lambda r: "no score on the training or the development set" if math.isnan(gap_of(r)) else None),
    "share": ("share of the adapters", _why_no_share),
}


def _holes(runs: pd.DataFrame) -> list[str]:
    """Methods without a run on a task that others have, and seeds that others have.

    A setting that was tried on some tasks, or with some seeds, was asked for there alone: what is looked for is a run
    in any of the method's settings. What a sweep was asked for, its ledger knows.
    """
    lines = []
    plain = runs["record"].map(lambda record: record["method"])
    for task, of_task in runs.groupby("task"):
        seeds, by_method = set(of_task["seed"]), of_task.groupby(plain)["seed"].agg(set)
        if elsewhere := [method for method in plain.unique() if method not in by_method]:
            lines.append(f"{task}: no run of {', '.join(elsewhere)}")
        for method, own in by_method.items():
            if lacking := sorted(seeds - own):
                lines.append(f"{task}, {method}: no run of seed {', '.join(map(str, lacking))}")
    return lines
