"""Writes the files of a report from run records."""

import base64
import re
from collections.abc import Iterable
from pathlib import Path

from ..errors import UsageError
from ..runtime.files import write_atomically
from .classes import class_scores, class_table, mistake_table
from .figures import as_bytes, figures
from .rendering import as_csv, latex, markdown, markdown_list, markdown_text, page
from .results import Results, read_results
from .summaries import contribution_frame, contribution_table, gap_table, mean_table, scores_frame
from .tables import parameter_table, score_table

_FIGURE = re.compile(
    r"(score_by_\w+|gap_by_parameters|share_of_adapters|(training|starts|confusion)_[\w.-]+)\.(png|svg)"
)
_CONTRIBUTION_FILE = "contribution.csv"


def write_report(paths: Iterable[Path], output_dir: Path, published: bool = False) -> Results:
    """Write report.html, tables.md, tables.tex, scores.csv, parameters.csv and figures/ into the folder, and
    contribution.csv if a run measured the contribution of its adapters.

    Args:
        paths: run.json files, or folders with such files at any depth.
        published: show the published figures beside ours.

    Raises:
        UsageError: if there is nothing to report on, or the folder cannot be written.
    """
    results = read_results(paths)
    parameters = parameter_table(results, published)
    optional = [mean_table(results), contribution_table(results), gap_table(results)]
    tables = [score_table(results, which, published) for which in ("last", "best")]
    tables += [*(table for table in optional if table), parameters]
    by_class = class_scores(results)
    tables += map(class_table, by_class)
    mistakes = [table for table in map(mistake_table, by_class) if table]
    drawn = list(figures(results))
    files = {f"figures/{stem}.{kind}": as_bytes(figure, kind) for stem, _, figure in drawn for kind in ("png", "svg")}
    svgs = [(title, base64.b64encode(files[f"figures/{stem}.svg"]).decode()) for stem, title, _ in drawn]
    missing = results.missing or ["nothing: every method has every seed on every task"]
    parts = [f"{markdown_text(line)}\n" for line in results.summary()]
    parts += [*map(markdown, tables + mistakes), markdown_list("Missing", missing)]
    parts += [markdown_list("Notes", results.notes)] if results.notes else []
    text = {
        "tables.md": "\n".join(parts),
        "tables.tex": "\n".join(map(latex, tables)),  # without texts of any script, which few engines would set
        "scores.csv": as_csv(scores_frame(results)),
        "parameters.csv": as_csv(parameters.cells),
        "report.html": page(results, tables + mistakes, svgs),
    }
    contribution = contribution_frame(results)
    if len(contribution):
        text[_CONTRIBUTION_FILE] = as_csv(contribution)
    _write(output_dir, files | {name: content.encode() for name, content in text.items()})
    return results


def _write(output_dir: Path, files: dict[str, bytes]) -> None:
    """Write the files, and remove those of an earlier report that this one does not have."""
    try:
        (output_dir / "figures").mkdir(parents=True, exist_ok=True)
        for name, content in files.items():
            write_atomically(output_dir / name, content)
        if _CONTRIBUTION_FILE not in files:
            (output_dir / _CONTRIBUTION_FILE).unlink(missing_ok=True)
        for old in (output_dir / "figures").iterdir():
            if _FIGURE.fullmatch(old.name) and f"figures/{old.name}" not in files:
                old.unlink()
    except OSError as error:
        raise UsageError(f"--output_dir {output_dir} cannot be written: {error.strerror}") from None
