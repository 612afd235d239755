"""tensorized-adapters glue_submission: the zip file for GLUE's server, and refused input."""

import codecs
import json
import shlex
import zipfile
from pathlib import Path

import numpy as np
import pytest

from tensorized_adapters import PROGRAM
from tensorized_adapters.cli import glue_submission
from tensorized_adapters.data.tasks import TASKS
from tensorized_adapters.predicting.glue_submission import SIZES
from tensorized_adapters.runs.record import write_predictions
from tensorized_adapters.runtime import exits

PAGE = Path(__file__).parent.parent.parent / "docs" / "glue_submission.md"


def predicted(folder, task, names=None, **sizes):
    """A run's folder with its prediction files, all of the last label."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in names or [name for name, _ in TASKS[task].prediction_sets]:
        logits = [2.5] if TASKS[task].labels is None else range(len(TASKS[task].labels))
        write_predictions(folder / f"{name}.tsv", np.array([logits] * sizes.get(name, SIZES[name])), TASKS[task])
    return folder


def test_the_command_of_the_page_makes_a_complete_submission(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    block = PAGE.read_text().split("```bash\n")[2].split("```")[0]
    words = shlex.split(block)
    assert words[:2] == ["tensorized-adapters", "glue_submission"]
    for task in ("mnli", "rte", "stsb"):
        predicted(Path("runs", task), task)
    before = Path("runs/rte/RTE.tsv").read_bytes()
    assert glue_submission.main(words[2:]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "RTE.tsv: runs/rte/RTE.tsv" in lines and "AX.tsv: runs/mnli/AX.tsv" in lines
    assert "CoLA.tsv: no run has it; all its predictions are 0" in lines and "submission: submission.zip" in lines
    with zipfile.ZipFile("submission.zip") as archive:
        assert archive.testzip() is None
        assert archive.namelist() == [f"{name}.tsv" for name in SIZES] and archive.read("RTE.tsv") == before
        rows = {name: archive.read(f"{name}.tsv").decode().splitlines() for name in SIZES}
    assert all(lines[0] == "index\tprediction" and len(lines) == SIZES[name] + 1 for name, lines in rows.items())
    assert rows["QNLI"][1] == "0\tentailment" and rows["WNLI"][-1] == "145\t0" and rows["AX"][1] == "0\tcontradiction"


def test_bad_input_is_one_line_and_nothing_is_written(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("empty").mkdir()
    for name in ("a", "b"):
        predicted(Path(name), "rte")
    predicted(Path("short"), "wnli", WNLI=5)
    predicted(Path("names"), "qnli", ["RTE"])
    Path("names/RTE.tsv").write_text(Path("names/RTE.tsv").read_text().replace("2999\tnot_entailment", "2999\tyes"))
    predicted(Path("sorted"), "wnli")
    Path("sorted/WNLI.tsv").write_text(Path("sorted/WNLI.tsv").read_text().replace("\n7\t", "\n8\t"))
    predicted(Path("infinite"), "stsb")
    Path("infinite/STS-B.tsv").write_text(Path("infinite/STS-B.tsv").read_text().replace("9\t2.5", "9\tinf", 1))
    Path("odd").mkdir()
    Path("odd/RTE.tsv").write_text("x")
    Path("marked").mkdir()
    Path("marked/RTE.tsv").write_bytes(codecs.BOM_UTF8 + Path("a/RTE.tsv").read_bytes())
    Path("taken.zip").write_text("kept")
    for words, message in {
        ("empty",): "empty has no predictions for GLUE",
        ("nowhere",): "nowhere is not a folder",
        ("a", "b"): "a/RTE.tsv and b/RTE.tsv are for the same task",
        ("a", "a"): "are for the same task",
        ("short",): "short/WNLI.tsv has 5 predictions, and GLUE's test set 146 examples",
        ("names",): "names/RTE.tsv predicts 'yes', which is no label of the task",
        ("sorted",): "sorted/WNLI.tsv has the index '8' in row 8, not 7",
        ("infinite",): "infinite/STS-B.tsv predicts 'inf'",
        ("odd",): "odd/RTE.tsv does not begin with the line index <tab> prediction; predict again",
        ("marked",): "marked/RTE.tsv does not begin with the line index <tab> prediction; predict again",
        ("a", "--output", "new.tar"): "--output new.tar must end in .zip",
        ("a", "--output", "taken.zip"): "--output taken.zip exists",
        ("a", "--output", "no/such/folder.zip"): "--output no/such/folder.zip cannot be written",
    }.items():
        output = () if "--output" in words else ("--output", "new.zip")
        assert exits.run(glue_submission.main, [*words, *output]) == 2
        error = capsys.readouterr().err
        assert error.startswith("error: ") and message in error and error.count("\n") == 1, error
    assert not Path("new.zip").exists() and not Path("new.tar").exists() and Path("taken.zip").read_text() == "kept"


def test_predictions_that_are_not_of_the_run_in_the_folder_are_reported(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    record = {"program": PROGRAM, "status": "finished", "arguments": {"task_name": "wnli", "method": "bitfit"}}
    record |= {"method": "bitfit", "task": "wnli", "primary_metric": "accuracy", "metrics": {}}
    record |= {"parameters": {"trained": 1, "model": 2}}
    path = predicted(Path("a"), "wnli") / "run.json"
    for number, (change, note) in enumerate(
        (
            ({}, ""),
            (
                {"status": "interrupted"},
                f"{path} says interrupted, not finished; the predictions may be of an earlier",
            ),
            (
                {"arguments": {"task_name": "rte", "method": "full"}},
                f"a/WNLI.tsv is of another task than {path} (rte)",
            ),
            ({"arguments": {"method": "full"}}, f"a/WNLI.tsv is of another task than {path} (no task of GLUE)"),
            ({"program": "other"}, f"{path}: it is not a record of this program"),
        )
    ):
        path.write_text(json.dumps(record | change))
        assert glue_submission.main(["a", "--output", f"{number}.zip"]) == 0
        error = capsys.readouterr().err
        assert error.startswith(f"note: {note}") and error.count("\n") == 1 if note else not error


@pytest.mark.parametrize("task", TASKS)
def test_the_size_of_every_prediction_file_is_known(task):
    assert all(name in SIZES for name, _ in TASKS[task].prediction_sets)
