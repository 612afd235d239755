"""Writes the files of a report from run records: tables as Markdown, LaTeX and CSV, figures, and one HTML page."""

import base64
import os
import re
import warnings
from collections.abc import Iterable
from pathlib import Path

import pandas as pd
from jinja2 import Environment, PackageLoader

from .. import __version__
from ..errors import printable
from ..runtime.files import make_folder, refusing_unwritable, write_atomically
from .classes import class_scores, class_table, mistake_table
from .figures import as_bytes, figures
from .results import Results, read_results
from .summaries import contribution_frame, contribution_table, gap_table, mean_table, scores_frame
from .tables import METRICS, Table, parameter_table, score_table

_FIGURE = re.compile(
    r"(score_by_\w+|gap_by_parameters|share_of_adapters|(training|starts|confusion)_[\w.-]+)\.(png|svg)"
)
_CONTRIBUTION_FILE, _PAGE = "contribution.csv", "report.html.jinja"
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
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': "''",  # babel makes it an active character in some languages
    "[": "{[}",  # as the first character of a row it would begin an option of the line break before it, like *
    "*": "{*}",
}


def write_report(paths: Iterable[Path], output_dir: Path, published: bool = False) -> Results:
    """Write a report on the run.json files at any depth below the paths into a folder, instead of an earlier one, with
    ``published`` figures beside ours. Raise UsageError if there is nothing to report on, or it cannot be written."""
    results = read_results(paths)
    parameters, contribution = parameter_table(results, published), contribution_frame(results)
    by_class = class_scores(results)
    scores = [score_table(results, which, published) for which in ("last", "best")]
    optional = [mean_table(results), contribution_table(results), gap_table(results)]
    tables = [*scores, *filter(None, optional), parameters, *map(class_table, by_class)]
    mistakes = [table for table in map(mistake_table, by_class) if table]
    drawn = list(figures(results))
    with warnings.catch_warnings(record=True, action="always") as heard:
        files = {
            f"figures/{stem}.{kind}": as_bytes(figure, kind) for stem, _, figure in drawn for kind in ("png", "svg")
        }
    results.notes.extend(_notes_on_figures(heard))
    svgs = [(title, base64.b64encode(files[f"figures/{stem}.svg"]).decode()) for stem, title, _ in drawn]
    text = {
        "tables.md": _markdown_page(results, tables + mistakes),
        "tables.tex": "\n".join(map(latex, tables)),  # without texts of any script, which few engines would set
        "scores.csv": _as_csv(scores_frame(results)),
        "parameters.csv": _as_csv(parameters.cells),
        "report.html": _page(results, tables + mistakes, svgs),
    }
    if len(contribution):
        text[_CONTRIBUTION_FILE] = _as_csv(contribution)
    _write(output_dir, files | {name: content.encode() for name, content in text.items()})
    return results


def _notes_on_figures(heard: list[warnings.WarningMessage]) -> list[str]:
    """Return one note for all characters that Matplotlib's font lacks, and repeat all other warnings."""
    registry: dict = {}  # in which Python notes the places that have warned
    of_fonts = [entry for entry in heard if "missing from font" in str(entry.message)]
    for entry in heard:
        if entry not in of_fonts:
            warnings.warn_explicit(entry.message, entry.category, entry.filename, entry.lineno, registry=registry)
    note = "the figures show boxes for characters that their font lacks; the tables have them"
    return [note] if of_fonts else []


def _write(output_dir: Path, files: dict[str, bytes]) -> None:
    """Write the files, and remove those of an earlier report that this one does not have."""
    with refusing_unwritable(f"--output_dir {output_dir}"):
        make_folder(output_dir / "figures")
        for name, content in files.items():
            write_atomically(output_dir / name, content)
        figures = filter(_FIGURE.fullmatch, os.listdir(output_dir / "figures"))
        for old in {_CONTRIBUTION_FILE, *(f"figures/{name}" for name in figures)} - files.keys():
            (output_dir / old).unlink(missing_ok=True)


def markdown(table: Table) -> str:
    """Return a table with its title and caption as Markdown."""
    rows = [[_markdown_text(column) for column in table.cells]]
    rows.append([":--"] + ["--:"] * (len(rows[0]) - 1))
    for row in table.rows():
        rows.append([f"**{_markdown_text(text)}**" if best else _markdown_text(text) for _, text, best in row])
    lines = "\n".join(f"| {' | '.join(row)} |" for row in rows)
    return f"## {_markdown_text(table.title)}\n\n{lines}\n\n{_markdown_text(table.caption)}\n"


def _markdown_page(results: Results, tables: list[Table]) -> str:
    """Return the summary, the tables, and the lists of what is missing and of notes."""
    parts = [f"{_markdown_text(line)}\n" for line in results.summary()] + [*map(markdown, tables)]
    missing = results.missing or ["nothing: every method has every seed on every task"]
    for title, lines in (("Missing", missing), ("Notes", results.notes)):
        if lines:
            parts.append(f"## {title}\n\n" + "".join(f"- {_markdown_text(line)}\n" for line in lines))
    return "\n".join(parts)


def _markdown_text(text: str) -> str:
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


def _as_csv(cells: pd.DataFrame) -> str:
    """Return CSV in which a quotation mark precedes names that a spreadsheet would take for a formula."""
    begins = ("=", "+", "-", "@")
    quoted = cells.map(lambda cell: f"'{cell}" if isinstance(cell, str) and cell.startswith(begins) else cell)
    return quoted.to_csv(index=False)


def _page(results: Results, tables: list[Table], figures: list[tuple[str, str]]) -> str:
    """Return the report as one HTML file: tables, figures (title, SVG file in base 64) and the command of each run."""
    loader = PackageLoader(__package__, ".")
    page = Environment(loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True).get_template(_PAGE)
    helpers = {"metrics": METRICS, "version": __version__, "printable": printable}
    return page.render(results=results, tables=tables, figures=figures, **helpers)


def _tex(text: str) -> str:
    return text.translate(str.maketrans(_TEX))
