"""How figures look: colours, shapes, panels and legends.

Colours are Okabe and Ito's, which colour-blind readers can tell apart; shapes say the same once more.
"""

import textwrap
from collections.abc import Iterable
from typing import Any

import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

# family -> name, colour, marker; formats are filled, other methods hollow
LOOKS = {
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
FORMATS = ("cp", "tucker", "tt", "tr", "matrix")
DASHES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (1, 3)))
QUIET = "#666666"
STYLE = {
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


def lines_of(cells: pd.DataFrame) -> list[pd.DataFrame]:
    """Cells of one task; those that differ in rank alone are one line, by ascending rank."""
    variant = cells["variant"].where(cells["rank"] > 0, cells["method"])
    return [line for _, line in cells.groupby([cells["family"], variant], sort=False)]


def panels_of(labels: dict[str, str]) -> tuple[Figure, dict[str, Axes]]:
    """A panel a task, three in a row.

    Args:
        labels: task -> what its vertical axis shows.
    """
    across = min(3, len(labels))
    down = -(-len(labels) // across)
    figure = Figure(figsize=(max(6.0, 3.7 * across), 3.4 * down + 0.9), layout="constrained")
    axes = list(figure.subplots(down, across, squeeze=False).flat)
    for unused in axes[len(labels) :]:
        unused.remove()
    panels = dict(zip(labels, axes))
    for task, panel in panels.items():
        panel.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.3g}"))
        panel.set(title=task, ylabel=labels[task])
    return figure, panels


def look_of(cell: Any) -> dict[str, Any]:
    """Colour and marker of a cell with ``family`` and ``shade``, for ``Axes.plot``."""
    _, colour, marker = LOOKS[cell.family]
    faces = (colour, "white", "#d0d0d0") if cell.family in FORMATS else ("white", "#d0d0d0", colour)
    face = faces[cell.shade % len(faces)]
    return {"color": colour, "marker": marker, "markersize": 6, "markerfacecolor": face, "markeredgewidth": 1.2}


def label_of(line: pd.DataFrame) -> str:
    """What a legend calls a line: the method with its ranks."""
    first = line.iloc[0]
    name = LOOKS[first["family"]][0]
    if not first["rank"]:
        return name + first["method"].removeprefix(first["record"]["method"])
    ranks = ", ".join(map(str, line["rank"]))
    return f"{name} {first['variant']}".strip() + f" ({'rank' if len(line) == 1 else 'ranks'} {ranks})"


def add_legend(figure: Figure, handles: dict[str, Artist]) -> None:
    """Below the panels, where it covers nothing; the figure grows by its height."""
    letters = int(figure.get_figwidth() * _LETTERS_PER_INCH)
    labels = [textwrap.fill(label, letters - 8) for label in handles]
    across = max(1, letters // (_longest(labels) + 8))
    lines = sum(1 + label.count("\n") for label in labels)
    figure.set_figheight(figure.get_figheight() + _LEGEND_ROW_INCHES * -(-lines // across))
    figure.legend(handles.values(), labels, loc="outside lower center", ncols=across, frameon=False, fontsize=9)


def _longest(labels: Iterable[str]) -> int:
    return max(len(line) for label in labels for line in label.splitlines())
