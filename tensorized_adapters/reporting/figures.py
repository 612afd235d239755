"""The figures of a report: score and gap against size, score against rank, the adapters' share, and training."""

import io
import itertools
import re
import textwrap
from collections.abc import Iterable, Iterator

import matplotlib
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, LogLocator, MaxNLocator, NullFormatter

from ..data.metric_names import lower_is_better
from . import style
from .classes import MOST_CLASSES, class_scores, confusion_matrix
from .curves import by_start, by_step, starts_of
from .results import Results
from .tables import METRICS

_SEED = {"marker": ".", "linestyle": "none", "markersize": 3.5}


def figures(results: Results) -> Iterator[tuple[str, str, Figure]]:
    """Yield file stem, title and figure. A figure that would be empty is left out."""
    shades = results.cells.groupby("family")["variant"].transform(lambda variants: pd.factorize(variants)[0])
    cells = results.cells.assign(shade=shades)  # the number of the variant within its family
    labels = {task: METRICS.get(metric, metric) for task, metric in results.metrics.items()}
    tensorized, names = cells[cells["rank"] > 0], file_names(results.metrics)
    with matplotlib.rc_context(style.STYLE):
        yield "score_by_parameters", "Score against trained parameters", _scores_by_parameters(cells, labels)
        if tensorized["rank"].nunique() > 1:
            yield "score_by_rank", "Score against rank", _by_rank(tensorized, labels)
        if not (shared := cells.dropna(subset="share_mean")).empty:
            yield "share_of_adapters", "What adapters account for", _shares(shared)
        if not (with_gap := cells.dropna(subset="gap_mean")).empty:
            yield "gap_by_parameters", "Train-to-development gap", _gaps_by_parameters(with_gap, labels)
        for task, metric in results.metrics.items():
            of_task = cells[cells["task"] == task]
            yield f"training_{names[task]}", f"Training on {task}", by_step(of_task, metric)
            if pairs := starts_of(of_task):
                title = f"Calibrated and published start on {task}"
                yield f"starts_{names[task]}", title, by_start(pairs, metric)
        for number, scores in enumerate(class_scores(results), 1):
            if scores.values["confusion"] and len(scores.values["names"]) <= MOST_CLASSES:
                stem = f"confusion_{names[scores.task]}_{number}"
                yield stem, f"Confusion matrix: {scores.name}", confusion_matrix(scores)


def as_bytes(figure: Figure, file_format: str) -> bytes:
    """Return the figure as a ``png`` or ``svg`` file."""
    buffer = io.BytesIO()
    with matplotlib.rc_context(style.STYLE):
        figure.savefig(buffer, format=file_format, dpi=160, metadata={"Date": None} if file_format == "svg" else None)
    return buffer.getvalue()


def file_names(tasks: Iterable[str]) -> dict[str, str]:
    """Return a part of a file name for each task. Tasks that differ only in other characters get a number."""
    names: dict[str, str] = {}
    for task in tasks:
        name = re.sub(r"[^\w.-]", "_", task)
        candidates = itertools.chain([name], (f"{name}_{number}" for number in itertools.count(2)))
        names[task] = next(candidate for candidate in candidates if candidate not in names.values())
    return names


def _scores_by_parameters(cells: pd.DataFrame, labels: dict[str, str]) -> Figure:
    figure, panels = _against_parameters(cells, labels, "last")
    for task, axes in panels.items():
        of_task = cells[cells["task"] == task]
        is_head, spread = of_task["family"] == "head", of_task["last_std"].fillna(0)
        ends = pd.concat([of_task["last_mean"] - spread, of_task["last_mean"] + spread])
        style.without_head(axes, ends[~pd.concat([is_head, is_head])], of_task.loc[is_head, "last_mean"])
        sign = -1 if lower_is_better(of_task["metric"].iloc[0]) else 1
        x, y = zip(*pareto(list(zip(of_task["trained"], sign * of_task["last_mean"]))))
        x, y = (*x, axes.get_xlim()[1]), [sign * value for value in (*y, y[-1])]
        look = {"color": style.EDGE, "linestyle": "--", "linewidth": 1.2, "zorder": 1}
        axes.step(x, y, where="post", label="Pareto front", **look)
    style.legend_of_labels(figure)
    return figure


def _gaps_by_parameters(cells: pd.DataFrame, labels: dict[str, str]) -> Figure:
    labels = {task: f"training − development\n{labels[task]}" for task in labels if task in set(cells["task"])}
    figure, panels = _against_parameters(cells, labels, "gap")
    for axes in panels.values():
        axes.axhline(0, color=style.EDGE, linewidth=0.8, zorder=1)
    style.legend_of_labels(figure)
    return figure


def _against_parameters(cells: pd.DataFrame, labels: dict[str, str], value: str) -> tuple[Figure, dict[str, Axes]]:
    """Draw means and deviations of a value, in a panel for each task."""
    figure, panels = style.panels_of(labels)
    for task, axes in panels.items():
        of_task = cells[cells["task"] == task]
        for line in style.lines_of(of_task):
            x, y, look = line["trained"], line[f"{value}_mean"], style.look_of(line.iloc[0])
            spread = line[f"{value}_std"].fillna(0)
            axes.errorbar(x, y, spread, color=look["color"], linestyle="none", elinewidth=1, capsize=2)
            axes.plot(x, y, linestyle="-" if len(x) > 1 else "none", linewidth=0.8, label=style.label_of(line), **look)
        low, high = of_task["trained"].min() / 1.3, of_task["trained"].max() * 1.3
        axes.set_xscale("log")
        axes.set_xlim(low, high)
        ticks = LogLocator(subs=(1, 2, 5) if high < 100 * low else (1,))
        # A logarithmic axis has too few ticks on a narrow range, so they are spaced evenly there.
        axes.xaxis.set_major_locator(MaxNLocator(5) if high < 4 * low else ticks)
        axes.xaxis.set_major_formatter(EngFormatter())
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.set_xlabel("trained parameters")
    return figure, panels


def _by_rank(cells: pd.DataFrame, labels: dict[str, str]) -> Figure:
    figure, panels = style.panels_of(labels)
    ranks = sorted(cells["rank"].unique())
    for task, axes in panels.items():
        for number, line in enumerate(style.lines_of(cells[cells["task"] == task])):
            x, y, look = line["rank"], line["last_mean"], style.look_of(line.iloc[0])
            spread = line["last_std"].fillna(0)
            axes.plot(x, y, label=style.label_of(line), **look)
            axes.fill_between(x, y - spread, y + spread, color=look["color"], alpha=0.12, linewidth=0)
            shift = 2 ** (0.04 * (number % 5 - 2))  # so that the seeds of several formats do not hide each other
            for rank, scores in zip(x, line["scores"]):
                if len(scores) > 1:
                    axes.plot([rank * shift] * len(scores), scores, color=look["color"], **_SEED)
        axes.set_xscale("log", base=2)
        axes.set_xticks(ranks, [str(rank) for rank in ranks])
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.set_xlabel("rank")
    axes.plot([], [], color=style.QUIET, label="single seeds", **_SEED)
    style.legend_of_labels(figure)
    return figure


def _shares(cells: pd.DataFrame) -> Figure:
    """Draw a line for each method, the first one on top, in a panel for each task."""
    methods, tasks = list(cells["method"].unique()), sorted(cells["task"].unique())
    names = [textwrap.fill(method, 40) for method in methods]
    figure, panels = style.panels_of(dict.fromkeys(tasks, ""))
    down = -(-len(tasks) // 3)
    lines = sum(1 + 0.7 * name.count("\n") for name in names)
    figure.set_size_inches(2.0 + 2.7 * min(3, len(tasks)), (0.9 + 0.3 * lines) * down)
    for number, (task, axes) in enumerate(panels.items()):
        for cell in cells[cells["task"] == task].itertuples():
            height, look = methods.index(cell.method), style.look_of(cell)
            if cell.share_count > 1:
                axes.plot(cell.shares, [height + 0.22] * len(cell.shares), color=look["color"], **_SEED)
                bar = {"color": look["color"], "elinewidth": 1, "capsize": 2}
                axes.errorbar(cell.share_mean, height, xerr=cell.share_std, **bar)
            axes.plot(cell.share_mean, height, **look)
            if cell.share_count < len(cell.seeds):
                count = f"{cell.share_count} of {len(cell.seeds)} runs"
                axes.annotate(count, (cell.share_mean, height + 0.45), ha="center", fontsize=7, color=style.QUIET)
        for edge in (0, 1):
            axes.axvline(edge, color=style.EDGE, linewidth=0.8, zorder=1)
        axes.set(xlabel="share of the loss decrease", ylim=(len(methods) - 0.4, -0.6))
        if number:
            axes.sharex(figure.axes[0])
        axes.xaxis.set_major_locator(MaxNLocator(5))
        axes.xaxis.set_major_formatter(style.THREE_DIGITS)
        axes.set_yticks(range(len(methods)), names if number % 3 == 0 else [""] * len(methods))
        axes.tick_params(axis="y", length=0)
        axes.grid(visible=False, axis="y")
    if (cells["share_count"] > 1).any():
        axes.plot([], [], color=style.QUIET, marker="o", linewidth=1, markersize=6, label="mean ± standard deviation")
        axes.plot([], [], color=style.QUIET, label="single seeds", **_SEED)
        style.legend_of_labels(figure)
    return figure


def pareto(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """Return the points that no point with as few or fewer parameters beats, by ascending parameters."""
    front: list[tuple[float, float]] = []
    for x, y in sorted(points, key=lambda point: (point[0], -point[1])):
        if not front or y > front[-1][1]:
            front.append((x, y))
    return front
