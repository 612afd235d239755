"""The figures: score against trained parameters, score against rank, loss and score against step.

Colours are Okabe and Ito's, which colour-blind readers can tell apart; shapes say the same once more.
"""

import io
import textwrap
from collections.abc import Iterator
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import EngFormatter, FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from .checked import is_number
from .records import Results
from .tables import METRICS

# family -> name, colour, marker; formats are filled, other methods hollow
_LOOKS = {
    "cp": ("CP", "#0072B2", "o"),
    "tucker": ("Tucker", "#D55E00", "s"),
    "tt": ("Tensor-Train", "#009E73", "^"),
    "tr": ("Tensor-Ring", "#CC79A7", "D"),
    "matrix": ("low-rank matrix", "#56B4E9", "p"),
    "dense": ("dense adapters", "#000000", "X"),
    "compacter": ("Compacter", "#E69F00", "P"),
    "bitfit": ("BitFit", "#56B4E9", "v"),
    "layer_norm": ("LayerNorms", "#666666", "*"),
    "head": ("head", "#666666", "o"),
    "lora": ("LoRA", "#E69F00", "<"),
    "ia3": ("(IA)³", "#D55E00", ">"),
    "diff_pruning": ("diff pruning", "#56B4E9", "h"),
    "full": ("full fine-tuning", "#000000", "s"),
}
_FORMATS = ("cp", "tucker", "tt", "tr", "matrix")
_DASHES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (1, 3)))
_STYLE = {
    "font.size": 10,
    "axes.grid": True,
    "grid.color": "#e0e0e0",
    "grid.linewidth": 0.6,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "text.parse_math": False,  # names are the user's, and a $ in them is one
    "svg.hashsalt": "tensorized_adapters",  # the same figure is the same file
    "svg.fonttype": "path",
}
_LEGEND_ROW_INCHES, _LETTERS_PER_INCH = 0.24, 12.5


def figures(results: Results) -> Iterator[tuple[str, str, Figure]]:
    """File stem, title and figure of each; a figure that would be empty is left out."""
    shades = results.cells.groupby("family")["variant"].transform(lambda variants: pd.factorize(variants)[0])
    cells = results.cells.assign(shade=shades)  # the variant's number among those of its family
    tensorized = cells[cells["rank"] > 0]
    with matplotlib.rc_context(_STYLE):
        yield "score_by_parameters", "Score against trained parameters", _by_parameters(cells, results.metrics)
        if tensorized["rank"].nunique() > 1:
            yield "score_by_rank", "Score against rank", _by_rank(tensorized, results.metrics)
        for task, metric in results.metrics.items():
            yield f"training_{_file_name(task)}", f"Training on {task}", _by_step(cells[cells["task"] == task], metric)


def as_bytes(figure: Figure, kind: str) -> bytes:
    """The figure as a ``png`` or ``svg`` file."""
    buffer = io.BytesIO()
    with matplotlib.rc_context(_STYLE):
        figure.savefig(buffer, format=kind, dpi=160, metadata={"Date": None} if kind == "svg" else None)
    return buffer.getvalue()


def _by_parameters(cells: pd.DataFrame, metrics: dict[str, str]) -> Figure:
    handles: dict[str, Line2D] = {}
    figure, panels = _panels(metrics)
    for task, axes in panels.items():
        of_task = cells[cells["task"] == task]
        for line in _lines(of_task):
            x, y, look = line["trained"], line["last_mean"], _look(line.iloc[0])
            spread = line["last_std"].fillna(0)
            axes.errorbar(x, y, spread, color=look["color"], linestyle="none", elinewidth=1, capsize=2)
            axes.plot(x, y, linestyle="-" if len(x) > 1 else "none", linewidth=0.8, **look)
            handles.setdefault(_legend(line), Line2D([], [], linestyle="none", **look))
        low, high = of_task["trained"].min() / 1.3, of_task["trained"].max() * 1.3
        front = [*(front := _pareto(list(zip(of_task["trained"], of_task["last_mean"])))), (high, front[-1][1])]
        axes.step(*zip(*front), where="post", color="#999999", linestyle="--", linewidth=1.2, zorder=1)
        axes.set_xscale("log")
        axes.set_xlim(low, high)
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if high < 100 * low else (1,)))
        axes.xaxis.set_major_formatter(EngFormatter())
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.set_xlabel("trained parameters")
    handles["Pareto front"] = Line2D([], [], color="#999999", linestyle="--")
    _add_legend(figure, handles)
    return figure


def _by_rank(cells: pd.DataFrame, metrics: dict[str, str]) -> Figure:
    handles: dict[str, Line2D] = {}
    figure, panels = _panels(metrics)
    ranks = sorted(cells["rank"].unique())
    for task, axes in panels.items():
        for number, line in enumerate(_lines(cells[cells["task"] == task])):
            x, y, look = line["rank"], line["last_mean"], _look(line.iloc[0])
            spread = line["last_std"].fillna(0)
            axes.plot(x, y, **look)
            axes.fill_between(x, y - spread, y + spread, color=look["color"], alpha=0.12, linewidth=0)
            shift = 2 ** (0.04 * (number % 5 - 2))  # seeds of several formats beside each other
            for rank, scores in zip(x, line["scores"]):
                if len(scores) > 1:
                    axes.plot([rank * shift] * len(scores), scores, ".", color=look["color"], markersize=3.5)
            handles.setdefault(_legend(line), Line2D([], [], **look))
        axes.set_xscale("log", base=2)
        axes.set_xticks(ranks, [str(rank) for rank in ranks])
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.set_xlabel("rank")
    handles["single seeds"] = Line2D([], [], color="#666666", marker=".", linestyle="none", markersize=5)
    _add_legend(figure, handles)
    return figure


def _by_step(cells: pd.DataFrame, metric: str) -> Figure:
    """Of one task."""
    figure = Figure(figsize=(10.5, 4.4), layout="constrained")
    left, right = figure.subplots(1, 2)
    handles: dict[str, Line2D] = {}
    task = cells["task"].iloc[0]
    window = max(1, min(len(run.get("step_losses") or ()) for runs in cells["records"] for run in runs) // 20)
    for line in _lines(cells):
        for number, cell in enumerate(line.itertuples()):
            look = _look(cell)
            style = {"color": look["color"], "linestyle": _DASHES[number % len(_DASHES)], "linewidth": 1.3}
            losses = [run["step_losses"] for run in cell.records if run.get("step_losses")]
            if losses:
                shortest = min(map(len, losses))
                loss = np.mean([values[:shortest] for values in losses], axis=0)
                smooth = np.convolve(loss, np.ones(window) / window, "valid")
                left.plot(np.arange(window, shortest + 1), smooth, **style)
            scores = _history(cell.records, f"eval_{metric}")
            marks = {"marker": look["marker"], "markersize": 5, "markerfacecolor": look["markerfacecolor"]}
            every = max(1, len(scores) // 8)
            right.plot(scores.index, scores, markevery=every, **marks, **style)
            handles[cell.method] = Line2D([], [], **marks, **style)
    over = f", mean of {window} steps" if window > 1 else ""
    left.set(title=f"{task}: training loss", xlabel="step", ylabel=f"loss{over}")
    right.set(title=f"{task}: development set", xlabel="step", ylabel=METRICS.get(metric, metric))
    for axes in (left, right):
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6))
    _add_legend(figure, handles)
    return figure


def _history(runs: list[dict[str, Any]], key: str) -> pd.Series:
    """Mean over runs of the metric at each evaluated step that all of them have."""
    histories = [
        {e["step"]: e[key] for e in run.get("history") or () if is_number(e.get(key)) and "step" in e} for run in runs
    ]
    return pd.DataFrame(histories).dropna(axis=1).mean().sort_index()


def _lines(cells: pd.DataFrame) -> list[pd.DataFrame]:
    """Cells of one task; those that differ in rank alone are one line, by ascending rank."""
    variant = cells["variant"].where(cells["rank"] > 0, cells["method"])
    return [line for _, line in cells.groupby([cells["family"], variant], sort=False)]


def _panels(metrics: dict[str, str]) -> tuple[Figure, dict[str, Axes]]:
    """A panel a task, three in a row."""
    across = min(3, len(metrics))
    down = -(-len(metrics) // across)
    figure = Figure(figsize=(max(6.0, 3.7 * across), 3.4 * down + 0.9), layout="constrained")
    axes = list(figure.subplots(down, across, squeeze=False).flat)
    for unused in axes[len(metrics) :]:
        unused.remove()
    panels = dict(zip(metrics, axes))
    for task, panel in panels.items():
        panel.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.3g}"))
        panel.set(title=task, ylabel=METRICS.get(metrics[task], metrics[task]))
    return figure, panels


def _look(cell: Any) -> dict[str, Any]:
    _, colour, marker = _LOOKS[cell.family]
    faces = (colour, "white", "#d0d0d0") if cell.family in _FORMATS else ("white", "#d0d0d0", colour)
    face = faces[cell.shade % len(faces)]
    return {"color": colour, "marker": marker, "markersize": 6, "markerfacecolor": face, "markeredgewidth": 1.2}


def _legend(line: pd.DataFrame) -> str:
    first = line.iloc[0]
    name = _LOOKS[first["family"]][0]
    if not first["rank"]:
        return name + first["method"].removeprefix(first["record"]["method"])
    ranks = ", ".join(map(str, line["rank"]))
    return f"{name} {first['variant']}".strip() + f" ({'rank' if len(line) == 1 else 'ranks'} {ranks})"


def _add_legend(figure: Figure, handles: dict[str, Line2D]) -> None:
    """Below the panels, where it covers nothing; the figure grows by its height."""
    letters = int(figure.get_figwidth() * _LETTERS_PER_INCH)
    labels = [textwrap.fill(label, letters - 8) for label in handles]
    across = max(1, letters // (max(len(line) for label in labels for line in label.splitlines()) + 8))
    lines = sum(1 + label.count("\n") for label in labels)
    figure.set_figheight(figure.get_figheight() + _LEGEND_ROW_INCHES * -(-lines // across))
    figure.legend(handles.values(), labels, loc="outside lower center", ncols=across, frameon=False, fontsize=9)


def _pareto(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """Those that no other point beats with as few parameters, by ascending parameters."""
    front: list[tuple[float, float]] = []
    for x, y in sorted(points, key=lambda point: (point[0], -point[1])):
        if not front or y > front[-1][1]:
            front.append((x, y))
    return front


def _file_name(text: str) -> str:
    return "".join(character if character.isalnum() or character in "-." else "_" for character in text)
