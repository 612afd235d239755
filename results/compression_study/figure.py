"""The figure of compression: relative error and score against rank, a line a format."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import matplotlib
from compression_study.record import MEASURED
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import NullFormatter

from tensorized_adapters.errors import UsageError
from tensorized_adapters.reporting.figures import as_bytes
from tensorized_adapters.reporting.style import LOOKS, QUIET, STYLE, add_legend, look_of, panels_of
from tensorized_adapters.reporting.tables import METRICS
from tensorized_adapters.runtime.files import write_atomically


def write_figure(record: dict[str, Any], folder: Path) -> list[Path]:
    """Write compression.png and compression.svg into a folder; raise UsageError if it cannot be written."""
    figure = figure_of(record)
    paths = [folder / f"compression.{kind}" for kind in ("png", "svg")]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for path in paths:
            write_atomically(path, as_bytes(figure, path.suffix[1:]))
    except (OSError, ValueError) as error:  # ValueError: of a NUL character
        reason = getattr(error, "strerror", None) or error
        raise UsageError(f"--output_dir {folder} cannot be written: {reason}; name another folder") from None
    return paths


def figure_of(record: dict[str, Any]) -> Figure:
    """Draw one panel each for the weights' errors, the score as compressed, and the score after training on.

    Args:
        record: as :func:`read_record` gives it. What is missing in it is not drawn.
    """
    later = f"{record['epochs']} epoch{'s' if record['epochs'] > 1 else ''} later"
    metric = f"{METRICS.get(record['metric'], record['metric'])}, {record['task']}"
    errors, *titles = "error of the weights", "as compressed", later
    with matplotlib.rc_context(STYLE):
        figure, panels = panels_of({errors: "|W - dense| / |dense|"} | dict.fromkeys(titles, metric))
        handles: dict[str, Line2D] = {}
        for kind in dict.fromkeys(point["format"] for point in record["points"]):
            points = sorted((p for p in record["points"] if p["format"] == kind), key=lambda point: point["rank"])
            look = look_of(SimpleNamespace(family=kind, shade=0))
            _line(panels[errors], points, "down_error", **look)
            _line(panels[errors], points, "up_error", linestyle="--", **look)
            for title, name in zip(titles, MEASURED):
                _line(panels[title], points, name, **look)
            handles[LOOKS[kind][0]] = Line2D([], [], **look)
        for title, name in zip(titles, MEASURED):
            if name in record["dense"]:
                panels[title].axhline(record["dense"][name], color=LOOKS["dense"][1], linewidth=1.2, linestyle="-.")
        handles["dense adapters"] = Line2D([], [], color=LOOKS["dense"][1], linewidth=1.2, linestyle="-.")
        handles["errors of the down weights"] = Line2D([], [], color=QUIET)
        handles["errors of the up weights"] = Line2D([], [], color=QUIET, linestyle="--")
        ranks = sorted({point["rank"] for point in record["points"]})
        for axes in panels.values():
            _rank_axis(axes, ranks)
        add_legend(figure, handles)
    return figure


def _line(axes: Axes, points: list[dict[str, Any]], name: str, **look: Any) -> None:
    known = [point for point in points if name in point]
    axes.plot([point["rank"] for point in known], [point[name] for point in known], **look)


def _rank_axis(axes: Axes, ranks: list[int]) -> None:
    axes.set_xscale("log", base=2)
    axes.set_xticks(ranks, [str(rank) for rank in ranks])
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xlabel("rank")
