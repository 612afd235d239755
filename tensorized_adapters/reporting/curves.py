"""Figures over the steps of training: loss and score of every method, and of the two starts beside each other."""

import textwrap
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, MaxNLocator

from .naming import settings_of
from .schema import is_number
from .style import DASHES, LOOKS, add_legend, lines_of, look_of, without_head
from .tables import METRICS

_STARTS = {
    "calibrated": {"color": "#0072B2", "linestyle": "-", "marker": "o"},
    "published": {"color": "#D55E00", "linestyle": "--", "marker": "s"},
}
# Whose defaults are the start's own.
_OF_STARTS = ("learning_rate", "layer_norm_learning_rate", "head_learning_rate", "warmup_steps", "head_start")
_IN_A_ROW = 5  # as there are formats


class Starts(NamedTuple):
    """Two cells that differ in ``--adapter_init`` alone, and in what follows from it where no flag says otherwise."""

    calibrated: pd.Series
    published: pd.Series


def by_step(cells: pd.DataFrame, metric: str) -> Figure:
    """Loss and score of all methods on one task."""
    figure = Figure(figsize=(10.5, 4.4), layout="constrained")
    left, right = figure.subplots(1, 2)
    handles: dict[str, Line2D] = {}
    drawn: dict[bool, list[pd.Series]] = {True: [], False: []}  # of a linear probe, and of the other methods
    task, window = cells["task"].iloc[0], _window(cells["records"])
    for line in lines_of(cells):
        for number, cell in enumerate(line.itertuples()):
            look = look_of(cell)
            style = {"color": look["color"], "linestyle": DASHES[number % len(DASHES)], "linewidth": 1.3}
            losses, histories = _losses(cell.records, window), _scores(cell.records, metric)
            loss, scores = losses.mean(), histories.mean()
            left.plot(loss.index, loss, **style)
            marks = {"marker": look["marker"], "markersize": 5, "markerfacecolor": look["markerfacecolor"]}
            every = max(1, len(scores) // 8)
            right.plot(scores.index, scores, markevery=every, **marks, **style)
            drawn[cell.family == "head"].append(scores)
            label = cell.method + _fewer(len(cell.records), loss=losses, score=histories)
            handles[label] = Line2D([], [], **marks, **style)
    values, of_head = (
        pd.concat(drawn[is_head]) if drawn[is_head] else pd.Series(dtype=float) for is_head in (False, True)
    )
    without_head(right, values, of_head.nlargest(1))
    left.set(title=f"{task}: training loss", xlabel="step", ylabel=_loss_label(window))
    right.set(title=f"{task}: development set", xlabel="step", ylabel=METRICS.get(metric, metric))
    for axes in (left, right):
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6))
    add_legend(figure, handles)
    return figure


def starts_of(cells: pd.DataFrame) -> list[Starts]:
    """The pairs of starts among the cells of one task."""
    tensorized = [cell for _, cell in cells[cells["rank"] > 0].iterrows()]
    by_start = {
        start: [cell for cell in tensorized if cell["record"]["arguments"].get("adapter_init") == start]
        for start in _STARTS
    }
    pairs = [Starts(one, other) for one in by_start["calibrated"] for other in by_start["published"]]
    return [pair for pair in pairs if _differ_in_the_start_alone(pair.calibrated["record"], pair.published["record"])]


def by_start(pairs: list[Starts], metric: str) -> Figure:
    """Loss above score, a column each pair, all of one task; bands are standard deviations over seeds."""
    down = -(-len(pairs) // _IN_A_ROW)
    across = -(-len(pairs) // down)
    figure = Figure(figsize=(max(5.5, 1.2 + 2.3 * across), 4.6 * down), layout="constrained")
    grid = figure.subplots(2 * down, across, squeeze=False)
    window = _window([cell["records"] for pair in pairs for cell in pair])
    labels = (_loss_label(window).replace(", ", ",\n"), f"{METRICS.get(metric, metric)},\ndevelopment set")
    names = [f"{LOOKS[pair.calibrated['family']][0]}, rank {pair.calibrated['rank']}" for pair in pairs]
    for number, pair in enumerate(pairs):
        row, column = divmod(number, across)
        both = grid[2 * row, column], grid[2 * row + 1, column]
        for axes, first, label in zip(both, grid[:2, 0], labels):
            axes.sharey(first)
            axes.tick_params(labelleft=column == 0)
            axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.3g}"))
            axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=4))
            axes.set(ylabel=label if column == 0 else "")
        both[0].sharex(both[1])
        both[0].tick_params(labelbottom=False)
        fewer = []
        for start, cell in pair._asdict().items():
            losses, scores = _losses(cell["records"], window), _scores(cell["records"], metric)
            text = _fewer(len(cell["records"]), loss=losses, score=scores)
            fewer += [f"\n{start}{text}"] if text else []
            _with_band(both[0], losses, **_STARTS[start] | {"marker": ""})
            _with_band(both[1], scores, markersize=4, markevery=max(1, len(scores.columns) // 6), **_STARTS[start])
        told = f"\n{textwrap.fill(pair.calibrated['variant'], 34)}" if names.count(names[number]) > 1 else ""
        both[0].set_title(names[number] + told, fontsize=8 if told else 10)
        both[1].set_xlabel("step" + "".join(fewer))
    for unused in [axes for row in range(down) for axes in grid[2 * row : 2 * row + 2].T.flat][2 * len(pairs) :]:
        unused.remove()
    figure.suptitle(pairs[0].calibrated["task"], fontsize=11)
    handles = {}
    for start, style in _STARTS.items():
        rates = [getattr(pair, start)["record"]["arguments"].get("learning_rate") for pair in pairs]
        told = ", ".join(sorted({f"{rate:g}" if is_number(rate) else "?" for rate in rates}))
        told = f"{start} start, learning rate {told}"
        handles[told] = Line2D([], [], markersize=4, **style)
    add_legend(figure, handles)
    return figure


def _differ_in_the_start_alone(calibrated: dict[str, Any], published: dict[str, Any]) -> bool:
    ours, theirs = settings_of(calibrated)[0], settings_of(published)[0]
    given = {*(calibrated.get("given") or ()), *(published.get("given") or ())}
    free = {"adapter_init", "learning_rates", *(name for name in _OF_STARTS if name not in given)}
    return all(ours.get(name) == theirs.get(name) for name in (ours.keys() | theirs.keys()) - free)


def _fewer(runs: int, **curves: pd.DataFrame) -> str:
    """Which curves are means over fewer runs than there are, in brackets; empty if none is."""
    texts = [f"{name}: {len(values)} of {runs} runs" for name, values in curves.items() if len(values) < runs]
    return f" ({', '.join(texts)})" if texts else ""


def _with_band(axes: Axes, values: pd.DataFrame, **style: Any) -> None:
    mean, spread = values.mean(), values.std().fillna(0)
    axes.plot(mean.index, mean, linewidth=1.3, **style)
    if len(values) > 1:
        axes.fill_between(mean.index, mean - spread, mean + spread, color=style["color"], alpha=0.15, linewidth=0)


def _window(records: Any) -> int:
    """Steps that a loss is averaged over: a twentieth of the shortest run."""
    lengths = [len(run["step_losses"]) for runs in records for run in runs if run.get("step_losses")]
    return max(1, min(lengths, default=0) // 20)


def _loss_label(window: int) -> str:
    return "training loss" if window == 1 else f"training loss, mean of {window} steps"


def _losses(runs: list[dict[str, Any]], window: int) -> pd.DataFrame:
    """A line a run, a column a step that all of them have: the mean loss of the ``window`` steps up to it."""
    losses = [run["step_losses"] for run in runs if run.get("step_losses")]
    shortest = min(map(len, losses), default=0)
    smooth = [np.convolve(values[:shortest], np.ones(window) / window, "valid") for values in losses]
    return pd.DataFrame(smooth, columns=range(window, shortest + 1) if losses else None)


def _scores(runs: list[dict[str, Any]], metric: str) -> pd.DataFrame:
    """A line a run, a column an evaluated step that all of them have: the metric on the development set."""
    key = f"eval_{metric}"
    histories = [
        {e["step"]: e[key] for e in run.get("history") or () if is_number(e.get(key)) and "step" in e} for run in runs
    ]
    histories = [history for history in histories if history]  # a run without scores would remove every step
    return pd.DataFrame(histories).dropna(axis=1).sort_index(axis=1)
