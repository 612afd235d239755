"""The columns of texts and labels are given, kept by an adapter, or guessed and reported."""

import json
from unittest.mock import Mock

import pytest
from datasets import ClassLabel, Dataset, Value
from helpers import argv, pairs, refused, write_rows

from run_glue_tensorized import main
from tensorized_adapters import UsageError
from tensorized_adapters.data.arguments import DataTrainingArguments
from tensorized_adapters.data.encoding import tokenize
from tensorized_adapters.data.loading import load_data


def columns_of(tmp_path, header, rows=None, saved=None, **arguments):
    """Return the chosen text columns, and the labels."""
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
def test_a_guess_is_reported_and_takes_no_index(capsys, tmp_path, header, texts):
    assert columns_of(tmp_path, header)[0] == texts
    (line,) = capsys.readouterr().out.splitlines()
    named = " and ".join(map(repr, texts))
    assert f"train.csv: text from {named}, 2 classes (0, 1) from 'label'; --text_columns and --label_column" in line


def test_numbers_are_text_for_want_of_words(capsys, tmp_path):
    rows = [(i, f"words {i}", i % 2) for i in range(6)]
    assert columns_of(tmp_path, ("number", "text", "label"), rows)[0] == ("text",)
    assert "holds no words" not in capsys.readouterr().out
    assert columns_of(tmp_path, ("number", "label"), [(i, i % 2) for i in range(6)])[0] == ("number",)
    assert "'number' holds no words, but is read as text" in capsys.readouterr().out
    assert columns_of(tmp_path, ("number", "text", "label"), rows, text_columns="number")[0] == ("number",)
    assert not capsys.readouterr().out


def test_columns_that_are_reported(capsys, tmp_path):
    header = ("label", "a", "b", "gold")
    rows = [("x", f"a {i}", f"b {i}", ("no", "yes", "maybe")[i % 3]) for i in range(9)]
    named = {"text_columns": "b, a", "label_column": "gold"}
    assert columns_of(tmp_path, header, rows, **named) == (("b", "a"), [1, 2, 0] * 3)
    assert not [line for line in capsys.readouterr().out.splitlines() if "text from" in line]
    with pytest.raises(UsageError, match="has no column 'c'; it has label, a, b, gold; --text_columns"):
        columns_of(tmp_path, header, rows, text_columns="c")
    with pytest.raises(UsageError, match="has no column 'silver'; it has .*; --label_column"):
        columns_of(tmp_path, header, rows, text_columns="a", label_column="silver")


@pytest.mark.parametrize(
    "changes, message",
    [
        (
            {"text_columns": "a,b,b"},
            "--text_columns must be columns of different names, A or A,B or more, got 'a,b",
        ),
        ({"text_columns": "a,a"}, "--text_columns must be columns of different names"),
        ({"text_columns": ""}, "--text_columns is empty"),
        ({"text_column_names": "a,"}, "--text_columns must be columns of different names"),
        ({"label_column": " "}, "--label_column is empty; name a column or leave it out"),
        ({"text_columns": "a,label"}, "--text_columns a,label holds the label's column"),
        ({"text_columns": "a,b", "label_column": "b"}, "--text_columns a,b holds the label's column"),
        ({"text_columns": "sentence1", "task_name": "mrpc"}, "--text_columns excludes --task_name, whose columns are"),
        ({"label_column_name": "gold", "task_name": "mrpc"}, "--label_column excludes --task_name, whose columns are"),
        ({"text_column_delimiter": " ", "task_name": "mrpc"}, "--text_column_delimiter excludes --task_name"),
        ({"text_column_delimiter": ""}, "--text_column_delimiter is empty"),
        ({"do_regression": True, "task_name": "mrpc"}, "--do_regression excludes --task_name"),
        ({"train_split_name": "all"}, "--train_split_name names a split of --dataset_name; give both or neither"),
        ({"preprocessing_num_workers": 0}, "--preprocessing_num_workers must be above 0 and at most 256, got 0"),
    ],
)
def test_columns_that_cannot_be(capsys, flags, changes, message):
    error = refused(capsys, argv(flags, **{"task_name": None, **changes}), flags["output_dir"])
    assert message in error


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
    named = {"text_columns": "a,b", "label_column": "gold", "num_train_epochs": 1}
    assert main(argv(flags, **given, **named)) == 0
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


def test_scores_are_reported_also_beside_named_columns(capsys, tmp_path):
    rows = [(f"a {i}", float(i % 2)) for i in range(6)]
    for given, lines in (({}, 1), ({"do_regression": True}, 0)):
        columns_of(tmp_path, ("a", "label"), rows, text_columns="a", **given)
        noted = [line for line in capsys.readouterr().out.splitlines() if "the labels in 'label' are decimals" in line]
        assert len(noted) == lines and all(
            "are taken for scores; classes are written without a point" in x for x in noted
        )


def test_a_set_without_any_text_is_refused(tmp_path):
    with pytest.raises(
        UsageError, match=r"train.csv: every row has an empty 'a'; correct the file, or --text_columns"
    ):
        columns_of(tmp_path, ("a", "label"), [("  ", i % 2) for i in range(6)], text_columns="a")
    with pytest.raises(UsageError, match="every row has an empty 'a' and 'b'"):
        columns_of(tmp_path, ("a", "b", "label"), [("", " ", i % 2) for i in range(6)], text_columns="a,b")
    assert columns_of(tmp_path, ("a", "b", "label"), [("", "x", i % 2) for i in range(6)], text_columns="a,b")


def test_three_columns_are_joined_and_a_pair_on_demand(capsys, tmp_path):
    header, rows = ("a", "b", "c", "label"), [(f"x {i}", "" if i else "y", f"z {i}", i % 2) for i in range(6)]
    path = write_rows(tmp_path / "train.csv", rows, header)
    for given, columns, delimiter in (
        ({"text_columns": "c,a,b"}, "cab", " "),
        ({"text_columns": "a,b,c", "text_column_delimiter": " | "}, "abc", " | "),
        ({"text_columns": "a,b", "text_column_delimiter": "-"}, "ab", "-"),
        ({"text_column_delimiter": "-"}, "ab", "-"),
        ({"text_columns": "a"}, "a", None),
        ({"text_columns": "a,b"}, "ab", None),
    ):
        arguments = DataTrainingArguments(train_file=str(path), **given)
        data = load_data(arguments, {"train"})
        assert (data.task.texts, data.task.delimiter) == (tuple(columns), delimiter)
        assert data.task.inputs == (1 if delimiter is not None or len(columns) == 1 else 2)
        reported = f"{', '.join(columns)} are joined by {delimiter!r} to one text" in capsys.readouterr().out
        assert reported == (delimiter is not None)
        # As run_classification does: the first column, then each further one after the delimiter.
        tokenizer = Mock(return_value={"input_ids": [[1]] * 6})
        tokenize(data.train, data.task, tokenizer, arguments, 8)
        expected = [[dict(zip(header, row))[name] for name in columns] for row in rows]
        texts = list(zip(*expected)) if delimiter is None else [[delimiter.join(row) for row in expected]]
        assert list(tokenizer.call_args.args) == list(map(list, texts))


def test_a_delimiter_without_columns_to_join_is_refused(tmp_path):
    for given in ({"text_columns": "a"}, {}):  # the only column with words is guessed
        with pytest.raises(
            UsageError, match="--text_column_delimiter joins columns, and the text is 'a' alone; leave"
        ):
            columns_of(tmp_path, ("a", "label"), text_column_delimiter="-", **given)
    saved = {"problem_type": "regression", "notes": {"texts": ["a"]}}
    with pytest.raises(
        UsageError, match="'-' contradicts --adapter_path, which was trained with no delimiter; leave it out"
    ):
        columns_of(tmp_path, ("a", "label"), saved=saved, text_column_delimiter="-")


def test_a_name_with_a_comma_is_quoted(tmp_path):
    header, rows = ("a, b", "c", "label"), [(f"x {i}", f"y {i}", i % 2) for i in range(6)]
    assert columns_of(tmp_path, header, rows, text_columns='"a, b"')[0] == ("a, b",)
    assert columns_of(tmp_path, header, rows, text_columns='c, "a, b"')[0] == ("c", "a, b")
    assert DataTrainingArguments(text_columns='"say ""x"", y"').texts == ('say "x", y',)
    with pytest.raises(
        UsageError, match='cannot be read; a name with a comma stands in double quotes, as in .*"A, B"'
    ):
        DataTrainingArguments(text_columns='"a, b')


def test_names_are_compared_in_nfc(tmp_path):
    composed, apart = "text\u00e9", "texte\u0301"
    rows = [(f"x {i}", f"y {i}", i % 2) for i in range(6)]
    for present, given in ((composed, apart), (apart, composed)):
        assert columns_of(tmp_path, (present, "b", "label"), rows, text_columns=given) == ((given,), [0, 1] * 3)
        assert columns_of(tmp_path, ("a", "b", present), rows, label_column=given) == (("a", "b"), [0, 1] * 3)
        assert columns_of(tmp_path, (present, "b", "label"), rows, text_columns=f"b,{given}")[0] == ("b", given)
        saved = {"problem_type": "regression", "notes": {"texts": [given], "label": "label"}}
        assert columns_of(tmp_path, (present, "b", "label"), rows, saved=saved)[0] == (given,)
        path = write_rows(tmp_path / "both.csv", rows, (present, given, "label"))  # the exact name decides
        data = load_data(DataTrainingArguments(train_file=str(path), text_columns=given), {"train"})
        assert data.train[given][:2] == ["y 0", "y 1"]
    with pytest.raises(UsageError, match=r"no column 't\\u0435xt', which only looks like 'text'; it has text, b"):
        columns_of(tmp_path, ("text", "b", "label"), rows, text_columns="t\u0435xt")


def test_an_adapter_keeps_its_delimiter(tmp_path):
    saved = {"problem_type": "single_label_classification", "num_labels": 2, "id2label": {"0": "0", "1": "1"}}
    saved |= {"notes": {"texts": ["a", "b"], "label": "label", "text_column_delimiter": " / "}}
    path = write_rows(tmp_path / "train.csv", [(f"a {i}", f"b {i}", i % 2) for i in range(6)], ("a", "b", "label"))

    def columns(**given):
        return load_data(DataTrainingArguments(train_file=str(path), **given), {"train"}, saved).task

    for given in ({}, {"text_columns": "b,a"}, {"text_column_delimiter": " / "}):
        assert columns(**given).delimiter == " / "
    with pytest.raises(UsageError, match="delimiter '-' contradicts --adapter_path, .* trained with ' / '"):
        columns(text_column_delimiter="-")
    del saved["notes"]["text_column_delimiter"]
    with pytest.raises(UsageError, match="contradicts --adapter_path, which was trained with no delimiter"):
        columns(text_column_delimiter="-")


def test_scores_on_demand(tmp_path):
    def loaded(labels, **given):
        path = write_rows(tmp_path / "train.csv", [(f"a {i}", x) for i, x in enumerate(labels)], ("a", "label"))
        return load_data(DataTrainingArguments(train_file=str(path), do_regression=True), {"train"}, **given)

    data = loaded([1, 2, 5, 4])
    assert data.task.labels is None and data.train["label"][:] == [1.0, 2.0, 5.0, 4.0]
    with pytest.raises(UsageError, match="row 2 has the label 'two'; expected a number"):
        loaded([1, "two", 5])
    saved = {"problem_type": "single_label_classification", "num_labels": 1, "id2label": {"0": "yes"}, "notes": {}}
    with pytest.raises(UsageError, match="--do_regression contradicts --adapter_path, which has the classes yes"):
        loaded([1, 2], saved=saved)
    names = Dataset.from_dict({"a": ["x", "y", "z"], "label": [1, 0, 1]})
    for labels, message in ((["5", "4"], None), (["good", "bad"], "row 1 has the label 1; expected a number")):
        names.cast_column("label", ClassLabel(names=labels)).to_parquet(tmp_path / "train.parquet")
        arguments = DataTrainingArguments(dataset_name=str(tmp_path), do_regression=True)
        (tmp_path / "train.csv").unlink(missing_ok=True)
        if message is None:
            assert load_data(arguments, {"train"}).train["label"][:] == [4.0, 5.0, 4.0]
        else:
            with pytest.raises(UsageError, match=message):
                load_data(arguments, {"train"})
