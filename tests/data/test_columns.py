"""Which columns are text and which is the label: chosen, kept by an adapter, or guessed and told."""

import json

import pytest
from datasets import ClassLabel, Dataset, Value
from helpers import argv, pairs, refused, write_rows

from run_glue_tensorized import main
from tensorized_adapters import UsageError
from tensorized_adapters.data.arguments import DataTrainingArguments
from tensorized_adapters.data.loading import load_data


def columns_of(tmp_path, header, rows=None, saved=None, **arguments):
    """The text columns taken, and the labels."""
    rows = rows or [[f"{name or 'nothing'} {i}" if name != "label" else i % 2 for name in header] for i in range(6)]
    path = write_rows(tmp_path / "train.csv", rows, header)
    data = load_data(DataTrainingArguments(train_file=str(path), **arguments), {"train"}, saved)
    return data.task.texts, data.train["label"][:]


@pytest.mark.parametrize(
    "header, texts",
    [
        (["", "text", "label"], ("text",)),
        (["Unnamed: 0", "text", "label", "Unnamed: 0.1"], ("text",)),
        (["ID", "label", "one", "two", "three"], ("one", "two")),
        (["sentence2", "other", "label", "sentence1"], ("sentence1", "sentence2")),
        (["text", "label", "label_text"], ("text",)),
    ],
)
def test_a_guess_is_told_and_takes_no_index(capsys, tmp_path, header, texts):
    assert columns_of(tmp_path, header)[0] == texts
    (line,) = capsys.readouterr().out.splitlines()
    named = " and ".join(map(repr, texts))
    assert f"train.csv: text from {named}, 2 classes (0, 1) from 'label'; --text_columns and --label_column" in line


def test_numbers_are_text_for_want_of_words(capsys, tmp_path):
    rows = [(i, f"words {i}", i % 2) for i in range(6)]
    assert columns_of(tmp_path, ("number", "text", "label"), rows)[0] == ("text",)
    assert "holds no words" not in capsys.readouterr().out
    assert columns_of(tmp_path, ("number", "label"), [(i, i % 2) for i in range(6)])[0] == ("number",)
    assert "'number' holds no words and is read as text, for want of another" in capsys.readouterr().out
    assert columns_of(tmp_path, ("number", "text", "label"), rows, text_columns="number")[0] == ("number",)
    assert not capsys.readouterr().out


def test_columns_that_are_said(capsys, tmp_path):
    header = ("label", "a", "b", "gold")
    rows = [("x", f"a {i}", f"b {i}", ("no", "yes", "maybe")[i % 3]) for i in range(9)]
    said = {"text_columns": "b, a", "label_column": "gold"}
    assert columns_of(tmp_path, header, rows, **said) == (("b", "a"), [1, 2, 0] * 3)
    assert not [line for line in capsys.readouterr().out.splitlines() if "text from" in line]
    with pytest.raises(UsageError, match="has no column 'c'; it has label, a, b, gold; --text_columns"):
        columns_of(tmp_path, header, rows, text_columns="c")
    with pytest.raises(UsageError, match="has no column 'silver'; it has .*; --label_column"):
        columns_of(tmp_path, header, rows, text_columns="a", label_column="silver")


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"text_columns": "a,b,c"}, "--text_columns must be one or two columns, A or A,B, got 'a,b,c'"),
        ({"text_columns": "a,a"}, "--text_columns must be one or two columns"),
        ({"text_columns": ""}, "--text_columns is empty"),
        ({"text_columns": "a,"}, "--text_columns must be one or two columns"),
        ({"label_column": " "}, "--label_column is empty"),
        ({"text_columns": "a,label"}, "--text_columns a,label holds the label's column"),
        ({"text_columns": "a,b", "label_column": "b"}, "--text_columns a,b holds the label's column"),
        ({"text_columns": "sentence1", "task_name": "mrpc"}, "--text_columns excludes --task_name, whose columns are"),
        ({"label_column": "gold", "task_name": "mrpc"}, "--label_column excludes --task_name, whose columns are"),
    ],
)
def test_columns_that_cannot_be(capsys, flags, changes, message):
    error = refused(capsys, argv(flags, **{"task_name": None, **changes}), flags["output_dir"])
    assert message in error


@pytest.mark.parametrize(
    "column, message",
    [
        (Dataset.from_dict({"a": [[1], [2]]}), "'a' must hold one value a row, no lists or objects"),
        (Dataset.from_dict({"a": [b"x", b"y"]}), "'a' holds values of type binary, no text"),
    ],
)
def test_other_types_are_no_text(tmp_path, column, message):
    column.add_column("label", [0, 1]).to_parquet(tmp_path / "train.parquet")
    with pytest.raises(UsageError, match=message):
        load_data(DataTrainingArguments(dataset_name=str(tmp_path), text_columns="a"), {"train"})


def test_class_labels_of_a_data_set_keep_their_names(tmp_path):
    examples = Dataset.from_dict({"a": ["x", "y", "z"], "gold": [1, 0, 1]})
    examples.cast_column("gold", ClassLabel(names=["5", "4"])).to_parquet(tmp_path / "train.parquet")
    data = load_data(DataTrainingArguments(dataset_name=str(tmp_path), label_column="gold"), {"train"})
    assert data.task.labels == ("5", "4") and data.train["label"][:] == [1, 0, 1]
    assert data.train.features["label"] == Value("int64")


def test_an_adapter_keeps_its_columns(capsys, flags, tmp_path):
    rows = [(i, b, a, ("no", "yes")[label]) for a, b, label, i in pairs(24, 1)]
    files = {name: write_rows(tmp_path / f"{name}.csv", rows, ("", "b", "a", "gold")) for name in ("train", "other")}
    given = {"task_name": None, "train_file": files["train"], "validation_file": files["train"]}
    said = {"text_columns": "a,b", "label_column": "gold", "num_train_epochs": 1}
    assert main(argv(flags, **given, **said)) == 0
    adapter = flags["output_dir"] / "adapter"
    notes = json.loads((adapter / "adapter_config.json").read_text())["notes"]
    assert notes["texts"] == ["a", "b"] and notes["label"] == "gold"
    again = {"do_train": None, "adapter_path": adapter, "train_file": None, "adapter_projection_type": None}
    again |= {"tensorized_layer_rank": None, "adapter_size": None, "task_name": None}
    words = {"validation_file": files["other"], "output_dir": tmp_path / "again"}
    assert main(argv(flags, **again | words)) == 0
    results = [json.loads((out / "all_results.json").read_text()) for out in (flags["output_dir"], tmp_path / "again")]
    assert results[0]["eval_loss"] == results[1]["eval_loss"]
    assert "text from" not in capsys.readouterr().out
    error = refused(capsys, argv(flags, **again | words | {"text_columns": "a", "output_dir": tmp_path / "one"}))
    assert "--text_columns a contradicts --adapter_path, which was trained on 2: a, b" in error
    other = write_rows(tmp_path / "named.csv", [row[1:] for row in rows], ("second", "first", "answer"))
    words = {"validation_file": other, "text_columns": "first,second", "label_column": "answer"}
    assert main(argv(flags, **again | words, output_dir=tmp_path / "renamed")) == 0
    assert json.loads((tmp_path / "renamed" / "all_results.json").read_text())["eval_loss"] == results[0]["eval_loss"]


@pytest.mark.parametrize("notes", [{"texts": "news", "label": "stars"}, {"texts": 5}, {"texts": [1]}, {"label": "a"}])
def test_notes_of_other_makers_are_no_columns(capsys, tmp_path, notes):
    saved = {"problem_type": "regression", "notes": notes}
    assert columns_of(tmp_path, ("a", "label"), saved=saved) == (("a",), [0, 1] * 3)
    assert "text from 'a', scores from 'label'" in capsys.readouterr().out


def test_a_name_with_a_comma_is_quoted(tmp_path):
    header, rows = ("a, b", "c", "label"), [(f"x {i}", f"y {i}", i % 2) for i in range(6)]
    assert columns_of(tmp_path, header, rows, text_columns='"a, b"')[0] == ("a, b",)
    assert columns_of(tmp_path, header, rows, text_columns='c, "a, b"')[0] == ("c", "a, b")
    assert DataTrainingArguments(text_columns='"say ""x"", y"').texts == ('say "x", y',)
    with pytest.raises(UsageError, match="--text_columns must be .* a name with a comma stands in double quotes"):
        DataTrainingArguments(text_columns="a, b,c")
    with pytest.raises(
        UsageError, match='cannot be read; a name with a comma stands in double quotes, as in .*"A, B"'
    ):
        DataTrainingArguments(text_columns='"a, b')
