"""Scores by class, confusion matrices and the most confident mistakes, for runs whose records have them."""

from dataclasses import dataclass
from typing import Any, Optional

import pandas as pd
from matplotlib.figure import Figure

from ..errors import shortened
from .results import Results
from .tables import METRICS, OF_KEPT, Table, decimals

MOST_CLASSES = 30  # in a confusion matrix
_MOST_RUNS = 6


@dataclass
class ClassScores:
    """The scores of one evaluation set of a run: its name for titles, and its entry in the record (``values``)."""

    name: str
    task: str
    values: dict[str, Any]
    note: str
    held_out: bool = False  # the set is a part of the training set


def class_scores(results: Results) -> list[ClassScores]:
    """Return the scores of each run, or those of the best run of each method and task if more than six have them."""
    runs = results.runs.assign(classes=results.runs["record"].map(lambda record: record.get("classes") or {}))
    with_classes = runs[runs["classes"].map(bool)]
    chosen = with_classes
    if len(with_classes) > _MOST_RUNS:
        chosen = with_classes.loc[with_classes.groupby(["method", "task"], sort=False)["last"].idxmax()]
    scores = []
    for run in chosen.itertuples():
        of_cell = runs[(runs["method"] == run.method) & (runs["task"] == run.task)]
        count = int(of_cell["classes"].map(bool).sum())
        note = f"{count} of {len(of_cell)} runs have scores by class. " if count < len(of_cell) else ""
        if len(chosen) < len(with_classes) and count > 1:
            note += f"This is the run with the highest score of {count}. "
        for name, values in run.classes.items():
            suffix = name.removeprefix("eval").lstrip("_")
            title = f"{run.method} on {run.task}{f' ({suffix})' if suffix else ''}, seed {run.seed}"
            held_out = bool(run.record["arguments"].get("validation_fraction"))
            scores.append(ClassScores(title, run.task, values, note, held_out))
    return scores


def class_table(scores: ClassScores) -> Table:
    """Return precision, recall, F1 and the number of examples of each class."""
    values = scores.values
    cells = pd.DataFrame({"class": values["names"]})
    for name in ("precision", "recall", "f1"):
        cells[METRICS.get(name, name)] = [*map(decimals, values[name])]
    cells["examples"] = [f"{count:,.0f}" for count in values["support"]]
    caption = f"{scores.note}On the development set, with the weights at the end of the run, {OF_KEPT}."
    if len(cells) > MOST_CLASSES:
        caption += f" The confusion matrix is left out, since {len(cells)} classes are more than {MOST_CLASSES}."
    return Table(f"Scores by class: {scores.name}", caption, cells)


def mistake_table(scores: ClassScores) -> Optional[Table]:
    """Return the mistakes with the highest probabilities; None without mistakes."""
    if not scores.values["mistakes"]:
        return None
    cells = pd.DataFrame(scores.values["mistakes"])[["texts", "label", "predicted", "probability", "row"]]
    cells["texts"] = cells["texts"].map(" / ".join)
    cells["probability"] = cells["probability"].map(decimals)
    cells["row"] = cells["row"].map("{:,}".format)
    rows = "Rows of the evaluation file count from 0."
    if scores.held_out:
        rows = "Rows count from 0 within the part of the training set that --validation_fraction held out."
    caption = f"Wrong predictions with the highest probabilities, at most 20. {rows}"
    return Table(f"Most confident mistakes: {scores.name}", caption, cells)


def confusion_matrix(scores: ClassScores) -> Figure:
    """Return numbers of examples by true and predicted class; colours show their share of the true class."""
    counts = pd.DataFrame(scores.values["confusion"])
    names = [shortened(name, 24) for name in scores.values["names"]]
    side = 2.2 + 0.45 * len(names)
    figure = Figure(figsize=(side + 0.8, side), layout="constrained")
    axes = figure.subplots()
    shares = counts.div(counts.sum(axis=1).clip(lower=1), axis=0)
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for (row, column), count in counts.stack().items():
        colour = "white" if shares.iloc[row, column] > 0.5 else "black"
        axes.text(column, row, f"{count:,}", ha="center", va="center", color=colour, fontsize=8)
    axes.set_xticks(range(len(names)), names, rotation=90)
    axes.set_yticks(range(len(names)), names)
    axes.grid(visible=False)
    axes.set(xlabel="predicted class", ylabel="true class")
    figure.colorbar(image, label="share of the true class", shrink=0.8)
    return figure
