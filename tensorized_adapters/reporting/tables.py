"""The tables of a report: scores and parameters by method."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Optional

import pandas as pd

from ..data.metric_names import lower_is_better
from ..data.tasks import TASKS
from .published import PUBLISHED, PUBLISHED_MODEL, PUBLISHED_SCORES
from .results import Results

METRICS = {
    "f1": "F1",
    "f1_micro": "micro F1",
    "accuracy": "accuracy",
    "matthews_correlation": "Matthews correlation",
    "combined_score": "mean of Pearson and Spearman",
}
# Footnotes to scores at the last epoch, by the column of the cells that asks for them
_FOOTNOTES = {
    "one_class": ("†", "in at least one run all predictions are the same class."),
    "collapsed": (
        "‡",
        "at least one run collapsed to a constant prediction during training; try a lower learning rate.",
    ),
}
# Follows the words on the weights that were measured at the end of a run.
OF_KEPT = "with --load_best_model_at_end those that were kept"
_GROUPS = ("adapters", "layer_norm", "backbone", "head", "trained")


@dataclass
class Table:
    """A table of texts, with the names of the rows in the first column. ``best`` is true where a cell is marked."""

    title: str
    caption: str
    cells: pd.DataFrame
    best: Optional[pd.DataFrame] = None

    def __post_init__(self) -> None:
        best = pd.DataFrame(index=self.cells.index) if self.best is None else self.best
        self.best = best.reindex(columns=self.cells.columns, fill_value=False)

    def rows(self) -> Iterator[list[tuple[str, str, bool]]]:
        """Yield each row as the column, the text and the mark of each of its cells."""
        for texts, marks in zip(self.cells.values, self.best.values):
            yield list(zip(self.cells.columns, texts, marks))


def score_table(results: Results, which: str, published: bool) -> Table:
    """Return mean and standard deviation over seeds of the primary metric, at the ``last`` or the ``best`` epoch."""
    scores, means = by_task(results, which)
    caption = (
        "Mean ± sample standard deviation over seeds (their number in brackets where it is above one), on the "
        "development set; the highest mean of a column is marked, unless all are equal."
    )
    lower = {heading(task, metric): lower_is_better(metric) for task, metric in results.metrics.items()}
    if any(lower.values()):
        caption += " For an error measure the lowest mean is marked."
    if which == "last":
        for column, (mark, meaning) in _FOOTNOTES.items():
            marked = results.cells[results.cells[column]]
            for cell in marked.itertuples():
                scores.loc[cell.method, heading(cell.task, cell.metric)] += f" {mark}"
            if len(marked):
                caption += f" {mark}: {meaning}"
    else:
        caption += " The best epoch is chosen on the same development set, which flatters every method."
        if any(record["arguments"].get("load_best_model_at_end") for record in results.runs["record"]):
            caption += " With --load_best_model_at_end it is the epoch whose weights were kept."
    if published:
        caption += f" Published: single runs of {PUBLISHED_MODEL}."
        if others := [model for model in results.models if model != PUBLISHED_MODEL]:
            caption += f" The runs here use {', '.join(others)}, so the two must not be compared."
        names = results.cells.groupby("method", sort=False)["record"].first().map(_published_name)
        for task, metric in results.metrics.items():
            if task not in PUBLISHED_SCORES:
                continue
            if metric == (primary := TASKS[task].primary):
                scores[f"{task} as published"] = names.map(PUBLISHED_SCORES[task]).map(decimals)
            else:
                called = METRICS.get(primary, primary)
                caption += f" The published scores of {task} are of {called} and are left out beside another metric."
    best = means.apply(lambda of_task: highest(-of_task if lower[of_task.name] else of_task)).reset_index(drop=True)
    return Table(f"Scores, {which} epoch", caption, scores.reset_index(names="method"), best)


def heading(task: str, metric: str) -> str:
    return f"{task} ({METRICS.get(metric, metric)})"


def highest(means: pd.Series) -> pd.Series:
    """Return which means to mark: the highest ones, unless several means exist and all are equal."""
    means = means.round(12)  # the order of a sum changes its last bit
    tied = means.count() > 1 and means.nunique() == 1
    return means.eq(means.max()) & (not tied)


def by_task(results: Results, value: str, of_metric: bool = True) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return means and deviations over seeds of a value as text, and the means alone, by method and task. The headings
    name the task's metric if the value is one ``of_metric``."""
    headings = {task: heading(task, metric) if of_metric else task for task, metric in results.metrics.items()}
    cells = results.cells.set_index(["method", "task"])
    parts = cells[[f"{value}_{name}" for name in ("mean", "std", "count")]].assign(runs=cells["seeds"].map(len))
    texts, means = (
        values.unstack().reindex(index=results.methods, columns=list(headings)).rename(columns=headings)
        for values in (parts.apply(lambda cell: _score(*cell), axis=1), cells[f"{value}_mean"])
    )
    return texts.fillna("–"), means


def parameter_table(results: Results, published: bool) -> Table:
    """Return the parameters by group, with a row for each method and size of head."""
    sizes = results.cells["record"].map(lambda record: str(record["parameters"]))
    rows = []
    for (method, _), of_size in results.cells.groupby(["method", sizes], sort=False):
        record = of_size["record"].iloc[0]
        row = {"method": method, "tasks": ", ".join(of_size["task"])}
        row |= {group: f"{record['parameters'].get(group, 0):,}" for group in _GROUPS}
        row["%"] = f"{of_size['percent'].iloc[0]:.4f}"
        size = record.get("adapter_bytes")
        row["adapter file, kB"] = f"{size / 1000:,.1f}" if size else ""
        if published:
            share = PUBLISHED.get(_published_name(record))
            row["% as published"] = f"{share:g}" if share else ""
        rows.append(row)
    return Table("Parameters", "% is trained / (backbone + head), as in the paper.", pd.DataFrame(rows))


def decimals(value: float) -> str:
    """Return the number with three decimals, or a dash for NaN."""
    return "–" if pd.isna(value) else f"{value:.3f}"


def _score(mean: float, deviation: float, count: float, runs: float) -> str:
    """Return the mean, its deviation, and the number of runs; "2 of 3" if some runs have no such value."""
    text = decimals(mean) + (f" ± {deviation:.3f}" if count > 1 else "")
    if 0 < count < runs:
        return f"{text} ({count:.0f} of {runs:.0f})"
    return f"{text} ({count:.0f})" if count > 1 else text


def _published_name(record: dict[str, Any]) -> str:
    """Return the method's name in the published tables, whose adapters have size 64 at all sites; empty for others."""
    as_published = {"adapter_size": 64, "adapter_sites": "both", "adapter_layers": None, "bitfit_terms": "all"}
    return record["method"] if all(record["arguments"].get(k, v) == v for k, v in as_published.items()) else ""
