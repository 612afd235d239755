"""Labels: names, numbers, scores, and what is neither."""

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
        ([[0], [1], [1]], "the column 'label' must hold one value a row"),
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
    "labels, said",
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
def test_what_labels_are_taken_for_is_said(capsys, tmp_path, labels, said):
    rows = [(f"text {i}", labels[i % len(labels)]) for i in range(60)]
    load_data(
        DataTrainingArguments(train_file=str(write_rows(tmp_path / "t.csv", rows, ("text", "label")))), {"train"}
    )
    lines = [line for line in capsys.readouterr().out.splitlines() if "taken for" in line]
    assert len(lines) == (said is not None) and (not said or said in lines[0])


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
