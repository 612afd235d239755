"""Labels: names, numbers, scores, and refused values."""

import json
import re

import pytest
from helpers import pairs, write_rows

from tensorized_adapters import UsageError
from tensorized_adapters.data.arguments import DataTrainingArguments
from tensorized_adapters.data.loading import load_data


@pytest.mark.parametrize(
    "labels, names",
    [
        (["b", "a"], ("a", "b")),
        ([3, 10, 2], ("2", "3", "10")),
        (["0.5", "1.5"], None),
        (["nan", "inf"], ("inf", "nan")),
        (["1", "2", "3", "other"], ("1", "2", "3", "other")),
        (["1", "2", "3", "4", "5", "n/a"], ("1", "2", "3", "4", "5", "n/a")),
        (["1_0", "2_0"], ("1_0", "2_0")),
        ([9007199254740992, 9007199254740993], ("9007199254740992", "9007199254740993")),
        (["0112", "0111", "2110"], ("0111", "0112", "2110")),
        (["0", "00", "A1", "1"], ("0", "00", "1", "A1")),
    ],
)
def test_labels_of_other_data(tmp_path, labels, names):
    rows = [(a, labels[i % len(labels)]) for a, _, _, i in pairs(12, 1)]
    path = write_rows(tmp_path / "train.csv", rows, ("text", "label"))
    data = load_data(DataTrainingArguments(train_file=str(path)), {"train"})
    assert data.task.labels == names and data.task.texts == ("text",)
    if names:
        assert [names[i] for i in data.train["label"]] == [str(row[1]) for row in rows]


@pytest.mark.parametrize(
    "labels, odd, message",
    [
        ("0.5 1.5", "NA", "row 7 has the label 'NA', where 18 of 19 labels are numbers; correct it"),
        ("0.5 1.5 3", "nan", "row 7 has the label 'nan', which is neither a score nor a class; correct it"),
        ("1 2 3", "?", "row 7 has the label '?', where 18 of 19 labels are numbers"),
        ("1 2 3", "Infinity", "row 7 has the label 'Infinity'"),
        ("yes no", "nan", "row 7 has the label 'nan'"),
        ("yes no", "0.5", "row 7 has the label '0.5', where 1 of 19 labels are numbers"),
        ("0.5 other", "1.5", "row 2 has the label 'other', where 10 of 19 labels are numbers"),
        ("yes no", "  ", "row 7 has no label"),
        ("1 2", "x" * 500, "row 7 has the label 'xxx"),
    ],
)
def test_labels_that_are_no_labels(tmp_path, labels, odd, message):
    values = [labels.split()[i % len(labels.split())] for i in range(18)]
    rows = [(f"text {i}", value) for i, value in enumerate([*values[:6], odd, *values[6:]])]
    path = write_rows(tmp_path / "train.csv", rows, ("text", "label"))
    with pytest.raises(UsageError, match=re.escape(message)) as error:
        load_data(DataTrainingArguments(train_file=str(path)), {"train"})
    assert "xxxxx" * 20 not in str(error.value)


@pytest.mark.parametrize(
    "labels, message",
    [
        ([float("nan")] * 3, "row 1 has the label nan, which is neither a score nor a class"),
        ([0.5, float("nan"), 1.5], "row 2 has the label nan, which is neither a score nor a class"),
        ([1, 2, "NA"], "row 3 has 'NA' in the column 'label', text, where rows before have a number"),
        ([0, 1, [1]], "row 3 has [1] in the column 'label', a list or an object, where rows before have a number"),
        ([[[0]], [[1]], [[1]]], "the column 'label' holds values of type list or object, no labels; write a label"),
        ([0, 1, None], "row 3 has no label"),
        ([0, 1, 2**63], "row 3 has the number 9223372036854775808 in the column 'label', which is too large"),
        ([0.5, 2**53 + 1, 1], "row 2 has the number 9007199254740993 in the column 'label', which is too large"),
    ],
)
def test_labels_in_json_that_are_no_labels(tmp_path, labels, message):
    path = tmp_path / "train.jsonl"
    path.write_text("\n".join(json.dumps({"text": f"text {i}", "label": value}) for i, value in enumerate(labels)))
    with pytest.raises(UsageError, match=re.escape(message)):
        load_data(DataTrainingArguments(train_file=str(path)), {"train"})


@pytest.mark.parametrize(
    "labels, text",
    [
        (range(30), "the 60 labels are taken for 30 classes; scores are written as decimals, for example 3.0"),
        (range(7), "the 60 labels are taken for 7 classes; scores"),
        (
            ("1", "2", "other"),
            "row 3 has the label 'other', where 40 of 60 labels are numbers; all are taken for names",
        ),
        (("yes", "no"), None),
        ((1, 2), None),
        ((1.0, 2.0), None),
    ],
)
def test_what_labels_are_taken_for_is_reported(capsys, tmp_path, labels, text):
    rows = [(f"text {i}", labels[i % len(labels)]) for i in range(60)]
    load_data(
        DataTrainingArguments(train_file=str(write_rows(tmp_path / "t.csv", rows, ("text", "label")))), {"train"}
    )
    lines = [line for line in capsys.readouterr().out.splitlines() if "taken for" in line]
    assert len(lines) == (text is not None) and (not text or text in lines[0])


def test_scores_may_be_whole_and_large(tmp_path):
    rows = [(f"text {i}", value) for i, value in enumerate(["0.5", "3", "18446744073709551616", "-2e9"])]
    path = write_rows(tmp_path / "train.csv", rows, ("text", "label"))
    data = load_data(DataTrainingArguments(train_file=str(path)), {"train"})
    assert data.task.labels is None and data.train["label"][:] == [0.5, 3.0, 2.0**64, -2e9]


def test_glue_label_names_and_numbers_are_the_same_labels(tmp_path):
    rows = [(a, b, ("entailment", "not_entailment")[i % 2], i) for a, b, _, i in pairs(8, 1)]
    named = write_rows(tmp_path / "named.csv", rows)
    numbered = write_rows(tmp_path / "numbered.csv", [(a, b, i % 2, i) for a, b, _, i in rows])
    ids = [
        load_data(DataTrainingArguments(task_name="rte", train_file=str(path)), {"train"}).train["label"][:]
        for path in (named, numbered)
    ]
    assert ids[0] == ids[1] == [i % 2 for i in range(8)]


def labelled(tmp_path, train, dev=None, saved=None, name="train.csv", **arguments):
    """Return the classes, and the labels of both sets."""
    paths = {}
    for split, labels in (("train", train), ("validation", dev)):
        if labels is not None:
            path = tmp_path / f"{split}-{name}"
            rows = [(f"text {i}", label) for i, label in enumerate(labels)]
            if path.suffix == ".jsonl":
                path.write_text("".join(json.dumps(dict(zip(("text", "label"), row))) + "\n" for row in rows))
            else:
                write_rows(path, rows, ("text", "label"), "\t" if path.suffix == ".tsv" else ",")
            paths[f"{split}_file"] = str(path)
    wanted = {"train"} if dev is None else {"train", "evaluation"} if train is not None else {"evaluation"}
    data = load_data(DataTrainingArguments(**paths, **arguments), wanted, saved)
    sets = [*([data.train] if data.train else []), *data.evaluation.values()]
    return data.task.labels, *[examples["label"][:] for examples in sets]


@pytest.mark.parametrize(
    "labels, row, shown, style",
    [
        (["0,0", "0,5", "1,0"], 1, "'0,0'", "a comma"),
        (["0", "0,5", "1"], 2, "'0,5'", "a comma"),
        (["0.25", "0,5", "1"], 2, "'0,5'", "a comma"),
        (["0%", "10%", "20 %"], 1, "'0%'", "the sign '%'"),
        (["1,000", "1,250"], 1, "'1,000'", "a comma"),
        (["1.000,5", "2"], 1, "'1.000,5'", "a comma"),
        (["500", "1 250"], 2, "'1 250'", "the sign ' '"),
        (["500", "1\u00a0250"], 2, r"'1\xa0250'", r"the sign '\xa0'"),
        (["500", "1\u2009250"], 2, r"'1\u2009250'", r"the sign '\u2009'"),
        (["500", "1\u3000250"], 2, r"'1\u3000250'", r"the sign '\u3000'"),
        (["500", "1\u1680250"], 2, r"'1\u1680250'", r"the sign '\u1680'"),
        (["500", "1.250.000"], 2, "'1.250.000'", "several points"),
        (["0.5", "\u22120.5"], 2, "'\u22120.5'", "the sign '\u2212'"),
        (["0,5", "NA", "1,5"], 1, "'0,5'", "a comma"),
        (["n/a", "0,5", "-", "other", "other"], 2, "'0,5'", "a comma"),
        (["1,5", "1,5e3"], 1, "'1,5'", "a comma"),
        (["1500", "1,5e3"], 2, "'1,5e3'", "a comma"),
        (["0,5 %", "NA"], 1, "'0,5 %'", "a comma"),
        (["6\uff05", "5 \uff05"], 1, "'6\uff05'", "the sign '\uff05'"),
        (["0\uff0c5", "1"], 1, "'0\uff0c5'", "a comma"),
        (["1\u066b5", "2"], 1, "'1\u066b5'", "a comma"),
        (["1\uff0e5", "2"], 1, "'1\uff0e5'", "the sign '\uff0e'"),
        (["0,5\u20ac", "1"], 1, "'0,5\u20ac'", "a comma"),
        (["$ 5", "$10"], 1, "'$ 5'", "the sign '$'"),
        (["10\u2030", "5 \u2030"], 1, "'10\u2030'", "the sign '\u2030'"),
        (["\u20b9 5", "\u20b910"], 1, "'\u20b9 5'", "the sign '\u20b9'"),
    ],
)
def test_numbers_in_another_style_are_no_classes(tmp_path, labels, row, shown, style):
    with pytest.raises(UsageError, match=re.escape(f"row {row} has the label {shown}, a number with {style}; write")):
        labelled(tmp_path, labels * 6, name="train.tsv")


@pytest.mark.parametrize(
    "labels, noted", [(["900", "1.250"], True), (["90", "1.250"], False), (["900", "1.25"], False), (["1.250"], False)]
)
def test_points_that_may_separate_thousands_are_noted(capsys, tmp_path, labels, noted):
    names, scores = labelled(tmp_path, [*labels, "2.000"] * 4, name="train.csv")
    assert names is None and set(scores) == {*map(float, labels), 2.0}
    note = "the score '1.250' is read as 1.25; if its point separates thousands, write 1250"
    assert (note in capsys.readouterr().out) == noted


def test_names_beside_which_a_per_cent_stands_are_names(capsys, tmp_path):
    assert labelled(tmp_path, ["10%", "unknown", "20%"] * 6)[0] == ("10%", "20%", "unknown")
    note = "row 1 has the label '10%', a number with the sign '%'; all are taken for names of classes"
    assert note in capsys.readouterr().out


def test_scores_of_an_adapter_and_of_a_task_name_the_comma(tmp_path):
    saved = {"problem_type": "regression", "notes": {}}
    message = re.escape("row 2 has the label '0,5', a number with a comma; expected a number; write numbers with a")
    with pytest.raises(UsageError, match=message):
        labelled(tmp_path, None, ["0.5", "0,5"], saved)
    with pytest.raises(UsageError, match="row 2 has the label '3,0', a number with a comma; expected one of 3, 4, 5;"):
        labelled(tmp_path, [3, 4, 5] * 4, ["3", "3,0"])
    with pytest.raises(UsageError, match="row 2 has the label '3,0'; expected one of no, yes$"):
        labelled(tmp_path, ["no", "yes"] * 4, ["no", "3,0"])


def saved_with(*names):
    return {
        "problem_type": "single_label_classification",
        "num_labels": len(names),
        "id2label": {str(i): name for i, name in enumerate(names)},
        "notes": {},
    }


def test_true_and_false_keep_their_names_in_every_format(tmp_path):
    assert labelled(tmp_path, [False, True] * 2, [True, False], name="a.jsonl") == (
        ("false", "true"),
        [0, 1, 0, 1],
        [1, 0],
    )
    saved = saved_with("false", "true")
    assert labelled(tmp_path, None, ["False", "True", "TRUE", "false"], saved)[1] == [0, 1, 1, 0]
    assert labelled(tmp_path, ["False", "True"])[0] == ("False", "True")
    saved = saved_with("False", "True")
    assert labelled(tmp_path, None, [True, False], saved, name="b.jsonl")[1] == [1, 0]
    # An adapter that was saved with numbers for names still takes them.
    assert labelled(tmp_path, None, [True, False], saved_with("0", "1"), name="b.jsonl")[1] == [1, 0]


def test_labels_are_compared_in_nfc(tmp_path):
    composed, apart = "caf\u00e9", "cafe\u0301"
    assert labelled(tmp_path, [composed, "the"] * 2, [apart, "the"]) == ((composed, "the"), [0, 1, 0, 1], [0, 1])
    assert labelled(tmp_path, [composed, "the", apart])[:2] == ((composed, "the"), [0, 1, 0])
    assert labelled(tmp_path, None, [composed, apart], saved_with(apart, "the"))[1] == [0, 0]


def test_what_differs_invisibly_is_shown_escaped(capsys, tmp_path):
    with pytest.raises(UsageError, match=re.escape(r"has the label 'p\u043es', which only looks like 'pos'")):
        labelled(tmp_path, ["pos", "neg"] * 2, ["p\u043es", "neg"])
    with pytest.raises(UsageError, match=re.escape(r"has the label 'pos\u200b', which only looks like 'pos'")):
        labelled(tmp_path, ["pos", "neg"] * 2, ["pos\u200b", "neg"])
    capsys.readouterr()
    assert len(labelled(tmp_path, ["pos", "neg", "pos\u200b", "neg"])[0]) == 3
    assert r"the classes 'pos' and 'pos\u200b' look alike and are two" in capsys.readouterr().out


def test_classes_that_differ_in_case_alone_are_noticed(capsys, tmp_path):
    assert labelled(tmp_path, ["yes", "no", "No"] * 2)[0] == ("No", "no", "yes")
    assert "the classes 'No' and 'no' look alike and are two" in capsys.readouterr().out


def test_codes_keep_their_zeros_and_those_that_a_spreadsheet_took_are_noticed(capsys, tmp_path):
    assert labelled(tmp_path, ["01", "02"] * 2, ["02", "01"]) == (("01", "02"), [0, 1, 0, 1], [1, 0])
    with pytest.raises(UsageError, match="row 1 has the label '1', which only looks like '01'; expected"):
        labelled(tmp_path, ["01", "02"] * 2, ["1", "2"])
    assert labelled(tmp_path, ["01", "1", "2"] * 2)[0] == ("01", "1", "2")
    assert "the classes '01' and '1' look alike and are two" in capsys.readouterr().out
    # An adapter whose classes have no such zeros still takes them.
    assert labelled(tmp_path, None, ["01", "2"], saved_with("1", "2"))[1] == [0, 1]


@pytest.mark.parametrize(
    "notes, given, column",
    [
        ({"texts": ["a"], "label": "gold"}, {"text_columns": "gold"}, "gold"),
        ({"texts": ["a"], "label": "gold"}, {"label_column": "a"}, "a"),
        ({"texts": ["label"], "label": "gold"}, {}, "label"),
    ],
)
def test_a_label_is_no_text_of_an_adapter(tmp_path, notes, given, column):
    saved = {"problem_type": "single_label_classification", "num_labels": 2, "notes": notes}
    saved["id2label"] = {"0": "no", "1": "yes"}
    rows = [(f"a {i}", ("no", "yes")[i % 2], f"b {i}") for i in range(6)]
    path = str(write_rows(tmp_path / "rows.csv", rows, ("a", "gold", "label")))
    with pytest.raises(UsageError, match=f"--train_file .*: the column '{column}' is the label's.*--text_columns"):
        load_data(DataTrainingArguments(train_file=path, **given), {"train"}, saved)
    if column == "gold":  # no label is read
        data = load_data(DataTrainingArguments(test_file=path, **given), {"prediction"}, saved)
        assert data.prediction["predictions"]["gold"][:2] == ["no", "yes"]


def test_the_only_score_of_a_training_set_is_shown(tmp_path):
    with pytest.raises(UsageError, match=r"has the same score \(2\.5\) in every row; training needs a difference"):
        labelled(tmp_path, [2.5] * 3)
