"""The paper's two tables, scores by method and task and parameters by method, as Markdown, LaTeX, HTML and CSV."""

import html
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pandas as pd

from .about import models_of
from .published import PUBLISHED, PUBLISHED_MODEL, PUBLISHED_SCORES
from .records import Results

METRICS = {
    "f1": "F1",
    "f1_micro": "micro F1",
    "accuracy": "accuracy",
    "matthews_correlation": "Matthews correlation",
    "combined_score": "mean of Pearson and Spearman",
}


# Of scores at the last epoch, by the column of the cells.
_MARKS = {
    "one_class": ("†", "a run of it predicts one class only, so that this is a constant's score."),
    "collapsed": ("‡", "a run of it collapsed to a constant prediction as it trained; a lower rate may mend that."),
}
_MARKDOWN = re.compile(r"[\\|`]|\](?=\()")


@dataclass
class Table:
    """Cells as text, the first column names the line; ``best``, of the same shape, is true for marked ones."""

    title: str
    caption: str
    cells: pd.DataFrame
    best: pd.DataFrame


def score_table(results: Results, which: str, published: bool) -> Table:
    """Mean and standard deviation over seeds of the primary metric, at the ``last`` or the ``best`` epoch."""
    scores, means = by_task(results, which)
    caption = "Mean ± sample standard deviation over seeds (their number in brackets where it is above one), on the "
    caption += "development set; the highest mean of a column is marked, unless all are equal."
    for column, (mark, meaning) in _MARKS.items() if which == "last" else ():
        marked = results.cells[results.cells[column]]
        for cell in marked.itertuples():
            scores.loc[cell.method, f"{cell.task} ({METRICS.get(cell.metric, cell.metric)})"] += f" {mark}"
        if len(marked):
            caption += f" {mark}: {meaning}"
    if which == "best":
        caption += " The best epoch is chosen on the same development set, which flatters every method."
    if published:
        caption += f" Published: single runs of {PUBLISHED_MODEL}."
        if others := [model for model in models_of(results) if model != PUBLISHED_MODEL]:
            caption += f" The runs here are of {', '.join(others)}: the two are not to be compared."
        names = results.cells.groupby("method", sort=False)["record"].first().map(_published_name)
        for task in [task for task in results.metrics if task in PUBLISHED_SCORES]:
            scores[f"{task} as published"] = [_published(name, task) for name in names]
    scores = scores.reset_index(names="method")
    best = means.apply(highest).reset_index(names="method").assign(method=False)
    return Table(f"Scores, {which} epoch", caption, scores, best.reindex(columns=scores.columns, fill_value=False))


def highest(means: pd.Series) -> pd.Series:
    """Which of the means to mark: the highest, unless there are several and all of them are equal."""
    means = means.round(12)  # the same scores in another order differ in the last bit
    tied = means.count() > 1 and means.nunique() == 1
    return means.eq(means.max()) & (not tied)


def by_task(results: Results, value: str, of_metric: bool = True) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Mean and standard deviation over seeds of a value of the cells, as text, and the mean: by method and task,
    which is named with its metric if the value is one ``of_metric``."""
    columns = {task: f"{task} ({METRICS.get(metric, metric)})" for task, metric in results.metrics.items()}
    columns = columns if of_metric else dict(zip(columns, columns))
    cells = results.cells.set_index(["method", "task"])
    cells = cells.assign(runs=cells["seeds"].map(len))
    parts = [*(f"{value}_{name}" for name in ("mean", "std", "count")), "runs"]
    texts = cells[parts].apply(lambda cell: _score(*cell), axis=1)
    texts, means = (
        values.unstack().reindex(index=results.methods, columns=list(columns)).rename(columns=columns)
        for values in (texts, cells[f"{value}_mean"])
    )
    return texts.fillna("–"), means


def parameter_table(results: Results, published: bool) -> Table:
    """Parameters by group; a method has one line for each size of head."""
    groups = ("adapters", "layer_norm", "backbone", "head", "trained")
    sizes = results.cells["record"].map(lambda record: str(record["parameters"]))
    lines = []
    for (method, _), of_size in results.cells.groupby(["method", sizes], sort=False):
        record = of_size["record"].iloc[0]
        line = {"method": method, "tasks": ", ".join(of_size["task"])}
        line |= {group: f"{record['parameters'].get(group, 0):,}" for group in groups}
        line["%"] = f"{of_size['percent'].iloc[0]:.4f}"
        size = record.get("adapter_bytes")
        line["adapter file, kB"] = f"{size / 1000:,.1f}" if size else ""
        if published:
            share = PUBLISHED.get(_published_name(record))
            line["% as published"] = f"{share:g}" if share else ""
        lines.append(line)
    cells = pd.DataFrame(lines)
    return Table("Parameters", "% is trained / (backbone + head), as in the paper.", cells, cells.map(lambda _: False))


def markdown(table: Table) -> str:
    rows = [list(table.cells), [":--"] + ["--:"] * (len(table.cells.columns) - 1)]
    rows += _marked(table, markdown_text, "**{}**".format).values.tolist()
    lines = "\n".join(f"| {' | '.join(row)} |" for row in rows)
    return f"## {table.title}\n\n{lines}\n\n{table.caption}\n"


def markdown_text(text: str) -> str:
    """A user's words where Markdown would read a cell's end, HTML, code or a link."""
    return _MARKDOWN.sub(r"\\\g<0>", text).replace("<", "&lt;")


def latex(table: Table) -> str:
    """A booktabs table."""
    cells = _marked(table, _tex, r"\textbf{{{}}}".format).rename(columns=_tex)
    columns = "l" + "r" * (len(cells.columns) - 1)
    caption = rf"\caption{{{_tex(table.title)}. {_tex(table.caption)}}}"
    tabular = cells.to_latex(index=False, escape=False, column_format=columns)
    return "\\begin{table}\n\\centering\n" + caption + "\n" + tabular + "\\end{table}\n"


def html_table(table: Table) -> str:
    head = "".join(f"<th>{html.escape(name)}</th>" for name in table.cells)
    columns = [html.escape(name) for name in table.cells]
    rows = [
        "".join(f'<td data-column="{column}">{cell}</td>' for column, cell in zip(columns, row))
        for row in _marked(table, html.escape, "<strong>{}</strong>".format).values
    ]
    body = "".join(f"<tr>{row}</tr>\n" for row in rows)
    caption = f'<p class="caption">{html.escape(table.caption)}</p>'
    table_html = f"<table><thead><tr>{head}</tr></thead><tbody>\n{body}</tbody></table>"
    return f'<h2>{html.escape(table.title)}</h2>\n<div class="wide">{table_html}</div>\n{caption}\n'


def scores_csv(results: Results) -> str:
    """One line a method and task, in full precision."""
    columns = ["method", "task", "metric", "seeds"]
    columns += [f"{value}_{name}" for value in ("last", "best", "gap") for name in ("mean", "std", "count")]
    columns += ["trained", "percent"]
    seeds = results.cells["seeds"].map(lambda seeds: " ".join(map(str, seeds)))
    return as_csv(results.cells.assign(seeds=seeds)[columns])


def as_csv(cells: pd.DataFrame) -> str:
    """Names that a spreadsheet would take for a formula are quoted in its way."""
    return cells.map(lambda cell: f"'{cell}" if _is_formula(cell) else cell).to_csv(index=False)


def _is_formula(cell: Any) -> bool:
    return isinstance(cell, str) and cell.startswith(("=", "+", "-", "@"))


def _score(mean: float, deviation: float, count: float, runs: float) -> str:
    """The mean, its deviation, and how many runs it is over; "2 of 3" if some runs hold no such value."""
    if not count:
        return "–"
    text = f"{mean:.3f}" if count == 1 else f"{mean:.3f} ± {deviation:.3f}"
    if count < runs:
        return f"{text} ({count:.0f} of {runs:.0f})"
    return text if count == 1 else f"{text} ({count:.0f})"


def _published(name: str, task: str) -> str:
    score = PUBLISHED_SCORES[task].get(name)
    return "–" if score is None else f"{score:.3f}"


def _published_name(record: dict[str, Any]) -> str:
    """The method in the published tables, or one that is not there: they have adapters of size 64 at all sites."""
    as_published = {"adapter_size": 64, "adapter_sites": "both", "adapter_layers": None, "bitfit_terms": "all"}
    return record["method"] if all(record["arguments"].get(k, v) == v for k, v in as_published.items()) else ""


def _marked(table: Table, escape: Callable[[str], str], mark: Callable[[str], str]) -> pd.DataFrame:
    escaped = table.cells.map(escape)
    return escaped.where(~table.best, escaped.map(mark))


_TEX = {
    "\\": r"\textbackslash{}",
    "±": r"$\pm$",
    "–": "--",
    "†": r"$\dagger$",
    "‡": r"$\ddagger$",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "²": "$^2$",
}
_TEX |= {character: "\\" + character for character in "&%$#_{}"}


def _tex(text: str) -> str:
    return "".join(_TEX.get(character, character) for character in text)
