"""The paper's two tables, scores by method and task and parameters by method, as Markdown, LaTeX, HTML and CSV."""

import csv
import html
import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Optional

from published_table import PUBLISHED, PUBLISHED_SCORES

from .records import Cell, Results, Row

METRICS = {
    "f1": "F1",
    "accuracy": "accuracy",
    "matthews_correlation": "Matthews correlation",
    "combined_score": "mean of Pearson and Spearman",
}


@dataclass
class Table:
    """Cells as text; ``best`` holds the positions (row, column) of the marked ones."""

    title: str
    caption: str
    header: list[str]
    rows: list[list[str]]
    best: frozenset[tuple[int, int]] = frozenset()


def score_table(results: Results, which: str, published: bool) -> Table:
    """Mean and standard deviation over seeds of the primary metric, at the ``last`` or the ``best`` epoch."""
    columns = list(results.columns)
    header = ["method", *(f"{column} ({METRICS.get(metric, metric)})" for column, metric in results.columns.items())]
    lines = [[row.name, *(_score(row.cells.get(column), which) for column in columns)] for row in results.rows]
    best = set()
    for number, column in enumerate(columns, 1):
        means = [row.cells[column].mean(which) if column in row.cells else None for row in results.rows]
        highest = max((mean for mean in means if mean is not None), default=None)
        best |= {(index, number) for index, mean in enumerate(means) if mean is not None and mean == highest}
    if published:
        header += [f"{task} as published" for task in columns if task in PUBLISHED_SCORES]
        for row, line in zip(results.rows, lines):
            line += [_published(row, task) for task in columns if task in PUBLISHED_SCORES]
    caption = "Mean ± sample standard deviation over seeds (their number in brackets where it is above one), on the "
    caption += "development set; the highest mean of a column is marked."
    if which == "best":
        caption += " The best epoch is chosen on the same development set, which flatters every method."
    if published:
        caption += " Published: single runs of bert-base-cased."
    return Table(f"Scores, {which} epoch", caption, header, lines, frozenset(best))


def parameter_table(results: Results, published: bool) -> Table:
    """Parameters by group; a method has one line for each size of head."""
    groups = ("adapters", "layer_norm", "backbone", "head", "trained")
    header = ["method", "tasks", *groups, "%", "adapter file, kB"] + ["% as published"] * published
    lines = []
    for row in results.rows:
        sizes: dict[str, list[str]] = {}
        shown: dict[str, dict[str, Any]] = {}
        for column, cell in row.cells.items():
            run = next(iter(cell.runs.values()))
            key = str(run["parameters"])
            sizes.setdefault(key, []).append(column)
            shown.setdefault(key, run)
        for key, tasks in sizes.items():
            counts = shown[key]["parameters"]
            line = [row.name, ", ".join(tasks), *(f"{counts.get(group, 0):,}" for group in groups)]
            size = shown[key].get("adapter_bytes")
            line += [f"{100 * counts['trained'] / counts['model']:.4f}", f"{size / 1000:,.1f}" if size else ""]
            lines.append(line + [f"{share:g}" if (share := PUBLISHED.get(_published_name(row))) else ""] * published)
    caption = "% is trained / (backbone + head), as in the paper."
    return Table("Parameters", caption, header, lines)


def markdown(table: Table) -> str:
    lines = [_line(table.header), _line([":--"] + ["--:"] * (len(table.header) - 1))]
    lines += [_line(row) for row in _marked(table, lambda text: text.replace("|", "\\|"), "**{}**".format)]
    return f"## {table.title}\n\n" + "\n".join(lines) + f"\n\n{table.caption}\n"


def latex(table: Table) -> str:
    """A booktabs table."""
    body = [" & ".join(row) + r" \\" for row in _marked(table, _tex, r"\textbf{{{}}}".format)]
    columns = "l" + "r" * (len(table.header) - 1)
    lines = [r"\begin{table}", r"\centering", rf"\caption{{{_tex(table.title)}. {_tex(table.caption)}}}"]
    lines += [
        rf"\begin{{tabular}}{{{columns}}}",
        r"\toprule",
        " & ".join(map(_tex, table.header)) + r" \\",
        r"\midrule",
    ]
    return "\n".join([*lines, *body, r"\bottomrule", r"\end{tabular}", r"\end{table}"]) + "\n"


def html_table(table: Table) -> str:
    head = "".join(f"<th>{html.escape(name)}</th>" for name in table.header)
    rows = _marked(table, html.escape, "<strong>{}</strong>".format)
    body = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>\n" for row in rows)
    caption = f'<p class="caption">{html.escape(table.caption)}</p>'
    table_html = f"<table><thead><tr>{head}</tr></thead><tbody>\n{body}</tbody></table>"
    return f'<h2>{html.escape(table.title)}</h2>\n<div class="wide">{table_html}</div>\n{caption}\n'


def scores_csv(results: Results) -> str:
    """One line a method and task, in full precision."""
    header = "method task metric seeds last_mean last_std best_mean best_std trained percent".split()
    lines: list[list[Any]] = [header]
    for row in results.rows:
        for column, cell in sorted(row.cells.items()):
            counts = next(iter(cell.runs.values()))["parameters"]
            scores = [value for which in ("last", "best") for value in (cell.mean(which), cell.deviation(which))]
            seeds = " ".join(map(str, sorted(cell.runs)))
            share = 100 * counts["trained"] / counts["model"]
            lines.append([row.name, column, results.columns[column], seeds, *scores, counts["trained"], share])
    return _csv(lines)


def table_csv(table: Table) -> str:
    return _csv([table.header, *table.rows])


def _csv(lines: list[list[Any]]) -> str:
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerows(lines)
    return buffer.getvalue()


def _score(cell: Optional[Cell], which: str) -> str:
    mean = cell.mean(which) if cell else None
    if mean is None:
        return "–"
    deviation = cell.deviation(which)
    return f"{mean:.3f}" if deviation is None else f"{mean:.3f} ± {deviation:.3f} ({len(cell.scores(which))})"


def _published(row: Row, task: str) -> str:
    score = PUBLISHED_SCORES[task].get(_published_name(row))
    return "–" if score is None else f"{score:.3f}"


def _published_name(row: Row) -> str:
    """The row's name in the published tables, or one that is not there: they have adapters of size 64 at all sites."""
    arguments = row.record["arguments"]
    as_published = {"adapter_size": 64, "adapter_sites": "both", "adapter_layers": None, "bitfit_terms": "all"}
    return row.record["method"] if all(arguments.get(k, v) == v for k, v in as_published.items()) else ""


def _line(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _marked(table: Table, escape: Callable[[str], str], mark: Callable[[str], str]) -> list[list[str]]:
    return [
        [mark(escape(cell)) if (i, j) in table.best else escape(cell) for j, cell in enumerate(row)]
        for i, row in enumerate(table.rows)
    ]


_TEX = {"\\": r"\textbackslash{}", "±": r"$\pm$", "–": "--", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
_TEX |= {character: "\\" + character for character in "&%$#_{}"}


def _tex(text: str) -> str:
    return "".join(_TEX.get(character, character) for character in text)
