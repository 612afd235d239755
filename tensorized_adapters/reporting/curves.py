"""Figures over the steps of training: loss and score of all methods, and of the two starts beside each other."""

import itertools
import math
import textwrap
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from .naming import settings_of
from .results import number
from .style import DASHES, LOOKS, THREE_DIGITS, legend_of_labels, lines_of, look_of, without_head
from .tables import METRICS

_STARTS = {
    "calibrated": {"color": "#0072B2", "linestyle": "-", "marker": "o"},
    "published": {"color": "#D55E00", "linestyle": "--", "marker": "s"},
}
# Settings whose defaults depend on the start (--adapter_init).
_START_SETTINGS = ("learning_rate", "layer_norm_learning_rate", "head_learning_rate", "warmup_steps", "head_start")


def by_step(cells: pd.DataFrame, metric: str) -> Figure:
    """Draw loss and score of all methods on one task."""
    figure = Figure(figsize=(10.5, 4.4), layout="constrained")
    left, right = figure.subplots(1, 2)
    of_head, of_others = [pd.Series(dtype=float)], [pd.Series(dtype=float)]
    task, window = cells["task"].iloc[0], _window(cells["records"])
    for line in lines_of(cells):
        for number_of_line, cell in enumerate(line.itertuples()):
            look = look_of(cell) | {"markersize": 5, "markeredgewidth": 1.0, "linewidth": 1.3}
            look["linestyle"] = DASHES[number_of_line % len(DASHES)]
            losses, scores, fewer = _curves(cell.records, metric, window)
            left.plot(losses.columns, losses.mean(), **look | {"marker": ""})
            every = max(1, len(scores.columns) // 8)
            right.plot(scores.columns, scores.mean(), markevery=every, label=cell.method + fewer, **look)
            (of_head if cell.family == "head" else of_others).append(scores.mean())
    without_head(right, pd.concat(of_others), pd.concat(of_head).nlargest(1))
    left.set(title=f"{task}: training loss", xlabel="step", ylabel=_loss_label(window))
    right.set(title=f"{task}: development set", xlabel="step", ylabel=METRICS.get(metric, metric))
    for axes in (left, right):
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6))
    legend_of_labels(figure)
    return figure


def starts_of(cells: pd.DataFrame) -> list[tuple[pd.Series, pd.Series]]:
    """Return the cells of one task, calibrated and published, that differ in nothing but the start."""
    tensorized = [cell for _, cell in cells[cells["rank"] > 0].iterrows()]
    calibrated, published = (
        [cell for cell in tensorized if cell["record"]["arguments"].get("adapter_init") == start] for start in _STARTS
    )
    pairs = itertools.product(calibrated, published)
    return [pair for pair in pairs if _differ_in_the_start_alone(*(cell["record"] for cell in pair))]


def by_start(pairs: list[tuple[pd.Series, pd.Series]], metric: str) -> Figure:
    """Draw loss and score side by side for each pair of starts on a task. Bands are standard deviations over seeds."""
    figure = Figure(figsize=(8.5, 1.0 + 2.4 * len(pairs)), layout="constrained")
    rows = figure.subplots(len(pairs), 2, squeeze=False, sharex="row", sharey="col")
    window = _window([cell["records"] for pair in pairs for cell in pair])
    names = [f"{LOOKS[cell['family']][0]}, rank {cell['rank']}" for cell, _ in pairs]
    labels = {}
    for start, cells in zip(_STARTS, zip(*pairs)):
        rates = {number(cell["record"]["arguments"], "learning_rate") for cell in cells}
        shown = ", ".join(sorted({"?" if math.isnan(rate) else f"{rate:g}" for rate in rates}))
        labels[start] = f"{start} start, learning rate {shown}"
    for name, pair, (left, right) in zip(names, pairs, rows):
        alike = names.count(name) > 1
        variant = f"\n{textwrap.fill(pair[0]['variant'], 50)}" if alike else ""
        left.set_title(name + variant, fontsize=8 if alike else 10)
        left.set(xlabel="step", ylabel=_loss_label(window).replace(", ", ",\n"))
        right.set(xlabel="step", ylabel=f"{METRICS.get(metric, metric)},\ndevelopment set")
        for (start, style), cell in zip(_STARTS.items(), pair):
            losses, scores, fewer = _curves(cell["records"], metric, window)
            if fewer:
                right.set_xlabel(f"{right.get_xlabel()}\n{start}{fewer}")
            _with_band(left, losses, **style | {"marker": ""})
            every = max(1, len(scores.columns) // 6)
            _with_band(right, scores, label=labels[start], markersize=4, markevery=every, **style)
        for axes in (left, right):
            axes.yaxis.set_major_formatter(THREE_DIGITS)
            axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6))
    figure.suptitle(pairs[0][0]["task"], fontsize=11)
    legend_of_labels(figure)
    return figure


def _differ_in_the_start_alone(calibrated: dict[str, Any], published: dict[str, Any]) -> bool:
    one, other = settings_of(calibrated)[0], settings_of(published)[0]
    given = {*(calibrated.get("given") or ()), *(published.get("given") or ())}
    free = {"adapter_init", "learning_rates", *(name for name in _START_SETTINGS if name not in given)}
    return all(one.get(name) == other.get(name) for name in (one.keys() | other.keys()) - free)


def _with_band(axes: Axes, values: pd.DataFrame, **style: Any) -> None:
    mean, spread = values.mean(), values.std().fillna(0)
    axes.plot(mean.index, mean, linewidth=1.3, **style)
    if len(values) > 1:
        axes.fill_between(mean.index, mean - spread, mean + spread, color=style["color"], alpha=0.15, linewidth=0)


def _window(records: Any) -> int:
    """Return the number of steps that a loss is averaged over, a twentieth of the shortest run."""
    lengths = [len(run["step_losses"]) for runs in records for run in runs if run.get("step_losses")]
    return max(1, min(lengths, default=0) // 20)


def _loss_label(window: int) -> str:
    return "training loss" if window == 1 else f"training loss, mean of {window} steps"


def _curves(runs: list[dict[str, Any]], metric: str, window: int) -> tuple[pd.DataFrame, pd.DataFrame, str]:
    """Return tables of runs by steps: the mean loss of the last ``window`` steps, and the development set's metric.
    A step that a run lacks is NaN, and runs without values are left out. A note in brackets counts both."""
    losses = pd.DataFrame([run["step_losses"] for run in runs if run.get("step_losses")])
    losses.columns += 1  # steps count from 1
    losses = losses.T.rolling(window).mean().dropna(how="all").T
    scores = pd.DataFrame(
        {entry["step"]: number(entry, f"eval_{metric}") for entry in run.get("history") or () if "step" in entry}
        for run in runs
    )
    scores = scores.dropna(how="all").dropna(how="all", axis=1).sort_index(axis=1)
    fewer = []
    for name, values in (("loss", losses), ("score", scores)):
        if len(values) < len(runs):
            fewer.append(f"{name}: {len(values)} of {len(runs)} runs")
        for step in values.columns[values.isna().any()][:1]:
            fewer.append(f"{name}: fewer runs from step {step} on")
    return losses, scores, f" ({', '.join(fewer)})" if fewer else ""
