"""Further tables: means over tasks, the adapters' contribution, and the gap. A table without any value is None."""

from typing import Optional

import numpy as np
import pandas as pd

from ..data.metric_names import lower_is_better
from .results import Results
from .tables import OF_KEPT, Table, by_task, decimals, heading, highest

_MOMENTS = ("initial", "trained", "without_adapters")
_MEASURES = [f"{of}_{what}_{when}" for of in ("train", "eval") for what in ("loss", "metric") for when in _MOMENTS]


def mean_table(results: Results) -> Optional[Table]:
    """Return the mean over the tasks, for methods that have all of them, with its standard error over seeds.

    Tasks that are measured by an error are left out, since a mean of scores and errors has no meaning.
    """
    errors = [heading(task, metric) for task, metric in results.metrics.items() if lower_is_better(metric)]
    count = len(results.metrics) - len(errors)
    scored = results.cells[~results.cells["metric"].map(lower_is_better)]
    complete = scored.groupby("method", sort=False).filter(lambda cells: len(cells) == count)
    if count < 2 or complete.empty:
        return None
    values, best = pd.DataFrame(index=complete["method"].unique()), {}
    for which in ("last", "best"):
        squares = complete[f"{which}_std"] ** 2 / complete[f"{which}_count"]
        by_method = complete.assign(square=squares).groupby("method", sort=False)
        values[f"{which} epoch"] = by_method[f"{which}_mean"].sum(min_count=count) / count
        values[f"standard error, {which}"] = np.sqrt(by_method["square"].sum(min_count=count)) / count
        best[f"{which} epoch"] = highest(values[f"{which} epoch"])
    caption = (
        "Mean over the tasks of the means over seeds, for methods that have every task. Its standard error is "
        "sqrt(sum of variance / seeds) / tasks, if each task has at least two seeds. Two methods differ by more than "
        "two standard errors if the difference of their means exceeds 2 sqrt(error² + other error²)."
    )
    if errors:
        caption += f" Without the tasks that are measured by an error: {', '.join(errors)}."
    if left_out := [method for method in results.methods if method not in values.index]:
        caption += f" Left out, since they lack a task: {', '.join(left_out)}."
    cells = values.map(decimals).reset_index(names="method")
    return Table("Mean over the tasks", caption, cells, pd.DataFrame(best).reset_index(drop=True))


def contribution_table(results: Results) -> Optional[Table]:
    """Return the share of the decrease of the training loss that is lost without the adapters' updates."""
    caption = (
        "The share of the decrease of the training loss that is lost when the updates of the trained adapters are "
        "left out, with LayerNorms and head as trained: (loss without - loss) / (loss before the first step - loss), "
        "on the training examples that are measured. Mean ± sample standard deviation over seeds. 0: nothing; 1: all "
        "of it; above 1: the loss is higher than at the start. (2 of 3): a run of three is not in the mean, for "
        "its training loss did not decrease or its share was not measured; the notes name it."
    )
    return _without_empty("What adapters account for", caption, *by_task(results, "share", of_metric=False))


def gap_table(results: Results) -> Optional[Table]:
    """Return the metric on the training set minus the metric on the development set."""
    caption = (
        "The metric on the training examples that are measured minus the metric on the development set, both with "
        f"the weights at the end of the run, {OF_KEPT}. Mean ± sample standard deviation over seeds; after the slash "
        "the number of training examples that are measured, where records hold it."
    )
    texts, means = by_task(results, "gap")
    for cell in results.cells.itertuples():
        counts = {record["metrics"].get("train_metric_samples") for record in cell.records}
        counts = sorted(count for count in counts if type(count) is int)
        if counts and not np.isnan(cell.gap_mean):
            ends = dict.fromkeys((counts[0], counts[-1]))
            texts.loc[cell.method, heading(cell.task, cell.metric)] += f" / {'–'.join(f'{n:,}' for n in ends)}"
    return _without_empty("Train-to-development gap", caption, texts, means)


def scores_frame(results: Results) -> pd.DataFrame:
    """Return the scores of each method and task, in full precision."""
    columns = ["method", "task", "metric", "seeds"]
    columns += [f"{value}_{name}" for value in ("last", "best", "gap") for name in ("mean", "std", "count")]
    seeds = results.cells["seeds"].map(lambda seeds: " ".join(map(str, seeds)))
    return results.cells.assign(seeds=seeds)[[*columns, "trained", "percent"]]


def contribution_frame(results: Results) -> pd.DataFrame:
    """Return the share by method and task where it was measured, and means over seeds of its losses and metrics."""
    rows = []
    for _, cell in results.cells.iterrows():
        measured = [run["contribution"] for run in cell["records"] if run.get("contribution")]
        if measured:
            values = pd.json_normalize(measured, sep="_").reindex(columns=_MEASURES).astype(float)
            row = cell[["method", "task", "metric"]].to_dict() | {"runs": len(measured)}
            row |= cell[["share_mean", "share_std", "share_count"]].to_dict()
            rows.append(row | {**values.mean(), **values.count().add_suffix("_count")})
    return pd.DataFrame(rows)


def _without_empty(title: str, caption: str, texts: pd.DataFrame, means: pd.DataFrame) -> Optional[Table]:
    """Return the table without its empty rows and columns."""
    rows, columns = means.notna().any(axis=1), means.notna().any()
    return Table(title, caption, texts.loc[rows, columns].reset_index(names="method")) if rows.any() else None
