"""Collects run records into a table of runs and a table of means.

Two runs enter one mean only if everything in their records that can change a result is equal except the seed.
"""

import math
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from ..config import METHODS, PROJECTION_TYPES
from ..data.metric_names import lower_is_better
from ..errors import UsageError, one_line, quoted, shortened
from ..runs.folder import RECORD_FILE
from ..runs.read_record import printable_copy, read_record
from ..runtime.files import read_json
from ..sweeping import LEDGER_FILE, TRIALS
from .missing import means_of_fewer_runs, runs_that_others_have
from .naming import METHOD_SETTINGS, distinct_names, moved_to_tasks, plain_task, settings_of, several

_FAMILIES = [*PROJECTION_TYPES, *METHODS]
_VALUES = ["last", "best", "gap", "share"]


@dataclass
class Results:
    """The data of a report. Both tables are sorted by family, rank, method, task and seed.

    ``runs`` has one row for each finished run with a score:
        method, task: names as in the paper's tables (cp-4, mrpc), with settings that distinguish them from others
        metric: the primary metric of the task; last, best: its value at the last and at the best epoch
        gap: the metric on the training set minus the one on the development set, with the weights at the run's end
        share: the adapters' share of the decrease of the training loss; NaN, like the others, if it was not measured
        one_class: ``last`` is the score of predictions of one class alone; collapsed: they became so in training
        family: a format of the tensorized adapters, or another method; rank: 0 for other methods
        variant: the part of the method's name after method and rank
        trained, percent: parameters; seed; record: the complete record
    ``cells`` has one row for each method and task, with the columns of the first seed, and over the seeds
        last_mean, last_std, last_count, best_mean, ...: sample standard deviations, NaN for a single run
        one_class, collapsed: whether any run has it
        seeds, scores (at the last epoch), shares, records: lists
    """

    runs: pd.DataFrame
    cells: pd.DataFrame
    missing: list[str]
    notes: list[str]

    @property
    def methods(self) -> list[str]:
        return list(self.cells["method"].unique())

    @property
    def metrics(self) -> dict[str, str]:
        """Return each task's primary metric, sorted by task."""
        return dict(sorted(zip(self.cells["task"], self.cells["metric"])))

    @property
    def models(self) -> list[str]:
        """Return the names of the base models. A local folder is named by the last two parts of its path."""
        names = dict.fromkeys(record["arguments"].get("model_name_or_path") for record in self.runs["record"])
        return ["/".join(Path(str(name)).parts[-2:]) for name in names]

    def summary(self) -> list[str]:
        """Return two lines: how many runs, methods, tasks and seeds; the models, training examples and epochs."""
        counts = {"run": len(self.runs)} | {name: self.runs[name].nunique() for name in ("method", "task", "seed")}
        facts = [f"model{'s' * (len(self.models) > 1)} {several(self.models)}"]
        for name, unit, style in (("train_samples", "training examples", ",.0f"), ("epoch", "epochs", "g")):
            values = {number(record["metrics"], name) for record in self.runs["record"]} - {math.nan}
            if shown := several(f"{value:{style}}" for value in sorted(values)):
                facts.append(f"{shown} {unit}")
        return [", ".join(f"{count} {name}{'s' * (count != 1)}" for name, count in counts.items()), ", ".join(facts)]


def read_results(paths: Iterable[Path]) -> Results:
    """Read all run records at any depth below the paths; raise UsageError if no finished run with a score is there."""
    files, missing = _record_files(paths)
    notes: list[str] = []
    runs: list[dict[str, Any]] = []
    for path in files:
        try:
            record = printable_copy(read_record(path)) | {"path": path}
            record |= {name: shortened(record[name]) for name in ("method", "task")}
            name = f"{record['task']} {record['method']} seed {record['seed']}"
            run = _run(record) if record["status"] == "finished" else {}
        except Exception as error:  # one damaged or foreign record must not prevent the report
            reason = str(error) if isinstance(error, UsageError) else f"{type(error).__name__}: {quoted(str(error))}"
            missing.append(f"left out because it is not a run record: {path}: {reason}")
            continue
        if not run:
            reason = f": {record['reason']}" if record.get("reason") else ""
            missing.append(f"{name}: {record['status']}{reason} ({path.parent})")
        elif not record["arguments"].get("do_train"):
            notes.append(f"left out because nothing was trained: {path.parent}")
        elif math.isnan(run["last"]):
            reason = "evaluate it with --do_eval"
            if "eval_loss" in record["metrics"]:
                reason = f"{record['primary_metric']} is not defined for its evaluation set"
            missing.append(f"{name}: no score ({reason}) ({path.parent})")
        else:
            runs.append(run)
    if not runs:
        others = "".join(f"; {line}" for line in (missing + notes)[:1])
        raise UsageError(f"no finished run with a score below {', '.join(map(str, paths))}{others}")
    unclean = sum(not (run["record"].get("git") or {"clean": True})["clean"] for run in runs)
    if unclean:
        notes.append(f"{unclean} of {len(runs)} runs came from a source tree with uncommitted changes")
    table = _named(runs, notes)
    notes += means_of_fewer_runs(table)
    missing += runs_that_others_have(table)
    return Results(table, _cells(table), [*map(one_line, missing)], [*map(one_line, notes)])


def _record_files(paths: Iterable[Path]) -> tuple[list[Path], list[str]]:
    """Return the run.json files, and lines on trials without one and on folders that cannot be read."""
    found: dict[str, None] = {}
    missing: list[str] = []
    unreadable: list[OSError] = []
    for path in paths:
        if not path.exists():
            raise UsageError(f"{path} is not there; name run.json files or folders above them")
        if not path.is_dir():
            found[os.path.realpath(path)] = None
            continue
        for folder, folders, names in os.walk(path, onerror=unreadable.append):
            folders.sort()
            if RECORD_FILE in names + folders:
                found[os.path.realpath(Path(folder, RECORD_FILE))] = None
            if LEDGER_FILE in names:
                missing += _trials_without_record(Path(folder))
    missing += [f"left out because it cannot be read: {error.filename}: {error.strerror}" for error in unreadable]
    return [*map(Path, found)], missing


def _trials_without_record(folder: Path) -> list[str]:
    """Return a line for each trial of a sweep's folder that has no record."""
    try:
        lines = []
        for name, entry in read_json(folder / LEDGER_FILE)["trials"].items():
            record = folder / TRIALS / name / RECORD_FILE
            if record.is_file():
                continue
            if entry["state"] == "finished":
                state = f"finished, but {record} is missing"
            else:
                state = ": ".join(filter(None, (entry["state"], entry["reason"])))
            lines.append(f"{entry['task']} {entry['method']} seed {entry['seed']}: {state}")
        return lines
    except (UsageError, KeyError, TypeError, AttributeError):
        return [f"{folder / LEDGER_FILE} cannot be read: trials that never ran are not known"]


def number(values: dict[str, Any], name: str) -> float:
    """Return a finite number of a record, or NaN if it has none of that name."""
    value = values.get(name)
    try:
        return float(value) if isinstance(value, (int, float)) and math.isfinite(value) else math.nan
    except OverflowError:  # an integer beyond the largest float
        return math.nan


def _run(record: dict[str, Any]) -> dict[str, Any]:
    """Return the row of a finished run, with its ``settings`` and with names that may not be distinct yet."""
    arguments, counts, metrics, metric = map(record.get, ("arguments", "parameters", "metrics", "primary_metric"))
    key = f"eval_{metric}"
    scores = pd.Series([number(entry, key) for entry in record.get("history") or ()], dtype=float).dropna()
    last, best = number(metrics, key), scores.min() if lower_is_better(metric) else scores.max()
    if arguments.get("load_best_model_at_end") and len(scores):
        # ``metrics`` are those of the weights that were kept, whichever metric chose them.
        last, best = scores.iloc[-1], best if math.isnan(last) else last
    tensorized = arguments["method"] == "tensorized"
    return {
        "method": record["method"],
        "task": plain_task(record),
        "settings": settings_of(record),
        "metric": metric,
        "seed": record["seed"],
        "last": last,
        "best": best,
        "gap": number(metrics, f"train_{metric}") - number(metrics, key),
        "share": number(record.get("contribution") or {}, "share"),
        # The record says this about the weights that ``metrics`` are of, so it counts only if ``last`` is their score.
        "one_class": "eval" in (record.get("one_class") or {}) and last == number(metrics, key),
        "collapsed": record.get("collapsed_at_step") is not None,
        "family": arguments["adapter_projection_type"] if tensorized else arguments["method"],
        "rank": arguments["tensorized_layer_rank"] if tensorized else 0,
        "trained": counts["trained"],
        "percent": 100 * counts["trained"] / counts["model"],
        "record": record,
    }


def _named(runs: list[dict[str, Any]], notes: list[str]) -> pd.DataFrame:
    """Return the table of runs. Repeated runs are left out, with a note."""
    of_method, of_task = zip(*(run.pop("settings") for run in runs))
    plain = [run["task"] for run in runs]
    of_method, of_task, found = moved_to_tasks(plain, of_method, of_task)
    notes += found
    methods = distinct_names([run["method"] for run in runs], of_method, METHOD_SETTINGS)
    tasks = distinct_names(plain, of_task, {name for settings in of_task for name in settings})
    rows: dict[tuple[str, str, int], dict[str, Any]] = {}
    by_losses: dict[tuple[str, str, str], dict[str, Any]] = {}
    for method, task, run in zip(methods, tasks, runs):
        first = rows.setdefault((method, task, run["seed"]), run)
        if first is not run:
            equal = "equal" if first["last"] == run["last"] else "OTHER"
            notes.append(f"counted once: {_folders(first, run)} are the same run, with {equal} scores")
            continue
        method_and_rank = f"{run['family']}-{run['rank']}" if run["rank"] else run["family"]
        run |= {"method": method, "task": task, "variant": method.removeprefix(method_and_rank).strip()}
        losses = run["record"].get("step_losses")  # two seeds never draw the same batches
        twin = by_losses.setdefault((method, task, repr(losses)), run) if losses else run
        if twin is not run:
            alike = f"equal in the loss of every step: {_folders(twin, run)}"
            notes.append(f"counted as two seeds, but {alike}; one may be a copy")
    return pd.DataFrame(rows.values()).sort_values(
        ["family", "rank", "method", "task", "seed"],
        key=lambda column: column.map(_FAMILIES.index) if column.name == "family" else column,
        ignore_index=True,
    )


def _folders(one: dict[str, Any], other: dict[str, Any]) -> str:
    return f"{one['record']['path'].parent} and {other['record']['path'].parent}"


def _cells(runs: pd.DataFrame) -> pd.DataFrame:
    """Return the table of means over the seeds of each method and task (see Results)."""
    groups = runs.groupby(["method", "task"], sort=False)
    scores = groups[_VALUES].agg(["mean", "std", "count"])
    scores.columns = ["_".join(names) for names in scores.columns]
    lists = groups.agg(
        one_class=("one_class", "any"),
        collapsed=("collapsed", "any"),
        seeds=("seed", list),
        scores=("last", list),
        shares=("share", list),
        records=("record", list),
    )
    first = groups.first().drop(columns=["seed", "one_class", "collapsed", *_VALUES])
    return first.join([scores, lists]).reset_index()
