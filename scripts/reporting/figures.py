"""The figures: score against trained parameters, score against rank, loss and score against step.

Colours are Okabe and Ito's, which colour-blind readers can tell apart; shapes say the same once more.
"""

import io
import statistics
import textwrap
from collections.abc import Iterator
from typing import Optional

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import EngFormatter, FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from .records import Results, Row
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
    "svg.hashsalt": "tensorized_adapters",  # the same figure is the same file
    "svg.fonttype": "path",
}
_LEGEND_ROW_INCHES, _LETTERS_PER_INCH = 0.24, 12.5


def figures(results: Results) -> Iterator[tuple[str, str, Figure]]:
    """File stem, title and figure of each; a figure that would be empty is left out."""
    with matplotlib.rc_context(_STYLE):
        yield "score_by_parameters", "Score against trained parameters", _by_parameters(results)
        tensorized = [row for row in results.rows if row.rank is not None]
        if len({row.rank for row in tensorized}) > 1:
            yield "score_by_rank", "Score against rank", _by_rank(results, tensorized)
        for column in results.columns:
            yield f"training_{_file_name(column)}", f"Training on {column}", _by_step(results, column)


def as_bytes(figure: Figure, kind: str) -> bytes:
    """The figure as a ``png`` or ``svg`` file."""
    buffer = io.BytesIO()
    with matplotlib.rc_context(_STYLE):
        figure.savefig(buffer, format=kind, dpi=160, metadata={"Date": None} if kind == "svg" else None)
    return buffer.getvalue()


def _by_parameters(results: Results) -> Figure:
    figure, panels = _panels(results)
    handles, variants = {}, _variants(results)
    for axes, (column, metric) in zip(panels, results.columns.items()):
        points = []
        for line in _lines(results.rows, column):
            rows = [row for row in line if row.cells[column].mean("last") is not None]
            x = [_trained(row, column) for row in rows]
            y = [row.cells[column].mean("last") for row in rows]
            spread = [row.cells[column].deviation("last") or 0.0 for row in rows]
            points += zip(x, y)
            look = _look(rows[0], variants)
            axes.errorbar(x, y, spread, color=look["color"], linestyle="none", elinewidth=1, capsize=2)
            axes.plot(x, y, linestyle="-" if len(x) > 1 else "none", linewidth=0.8, **look)
            handles.setdefault(_legend(rows), Line2D([], [], linestyle="none", **look))
        low, high = min(x for x, _ in points) / 1.3, max(x for x, _ in points) * 1.3
        front = [*(front := _pareto(points)), (high, front[-1][1])]
        axes.step(*zip(*front), where="post", color="#999999", linestyle="--", linewidth=1.2, zorder=1)
        axes.set_xscale("log")
        axes.set_xlim(low, high)
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if high < 100 * low else (1,)))
        axes.xaxis.set_major_formatter(EngFormatter())
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.set(title=column, xlabel="trained parameters", ylabel=METRICS.get(metric, metric))
    handles["Pareto front"] = Line2D([], [], color="#999999", linestyle="--")
    _add_legend(figure, handles)
    return figure


def _by_rank(results: Results, tensorized: list[Row]) -> Figure:
    figure, panels = _panels(results)
    handles, variants = {}, _variants(results)
    ranks = sorted({row.rank for row in tensorized})
    for axes, (column, metric) in zip(panels, results.columns.items()):
        for number, line in enumerate(_lines(tensorized, column)):
            rows = [row for row in line if row.cells[column].mean("last") is not None]
            x = np.array([row.rank for row in rows], dtype=float)
            y = np.array([row.cells[column].mean("last") for row in rows])
            spread = np.array([row.cells[column].deviation("last") or 0.0 for row in rows])
            look = _look(rows[0], variants)
            axes.plot(x, y, **look)
            axes.fill_between(x, y - spread, y + spread, color=look["color"], alpha=0.12, linewidth=0)
            shift = 2 ** (0.04 * (number % 5 - 2))  # seeds of several formats beside each other
            for row in rows:
                scores = row.cells[column].scores("last")
                if len(scores) > 1:
                    axes.plot([row.rank * shift] * len(scores), scores, ".", color=look["color"], markersize=3.5)
            handles.setdefault(_legend(rows), Line2D([], [], **look))
        axes.set_xscale("log", base=2)
        axes.set_xticks(ranks, [str(rank) for rank in ranks])
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.set(title=column, xlabel="rank", ylabel=METRICS.get(metric, metric))
    handles["single seeds"] = Line2D([], [], color="#666666", marker=".", linestyle="none", markersize=5)
    _add_legend(figure, handles)
    return figure


def _by_step(results: Results, column: str) -> Figure:
    figure = Figure(figsize=(10.5, 4.4), layout="constrained")
    left, right = figure.subplots(1, 2)
    metric = results.columns[column]
    handles, variants = {}, _variants(results)
    cells = [row.cells[column] for row in results.rows if column in row.cells]
    lengths = [len(run.get("step_losses", ())) for cell in cells for run in cell.runs.values()]
    window = max(1, min(lengths) // 20)
    for rows in _lines(results.rows, column):
        for number, row in enumerate(rows):
            look = _look(row, variants)
            style = {"color": look["color"], "linestyle": _DASHES[number % len(_DASHES)], "linewidth": 1.3}
            runs = list(row.cells[column].runs.values())
            losses = [run["step_losses"] for run in runs if run.get("step_losses")]
            if losses:
                shortest = min(map(len, losses))
                loss = np.mean([values[:shortest] for values in losses], axis=0)
                smooth = np.convolve(loss, np.ones(window) / window, "valid")
                left.plot(np.arange(window, shortest + 1), smooth, **style)
            steps, scores = _history(runs, f"eval_{metric}")
            marks = {"marker": look["marker"], "markersize": 5, "markerfacecolor": look["markerfacecolor"]}
            every = max(1, len(steps) // 8)
            right.plot(steps, scores, markevery=every, **marks, **style)
            handles[row.name] = Line2D([], [], **marks, **style)
    over = f", mean of {window} steps" if window > 1 else ""
    left.set(title=f"{column}: training loss", xlabel="step", ylabel=f"loss{over}")
    right.set(title=f"{column}: development set", xlabel="step", ylabel=METRICS.get(metric, metric))
    for axes in (left, right):
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6))
    _add_legend(figure, handles)
    return figure


def _history(runs: list[dict], key: str) -> tuple[list[int], list[float]]:
    """Mean over runs of the metric at each evaluated step that all of them have."""
    histories = [{e["step"]: e[key] for e in run.get("history", ()) if key in e and "step" in e} for run in runs]
    steps = sorted(set.intersection(*map(set, histories)))
    return steps, [statistics.fmean(history[step] for history in histories) for step in steps]


def _lines(rows: list[Row], column: str) -> list[list[Row]]:
    """Rows with runs on the task; those that differ in rank alone are one line, by ascending rank."""
    lines: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        if column in row.cells:
            key = (row.family, row.variant) if row.rank is not None else (row.family, row.name)
            lines.setdefault(key, []).append(row)
    return list(lines.values())


def _panels(results: Results) -> tuple[Figure, list[Axes]]:
    """A panel a task, three in a row."""
    count = len(results.columns)
    across = min(3, count)
    down = -(-count // across)
    figure = Figure(figsize=(max(6.0, 3.7 * across), 3.4 * down + 0.9), layout="constrained")
    axes = list(figure.subplots(down, across, squeeze=False).flat)
    for unused in axes[count:]:
        unused.remove()
    for panel in axes[:count]:
        panel.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.3g}"))
    return figure, axes[:count]


def _variants(results: Results) -> dict[tuple[str, str], int]:
    """Family and variant -> its number among the variants of the family."""
    numbers: dict[tuple[str, str], int] = {}
    for row in results.rows:
        number = sum(family == row.family for family, _ in numbers)
        numbers.setdefault((row.family, row.variant), number)
    return numbers


def _look(row: Row, variants: dict[tuple[str, str], int]) -> dict:
    _, colour, marker = _LOOKS[row.family]
    faces = (colour, "white", "#d0d0d0") if row.family in _FORMATS else ("white", "#d0d0d0", colour)
    face = faces[variants[row.family, row.variant] % len(faces)]
    return {"color": colour, "marker": marker, "markersize": 6, "markerfacecolor": face, "markeredgewidth": 1.2}


def _legend(rows: list[Row]) -> str:
    row = rows[0]
    if row.rank is None:
        return _LOOKS[row.family][0] + row.name.removeprefix(row.record["method"])
    ranks = [str(row.rank) for row in rows]
    told = f"rank {ranks[0]}" if len(ranks) == 1 else f"ranks {', '.join(ranks)}"
    return f"{_LOOKS[row.family][0]} {row.variant}".strip() + f" ({told})"


def _add_legend(figure: Figure, handles: dict[str, Line2D]) -> None:
    """Below the panels, where it covers nothing; the figure grows by its height."""
    letters = int(figure.get_figwidth() * _LETTERS_PER_INCH)
    labels = [textwrap.fill(label, letters - 8) for label in handles]
    across = max(1, letters // (max(len(line) for label in labels for line in label.splitlines()) + 8))
    lines = sum(1 + label.count("\n") for label in labels)
    figure.set_figheight(figure.get_figheight() + _LEGEND_ROW_INCHES * -(-lines // across))
    figure.legend(handles.values(), labels, loc="outside lower center", ncols=across, frameon=False, fontsize=9)


def _trained(row: Row, column: str) -> int:
    return next(iter(row.cells[column].runs.values()))["parameters"]["trained"]


def _pareto(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """Those that no other point beats with as few parameters, by ascending parameters."""
    front: list[tuple[float, Optional[float]]] = []
    for x, y in sorted(points, key=lambda point: (point[0], -point[1])):
        if not front or y > front[-1][1]:
            front.append((x, y))
    return front


def _file_name(text: str) -> str:
    return "".join(character if character.isalnum() or character in "-." else "_" for character in text)
