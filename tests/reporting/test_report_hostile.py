"""tensorized-adapters report on false records, names with special characters, and copies."""

import csv
import json
import os
from xml.etree import ElementTree

from records import put, scores

from tensorized_adapters.cli import report
from tensorized_adapters.reporting.results import read_results
from tensorized_adapters.runtime import exits

DEEP = "[" * 100_000 + "]" * 100_000
BAD = {
    "null": None,
    "list": [],
    "text": "run",
    "seed": {"seed": "1"},
    "method": {"method": ["cp"]},
    "status": {"status": 5},
    "other program": {"program": "another"},
    "metrics": {"metrics": [0.8]},
    "git": {"git": {"commit": 5}},
    "counts": {"parameters": {"trained": -1, "model": 5}},
    "shares": {"parameters": {"trained": 5, "model": 0}},
    "losses": {"step_losses": ["a"]},
    "infinite loss": {"step_losses": [float("inf")]},
    "history": {"history": [5]},
    "step": {"history": [{"step": "x"}]},
    "size": {"adapter_bytes": "large"},
    "contribution": {"contribution": {"share": 0.5, "train": {"loss": {"initial": "high"}}}},
    "given": {"given": [["seed"]]},
    "digits": {"seed": 10**400},
    "bytes": {"adapter_bytes": 10**400},
    "parameters": {"parameters": {"trained": 10**400, "model": 10**400}},
    "negative digits": {"seed": -(10**400)},
    "steps": {"history": [{"step": 10**400, "eval_f1": 0.8}]},
}
BAD_ARGUMENTS = {"no format": {"adapter_projection_type": None}, "no rank": {"tensorized_layer_rank": None}}
CLASSES = {"names": ["a", "b"], "precision": [0.5, 0.5], "recall": [0.5, 0.5], "f1": [0.5, 0.5], "support": [3, 7]}
CLASSES |= {"confusion": [[1, 2], [3, 4]], "mistakes": []}
BAD_CLASSES = {
    "precision": {"precision": [0.5]},
    "no classes": {name: [] for name in CLASSES},
    "confusion": {"confusion": [[1, 2]]},
    "confused": {"confusion": [[1, 2], [3]]},
    "support": {"support": [10**400, 1]},
}


def test_a_bad_record_is_left_out_by_name_and_the_others_are_reported(real, results, tmp_path, capsys, undrawn):
    bad = BAD | {name: {"arguments": real["arguments"] | change} for name, change in BAD_ARGUMENTS.items()}
    bad |= {name: {"classes": {"eval": CLASSES | change}} for name, change in BAD_CLASSES.items()}
    for name, change in bad.items():
        (results / "bad" / name).mkdir(parents=True)
        content = real | change if isinstance(change, dict) else change
        (results / "bad" / name / "run.json").write_text(json.dumps(content))
    texts = {"empty": "", "deep": DEEP, "rank": json.dumps(real).replace('_rank": 2', '_rank": 2.0')}
    for name, text in texts.items():
        (results / "bad" / name).mkdir()
        (results / "bad" / name / "run.json").write_text(text)
    (results / "bad" / "folder" / "run.json").mkdir(parents=True)
    for name, make in {"pipe": os.mkfifo, "link": lambda path: path.symlink_to(path.name)}.items():
        (results / "bad" / name).mkdir()
        make(results / "bad" / name / "run.json")
    (results / "sweep.json").write_text(DEEP)
    assert report.main([str(results), "--output_dir", str(tmp_path / "out")]) == 0
    message = capsys.readouterr().out
    page = (tmp_path / "out" / "report.html").read_text()
    for name in [*bad, *texts, "folder", "pipe", "link"]:
        line = f"missing: left out because it is not a run record: {results}/bad/{name}/run.json: "
        assert message.count(line) == 1 and f"{results}/bad/{name}/run.json: " in page, name
    assert "sweep.json cannot be read" in message
    assert scores(tmp_path / "out")["cp-2", "mrpc"]["seeds"] == "1 2 3"
    assert exits.run(report.main, [str(results / "bad"), "--output_dir", str(tmp_path / "none")]) == 2
    assert "no finished run with a score" in capsys.readouterr().err


def test_numbers_too_large_for_a_decimal_are_as_if_they_were_absent(real, tmp_path, capsys, undrawn):
    record = put(tmp_path / "in", real, 0.8)
    record["metrics"] |= {"train_samples": 10**400, "train_f1": 10**400}
    record |= {"classes": {"eval": CLASSES}}
    (tmp_path / "in" / "run.json").write_text(json.dumps(record))
    assert report.main([str(tmp_path / "in"), "--output_dir", str(tmp_path / "out")]) == 0
    page = (tmp_path / "out" / "tables.md").read_text()
    assert "Scores by class" in page and "training examples, 2 epochs" not in page and "run record" not in page
    assert "| cp-2 | **0.800** |" in page


def test_names_that_mean_something_elsewhere(real, tmp_path):
    """They are special to matplotlib, spreadsheets, Markdown, XML or UTF-8, or very long."""
    name = "=$\\unknown{x}$ | `a` <b> [c](d) \x00\x1b\ud800\n"
    odd = {"task": name, "command": name, "method": name + "y" * 5000, "primary_metric": "f1"}
    odd |= {"arguments": real["arguments"] | {name: name} | {f"a{i}": name for i in range(50)}}
    (tmp_path / "odd").mkdir()
    (tmp_path / "odd" / "run.json").write_text(json.dumps(real | odd))
    put(tmp_path / "a", real, 0.8)
    assert report.main([str(tmp_path), "--output_dir", str(tmp_path / "out")]) == 0
    for table in ("scores.csv", "parameters.csv"):
        with open(tmp_path / "out" / table) as file:
            rows = [cell for row in csv.reader(file) for cell in row]
        assert any(cell.startswith("'=$") for cell in rows) and not any(cell.startswith("=") for cell in rows)
        assert max(map(len, rows)) < 2000
    text = (tmp_path / "out" / "tables.md").read_text()
    assert "\\| \\`a\\` &lt;b> [c\\](d) \\\\x00\\\\x1b\\\\ud800\\\\n" in text
    for figure in (tmp_path / "out" / "figures").glob("*.svg"):
        ElementTree.parse(figure)


def test_names_are_escaped_in_titles_captions_and_latex(real, tmp_path, undrawn):
    """Rows of LaTeX tables must not begin with [ or *, which would be options of the line break before them."""
    name = '<b>x|y "z"'
    record = put(tmp_path / "a", real, 0.8)
    names = {"names": ["[c]", "*d"], "mistakes": []}
    changes = {"method": name, "classes": {"eval": CLASSES | names}}
    (tmp_path / "a" / "run.json").write_text(json.dumps(record | changes))
    assert report.main([str(tmp_path / "a"), "--output_dir", str(tmp_path / "out")]) == 0
    text, tex = ((tmp_path / "out" / file).read_text() for file in ("tables.md", "tables.tex"))
    assert "## Scores by class: &lt;b>x\\|y" in text and "<b>" not in text
    assert r"\textless{}b\textgreater{}x\textbar{}y ''z''" in tex
    assert not set('<>|"') & set(tex) and not any(line[:1] in ("[", "*") for line in tex.splitlines())
    assert "{[}c] & 0.500" in tex and "{*}d & 0.500" in tex


def test_a_copy_with_another_seed_is_reported(real, tmp_path):
    put(tmp_path / "a", real, 0.8)
    put(tmp_path / "b", real, 0.8, seed=2)
    other = put(tmp_path / "c", real, 0.9, seed=3)
    (tmp_path / "c" / "run.json").write_text(json.dumps(other | {"step_losses": [1.0, 0.5]}))
    notes = [note for note in read_results([tmp_path]).notes if "equal in the loss of every step" in note]
    assert len(notes) == 1 and f"{tmp_path / 'a'} and {tmp_path / 'b'}" in notes[0]
