"""The tables that sum up or look behind the scores: the mean over the tasks, what adapters account for, and the gap
between training and development set. One without any value is None."""

from typing import Optional

import numpy as np
import pandas as pd

from .records import Results
from .tables import METRICS, Table, as_csv, by_task, highest

_MOMENTS = ("initial", "trained", "without_adapters")
_MEASURES = [f"{of}_{what}_{when}" for of in ("train", "eval") for what in ("loss", "metric") for when in _MOMENTS]


def mean_table(results: Results) -> Optional[Table]:
    """Mean over the tasks of the methods that have all of them, with its standard error over seeds within tasks."""
    count = len(results.metrics)
    whole = results.cells.groupby("method", sort=False).filter(lambda cells: len(cells) == count)
    if count < 2 or whole.empty:
        return None
    table = pd.DataFrame({"method": whole["method"].unique()})
    best = table.map(lambda _: False)
    for which in ("last", "best"):
        squares = whole[f"{which}_std"] ** 2 / whole[f"{which}_count"]
        by_method = whole.assign(square=squares).groupby("method", sort=False)
        means = by_method[f"{which}_mean"].sum(min_count=count) / count
        errors = np.sqrt(by_method["square"].sum(min_count=count)) / count
        for name, values in ((f"{which} epoch", means), (f"standard error, {which}", errors)):
            table[name] = values.map(_number).values
            best[name] = False
        best[f"{which} epoch"] = highest(means).values
    caption = "Of the methods that have every task: the mean over the tasks of the means over seeds, and its standard "
    caption += "error, sqrt(sum of variance / seeds) / tasks, from two seeds a task on. A method is above another one "
    caption += "by more than two standard errors where their difference exceeds 2 sqrt(error² + other error²)."
    if left_out := [method for method in results.methods if method not in set(whole["method"])]:
        caption += f" Left out, since they lack a task: {', '.join(left_out)}."
    return Table("Mean over the tasks", caption, table, best)


def contribution_table(results: Results) -> Optional[Table]:
    """The share of the fall of the training loss that is gone without the adapters' updates."""
    caption = "What of the fall of the training loss is gone when the updates of the trained adapters are left out, "
    caption += "LayerNorms and head as trained: (loss without - loss) / (loss before the first step - loss), on the "
    caption += (
        "training examples that are measured. Mean ± sample standard deviation over seeds. 0: nothing; 1: all of "
    )
    caption += "it; above 1: the loss is higher than at the start. (2 of 3): a run of three is not in the mean, for "
    caption += "its training loss did not fall or its share was not measured; the notes name it."
    return _filled("What adapters account for", caption, *by_task(results, "share", of_metric=False))


def gap_table(results: Results) -> Optional[Table]:
    """The training set's metric less the development set's."""
    caption = "The metric on the training examples that are measured less that on the development set, both of the "
    caption += "weights at the end of training. Mean ± sample standard deviation over seeds; behind the stroke the "
    caption += "number of training examples that are measured, where records hold it."
    texts, means = by_task(results, "gap")
    for cell in results.cells.itertuples():
        counts = {record["metrics"].get("train_metric_samples") for record in cell.records}
        counts = sorted(count for count in counts if type(count) is int)
        if counts and not np.isnan(cell.gap_mean):
            told = "–".join(f"{count:,}" for count in dict.fromkeys((counts[0], counts[-1])))
            texts.loc[cell.method, f"{cell.task} ({METRICS.get(cell.metric, cell.metric)})"] += f" / {told}"
    return _filled("Train-to-development gap", caption, texts, means)


def contribution_csv(results: Results) -> Optional[str]:
    """One line a method and task that measured it, in full precision: the share, and means over seeds of what it is
    made of; None without any."""
    lines = []
    for cell in results.cells.itertuples():
        measured = [run["contribution"] for run in cell.records if run.get("contribution")]
        if measured:
            values = pd.json_normalize(measured, sep="_").reindex(columns=_MEASURES).astype(float)
            lines.append(
                {
                    "method": cell.method,
                    "task": cell.task,
                    "metric": cell.metric,
                    "runs": len(measured),
                    "share_mean": cell.share_mean,
                    "share_std": cell.share_std,
                    "share_count": cell.share_count,
                    **values.mean(),
                    **values.count().add_suffix("_count"),
                }
            )
    return as_csv(pd.DataFrame(lines)) if lines else None


def _filled(title: str, caption: str, texts: pd.DataFrame, means: pd.DataFrame) -> Optional[Table]:
    """Lines and columns in which something stands."""
    rows, columns = means.notna().any(axis=1), means.notna().any()
    if not rows.any():
        return None
    cells = texts.loc[rows, columns].reset_index(names="method")
    return Table(title, caption, cells, cells.map(lambda _: False))


def _number(value: float) -> str:
    return "–" if np.isnan(value) else f"{value:.3f}"
