"""How figures look: colours, markers, panels and legends.

Formats have the colours of Okabe and Ito, which colour-blind readers can distinguish; markers distinguish all methods.
"""

import textwrap
from collections.abc import Mapping
from typing import Any

import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from ..config import PROJECTION_TYPES
from ..errors import shortened

# family -> name, colour, marker, all different; the markers of formats are filled, those of other methods hollow
LOOKS = {
    "cp": ("CP", "#0072B2", "o"),
    "tucker": ("Tucker", "#D55E00", "s"),
    "tt": ("Tensor-Train", "#009E73", "^"),
    "tr": ("Tensor-Ring", "#CC79A7", "D"),
    "matrix": ("low-rank matrix", "#56B4E9", "p"),
    "dense": ("dense adapters", "#6A3D9A", "X"),
    "compacter": ("Compacter", "#E69F00", "P"),
    "bitfit": ("BitFit", "#332288", "v"),
    "layer_norm": ("LayerNorms", "#666666", "*"),
    "head": ("head", "#A08060", "d"),
    "lora": ("LoRA", "#882255", "<"),
    "ia3": ("(IA)³", "#999933", ">"),
    "peft": ("other methods of PEFT", "#117733", "H"),
    "diff_pruning": ("diff pruning", "#661100", "h"),
    "full": ("full fine-tuning", "#000000", (6, 1, 0)),
}
DASHES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (1, 3)))
_FURTHER_MARKERS = ("s", "^", "D", "v", "p", "<", ">", "h")
QUIET = "#666666"
EDGE = "#999999"
STYLE = {
    "font.size": 10,
    "axes.grid": True,
    "grid.color": "#e0e0e0",
    "grid.linewidth": 0.6,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "text.parse_math": False,  # a $ in the user's names is just a $
    "svg.hashsalt": "tensorized_adapters",  # the same figure is the same file
    "svg.fonttype": "path",
}
THREE_DIGITS = FuncFormatter(lambda value, _: f"{value:.3g}")
_LEGEND_LINE_INCHES, _LETTERS_PER_INCH = 0.24, 12.5
_FULL_NAMES = 12  # a legend of more entries shortens long ones


def lines_of(cells: pd.DataFrame) -> list[pd.DataFrame]:
    """Return the cells of one task by line. Cells that differ only in rank form one line, by ascending rank."""
    variant = cells["variant"].where(cells["rank"] > 0, cells["method"])
    return [line for _, line in cells.groupby([cells["family"], variant], sort=False)]


def panels_of(labels: dict[str, str]) -> tuple[Figure, dict[str, Axes]]:
    """Draw a panel for each task, three side by side; ``labels`` are those of the vertical axes."""
    across = min(3, len(labels))
    down = -(-len(labels) // across)
    figure = Figure(figsize=(max(6.0, 3.7 * across), 3.4 * down + 0.9), layout="constrained")
    axes = list(figure.subplots(down, across, squeeze=False).flat)
    for unused in axes[len(labels) :]:
        unused.remove()
    for panel, (task, label) in zip(axes, labels.items()):
        panel.yaxis.set_major_formatter(THREE_DIGITS)
        panel.set(title=task, ylabel=label)
    return figure, dict(zip(labels, axes))


def without_head(axes: Axes, values: pd.Series, of_head: pd.Series) -> None:
    """Leave a linear probe (``of_head``) out of the vertical range if it would squeeze the other methods (``values``).
    A text at the edge gives its values."""
    if values.empty or of_head.empty:
        return
    low, high = values.min(), values.max()
    span = max(high - low, 0.02)
    if of_head.max() >= low - span:
        return
    axes.set_ylim(low - 0.12 * span, high + 0.08 * span)
    text = "head: " + ", ".join(f"{value:.3g}" for value in of_head) + " (below)"
    axes.annotate(text, (0.02, 0.02), xycoords="axes fraction", fontsize=8, color=LOOKS["head"][1])


def look_of(cell: Any) -> dict[str, Any]:
    """Return colour and marker of a cell with ``family`` and ``shade``, for ``Axes.plot``."""
    _, colour, marker = LOOKS[cell.family]
    faces = (colour, "white", "#d0d0d0") if cell.family in PROJECTION_TYPES else ("white", "#d0d0d0", colour)
    face = faces[cell.shade % len(faces)]
    if cell.shade >= len(faces):  # if all faces are used, take another marker
        others = [other for other in _FURTHER_MARKERS if other != marker]
        marker = others[(cell.shade // len(faces) - 1) % len(others)]
    return {"color": colour, "marker": marker, "markersize": 6, "markerfacecolor": face, "markeredgewidth": 1.2}


def label_of(line: pd.DataFrame) -> str:
    """Return the name of a line in a legend: the method with its ranks."""
    first = line.iloc[0]
    name, method = LOOKS[first["family"]][0], first["method"]
    if not first["rank"]:
        rest = method.removeprefix(first["family"])  # the size, and the settings that differ from those of others
        return method if rest == method else name + rest  # the names of PEFT's methods do not begin with "peft"
    ranks = ", ".join(map(str, line["rank"]))
    return f"{name} {first['variant']}".strip() + f" ({'rank' if len(line) == 1 else 'ranks'} {ranks})"


def add_legend(figure: Figure, handles: Mapping[str, Artist]) -> None:
    """Add a legend below the panels, by whose height the figure grows. Many long names are shortened, since the panels
    would be lost above them; the tables have them in full."""
    letters = int(figure.get_figwidth() * _LETTERS_PER_INCH)
    shown = handles if len(handles) <= _FULL_NAMES else [shortened(label) for label in handles]
    labels = [textwrap.fill(label, letters - 8) for label in shown]
    longest = max(len(line) for label in labels for line in label.splitlines())
    across = max(1, letters // (longest + 8))
    lines = sum(1 + label.count("\n") for label in labels)
    figure.set_figheight(figure.get_figheight() + _LEGEND_LINE_INCHES * -(-lines // across))
    figure.legend(handles.values(), labels, loc="outside lower center", ncols=across, frameon=False, fontsize=9)


def legend_of_labels(figure: Figure) -> None:
    """Add a legend of all labels in the panels, each of them once."""
    handles: dict[str, Artist] = {}
    for axes in figure.axes:
        for handle, label in zip(*axes.get_legend_handles_labels()):
            handles.setdefault(label, handle)
    add_legend(figure, handles)
