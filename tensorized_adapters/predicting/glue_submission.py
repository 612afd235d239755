"""Collects the prediction files of runs into the zip file that GLUE's server takes."""

import io
import zipfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd

from ..data.tasks import TASKS
from ..errors import UsageError, quoted
from ..runtime.files import content_of, tsv_of, write_atomically

# The number of test examples of each file.
SIZES = {"CoLA": 1_063, "SST-2": 1_821, "MRPC": 1_725, "STS-B": 1_379, "QQP": 390_965, "MNLI-m": 9_796}
SIZES |= {"MNLI-mm": 9_847, "QNLI": 5_463, "RTE": 3_000, "WNLI": 146, "AX": 1_104}
_COLUMNS = ["index", "prediction"]
_TASKS = {name: task for task in TASKS.values() for name, _ in task.prediction_sets}


def write_submission(runs: Iterable[Path], output: Path) -> list[str]:
    """Write the zip file, and return a line for each file in it: the run that it is from, or the constant.

    A file that no run has is filled with a constant, since the server only takes a complete set. Raise UsageError for
    a run without predictions, two runs for one task, and a file that the server would refuse.
    """
    found: dict[str, Path] = {}
    for run in runs:
        if not run.is_dir():
            raise UsageError(f"{run} is not a folder; name folders of runs")
        files = [run / f"{name}.tsv" for name in SIZES if (run / f"{name}.tsv").is_file()]
        if not files:
            raise UsageError(f"{run} has no predictions for GLUE; run a GLUE task with --do_predict there")
        for file in files:
            if file.stem in found:
                raise UsageError(f"{found[file.stem]} and {file} are for the same task; name one of the two runs")
            found[file.stem] = file
    lines, buffer = [], io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in SIZES:
            if name in found:
                content, source = _checked(found[name], name), found[name]
            else:
                constant = _labels(name)[0]
                content = tsv_of([_COLUMNS, *((index, constant) for index in range(SIZES[name]))])
                source = f"no run has it; all its predictions are {constant}"
            archive.writestr(zipfile.ZipInfo(f"{name}.tsv"), content, zipfile.ZIP_DEFLATED)
            lines.append(f"{name}.tsv: {source}")
    write_atomically(output.resolve(), buffer.getvalue())  # a link stays one
    return lines


def _labels(name: str) -> list[str]:
    """Return the predictions that a file may hold, or one example of them for scores."""
    task = _TASKS[name]
    if task.labels is None:
        return ["0.0"]
    return list(task.labels) if task.writes_label_names else [str(number) for number in range(len(task.labels))]


def _checked(path: Path, name: str) -> bytes:
    """Return the content of a prediction file; raise UsageError if GLUE's server would refuse it."""
    content = content_of(path)
    if content.splitlines()[:1] != ["\t".join(_COLUMNS).encode()]:  # also if an editor has put a byte order mark there
        raise UsageError(f"{path} does not begin with the line {' <tab> '.join(_COLUMNS)}; predict again")
    try:
        values = pd.read_csv(io.BytesIO(content), sep="\t", dtype=str, keep_default_na=False)
    except ValueError as error:  # also for bytes that are not UTF-8
        raise UsageError(f"{path} is not a table with tabs: {error}; predict again with --do_predict") from None
    if len(values) != SIZES[name]:
        raise UsageError(
            f"{path} has {len(values):,} predictions, and GLUE's test set {SIZES[name]:,} examples; predict again, on "
            "the complete test set and without --max_predict_samples"
        )
    for row, index in enumerate(values["index"]):
        if index != str(row):
            raise UsageError(f"{path} has the index {quoted(index)} in row {row + 1}, not {row}; predict again")
    if _TASKS[name].labels is None:
        refused = values[~np.isfinite(pd.to_numeric(values["prediction"], errors="coerce"))]
    else:
        refused = values[~values["prediction"].isin(_labels(name))]
    if len(refused):
        raise UsageError(f"{path} predicts {quoted(refused['prediction'].iloc[0])}, which is no label of the task")
    return content
