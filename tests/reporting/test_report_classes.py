"""Reports on scores by class, confusion matrices and mistakes."""

import html
import json
import warnings

from records import put

from tensorized_adapters.cli import report
from tensorized_adapters.reporting.classes import MOST_CLASSES, class_scores, class_table, mistake_table
from tensorized_adapters.reporting.figures import figures
from tensorized_adapters.reporting.results import read_results
from tensorized_adapters.reporting.write import _notes_on_figures

TEXT = "<b>50 % | off</b> & $x_1$"


def classes(count=3, mistakes=1):
    values = {"names": [f"class_{number}" for number in range(count)], "support": [1000 + n for n in range(count)]}
    values |= {
        "precision": [0.5 + n / 100 for n in range(count)],
        "recall": [0.625] * count,
        "f1": [float("nan")] * count,
    }
    values["confusion"] = [[10 * row + column for column in range(count)] for row in range(count)]
    mistake = {
        "row": 1234,
        "texts": [TEXT, "second"],
        "label": "class_0",
        "predicted": "class_1",
        "probability": 0.875,
    }
    return values | {"mistakes": [mistake] * mistakes}


def put_classes(folder, real, *arguments, sets=None, **changes):
    record = put(folder, real, *arguments, **changes)
    (folder / "run.json").write_text(json.dumps(record | {"classes": sets or {"eval": classes()}}))


def test_classes_and_mistakes_are_listed_and_the_matrix_is_drawn(real, tmp_path):
    many = classes(MOST_CLASSES + 1, mistakes=0) | {"confusion": None}  # as of more than 100 classes
    put_classes(tmp_path / "a", real, 0.8, sets={"eval": classes(), "eval_mm": many})
    out = tmp_path / "out"
    assert report.main([str(tmp_path / "a"), "--output_dir", str(out)]) == 0
    text, page, tex = ((out / name).read_text() for name in ("tables.md", "report.html", "tables.tex"))
    assert (
        "## Scores by class: cp-2 on mrpc, seed 1" in text and "## Scores by class: cp-2 on mrpc (mm), seed 1" in text
    )
    assert "| class_1 | 0.510 | 0.625 | – | 1,001 |" in text
    assert f"left out, since {MOST_CLASSES + 1} classes are more than {MOST_CLASSES}" in text
    assert text.count("## Most confident mistakes") == page.count("<h2>Most confident mistakes") == 1
    assert "| 0.875 | 1,234 |" in text and r"&lt;b>50 % \| off&lt;/b>" in text and html.escape(TEXT) in page
    assert TEXT not in page and r"class\_1 & 0.510" in tex and "second" not in tex
    assert [path.name for path in sorted((out / "figures").glob("confusion*"))] == [
        "confusion_mrpc_1.png",
        "confusion_mrpc_1.svg",
    ]
    assert page.count("<h2>Confusion matrix: cp-2 on mrpc, seed 1</h2>") == 1
    drawn = {stem: figure for stem, _, figure in figures(read_results([tmp_path / "a"]))}["confusion_mrpc_1"]
    axes = drawn.axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["class_0", "class_1", "class_2"]
    counts = {text.get_position(): text.get_text() for text in axes.texts}
    assert counts[(2, 1)] == "12" and axes.get_xlabel() == "predicted class" and len(counts) == 9


def test_rows_of_a_part_of_the_training_set_are_said_to_be_so(real, tmp_path):
    for name, fraction, caption in (
        ("a", None, "Rows of the evaluation file count from 0."),
        ("b", 0.1, "Rows count from 0 within the part of the training set that --validation_fraction held out."),
    ):
        put_classes(tmp_path / name, real, 0.8, validation_fraction=fraction)
        (scores,) = class_scores(read_results([tmp_path / name]))
        assert mistake_table(scores).caption.endswith(caption)


def test_of_many_runs_the_best_by_method_and_task(real, tmp_path):
    for seed in range(1, 6):
        put_classes(tmp_path / f"cp{seed}", real, 0.7 + seed % 4 / 100, seed)
        put_classes(tmp_path / f"tt{seed}", real, 0.8, seed, adapter_projection_type="tt")
    put(tmp_path / "without", real, 0.9, 6)
    found = class_scores(read_results([tmp_path]))
    assert [scores.name for scores in found] == ["cp-2 on mrpc, seed 3", "tt-2 on mrpc, seed 1"]
    assert found[0].note == "5 of 6 runs have scores by class. This is the run with the highest score of 5. "
    assert found[1].note == "This is the run with the highest score of 5. "


def test_records_without_classes_have_no_such_tables(results):
    found = read_results([results])
    assert class_scores(found) == [] and not any(stem.startswith("confusion") for stem, *_ in figures(found))


def test_a_damaged_list_of_classes_leaves_the_record_out(real, tmp_path):
    put(tmp_path / "a", real, 0.8)
    put_classes(tmp_path / "b", real, 0.9, 2, sets={"eval": classes() | {"support": ["x"]}})
    results = read_results([tmp_path])
    assert len(results.runs) == 1 and "classes.eval.support.0" in results.missing[0]


def test_the_number_of_examples_of_each_class_is_shown(real, tmp_path):
    put_classes(tmp_path / "a", real, 0.0, sets={"eval": classes() | {"support": [0, 1, 1234]}})
    (scores,) = class_scores(read_results([tmp_path]))
    assert [*class_table(scores).cells["examples"]] == ["0", "1", "1,234"]


def test_other_warnings_of_the_figures_are_repeated_once_a_place():
    with warnings.catch_warnings(record=True, action="always") as heard:
        for _ in range(4):
            warnings.warn("the layout is tight", stacklevel=1)
    with warnings.catch_warnings(record=True, action="default") as repeated:
        assert _notes_on_figures(heard) == []
    assert len(heard) == 4 and [str(entry.message) for entry in repeated] == ["the layout is tight"]


def test_names_that_the_font_of_the_figures_lacks_are_reported_once(real, tmp_path, capsys, recwarn):
    put_classes(tmp_path / "a", real, 0.8, sets={"eval": classes() | {"names": ["\u65e5\u672c", "\u4e2d", "b"]}})
    assert report.main([str(tmp_path / "a"), "--output_dir", str(tmp_path / "out")]) == 0
    note = "the figures show boxes for characters that their font lacks; the tables have them"
    assert capsys.readouterr().out.count(f"note: {note}\n") == 1 and not recwarn.list
    assert all(note in (tmp_path / "out" / name).read_text() for name in ("tables.md", "report.html"))
    assert "\u65e5\u672c" in (tmp_path / "out" / "tables.md").read_text()
