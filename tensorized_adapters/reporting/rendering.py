"""Writes tables as Markdown, LaTeX and CSV, and the report as one HTML page."""

import re
from typing import Any

import pandas as pd
from jinja2 import Environment, PackageLoader

from .. import __version__
from ..errors import printable
from .results import Results
from .tables import METRICS, Table

_MARKDOWN = re.compile(r"[\\|`]|\](?=\()")
_TEX = {character: "\\" + character for character in "&%$#_{}"} | {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "±": r"$\pm$",
    "–": "--",
    "†": r"$\dagger$",
    "‡": r"$\ddagger$",
    "²": "$^2$",
}


def markdown(table: Table) -> str:
    rows = [[markdown_text(column) for column in table.cells]]
    rows.append([":--"] + ["--:"] * (len(rows[0]) - 1))
    for row in table.rows():
        rows.append([f"**{markdown_text(text)}**" if best else markdown_text(text) for _, text, best in row])
    lines = "\n".join(f"| {' | '.join(row)} |" for row in rows)
    return f"## {table.title}\n\n{lines}\n\n{table.caption}\n"


def markdown_list(title: str, lines: list[str]) -> str:
    return f"## {title}\n\n" + "".join(f"- {markdown_text(line)}\n" for line in lines)


def markdown_text(text: str) -> str:
    """Return the text with those characters escaped that end a cell or begin HTML, code or a link."""
    return _MARKDOWN.sub(r"\\\g<0>", text).replace("<", "&lt;")


def latex(table: Table) -> str:
    """Return a booktabs table."""
    marks = table.best.map(lambda best: "textbf:--rwrap" if best else "")
    styler = table.cells.style.hide(axis="index").format(_tex).format_index(_tex, axis="columns")
    return styler.apply(lambda _: marks, axis=None).to_latex(
        hrules=True,
        position_float="centering",
        caption=_tex(f"{table.title}. {table.caption}"),
        column_format="l" + "r" * (len(table.cells.columns) - 1),
    )


def as_csv(cells: pd.DataFrame) -> str:
    """Return CSV in which a quotation mark precedes names that a spreadsheet would take for a formula."""
    return cells.map(lambda cell: f"'{cell}" if _is_formula(cell) else cell).to_csv(index=False)


def page(results: Results, tables: list[Table], figures: list[tuple[str, str]]) -> str:
    """Return the report as one HTML file: tables, figures (title, SVG file in base 64) and the command of each run."""
    environment = Environment(
        loader=PackageLoader(__package__, "."), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["printable"] = printable
    return environment.get_template("report.html.jinja").render(
        results=results, tables=tables, figures=figures, metrics=METRICS, version=__version__
    )


def _is_formula(cell: Any) -> bool:
    return isinstance(cell, str) and cell.startswith(("=", "+", "-", "@"))


def _tex(text: str) -> str:
    return text.translate(str.maketrans(_TEX))
