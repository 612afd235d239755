"""From run records to the files of a report."""

import re
from collections.abc import Iterable
from pathlib import Path

from ..errors import UsageError
from ..runtime.files import write_aside
from .about import told_of
from .figures import as_bytes, figures
from .page import page
from .records import Results, read_results
from .summaries import contribution_csv, contribution_table, gap_table, mean_table
from .tables import as_csv, latex, markdown, markdown_text, parameter_table, score_table, scores_csv

_FIGURE = re.compile(r"(score_by_\w+|gap_by_parameters|share_of_adapters|(training|starts)_[\w.-]+)\.(png|svg)")
_CONTRIBUTION_FILE = "contribution.csv"


def write_report(paths: Iterable[Path], output_dir: Path, published: bool = False) -> Results:
    """Write report.html, tables.md, tables.tex, scores.csv, parameters.csv and figures/ into the folder, and
    contribution.csv where a run measured what its adapters account for.

    Args:
        paths: run.json files, or folders with such files at any depth.
        published: put the published figures beside ours.

    Raises:
        UsageError: if there is nothing to report on, or the folder cannot be written.
    """
    results = read_results(paths)
    parameters = parameter_table(results, published)
    scores = [score_table(results, which, published) for which in ("last", "best")]
    summaries = [mean_table(results), contribution_table(results), gap_table(results)]
    tables = [*scores, *(table for table in summaries if table), parameters]
    drawn = list(figures(results))
    files = {f"figures/{stem}.{kind}": as_bytes(figure, kind) for stem, _, figure in drawn for kind in ("png", "svg")}
    svgs = [(title, files[f"figures/{stem}.svg"]) for stem, title, _ in drawn]
    said = [
        f"## {title}\n\n" + "".join(f"- {markdown_text(line)}\n" for line in lines) for title, lines in _lists(results)
    ]
    text = {
        "tables.md": "\n".join(
            [*(f"{markdown_text(line)}\n" for line in told_of(results)), *map(markdown, tables), *said]
        ),
        "tables.tex": "\n".join(map(latex, tables)),
        "scores.csv": scores_csv(results),
        "parameters.csv": as_csv(parameters.cells),
        "report.html": page(results, tables, svgs),
    }
    if contribution := contribution_csv(results):
        text[_CONTRIBUTION_FILE] = contribution
    files |= {name: content.encode() for name, content in text.items()}
    try:
        (output_dir / "figures").mkdir(parents=True, exist_ok=True)
        for name, content in files.items():
            write_aside(output_dir / name, content)
        if _CONTRIBUTION_FILE not in files:
            (output_dir / _CONTRIBUTION_FILE).unlink(missing_ok=True)
        for old in (output_dir / "figures").iterdir():  # of tasks that are no longer among the results
            if _FIGURE.fullmatch(old.name) and f"figures/{old.name}" not in files:
                old.unlink()
    except OSError as error:
        raise UsageError(f"--output_dir {output_dir} cannot be written: {error.strerror}") from None
    return results


def _lists(results: Results) -> list[tuple[str, list[str]]]:
    missing = results.missing or ["nothing: every method has every seed on every task"]
    return [("Missing", missing)] + ([("Notes", results.notes)] if results.notes else [])
