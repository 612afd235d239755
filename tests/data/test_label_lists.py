"""Lists of labels that are no names: a 0 or 1 for each label, and numbers that no class has."""

import json

import pytest
from datasets import ClassLabel, Dataset, Features, List, Value

from tensorized_adapters import UsageError
from tensorized_adapters.data.arguments import DataTrainingArguments
from tensorized_adapters.data.loading import load_data


def write_sets(path, sets):
    """The sets as lists in JSON lines, or joined in CSV."""
    rows = [(f"the cat {i}", labels) for i, labels in enumerate(sets)]
    lines = [json.dumps({"text": text, "label": labels}) for text, labels in rows]
    if path.suffix == ".csv":
        lines = ["text,label", *(f"{text},{';'.join(map(str, labels))}" for text, labels in rows)]
    path.write_text("\n".join(lines) + "\n")
    return path


def write_parquet(path, sets, feature):
    features = Features({"text": Value("string"), "label": feature})
    columns = {"text": [f"the cat {i}" for i in range(len(sets))], "label": sets}
    Dataset.from_dict(columns, features=features).to_parquet(path)
    return str(path.parent)


@pytest.mark.parametrize("saved", [False, True])
@pytest.mark.parametrize(
    "sets, shown",
    [
        ([[0, 1, 0], [1, 0, 0], [0, 0, 0]], "0, 1, 0"),
        ([[], [0.0, 1.0], [1.0, 1.0]], "0, 1"),
        ([[False, True], [True, False]], "false, true"),
        ([[0, 0, 0], [0, 0, 0]], "0, 0, 0"),
    ],
)
def test_a_0_or_1_for_each_label_is_no_set_of_names(tmp_path, sets, shown, saved):
    record = {"problem_type": "multi_label_classification", "num_labels": 4, "notes": {"label_separator": ";"}}
    record["id2label"] = dict(zip("0123", ("0", "1", "false", "true")))
    kind = {bool: "bool", int: "int64", float: "float32"}[type(sets[-1][0])]
    folder = {"dataset_name": write_parquet(tmp_path / "train.parquet", sets, List(Value(kind)))}
    table = {"train_file": str(write_sets(tmp_path / "a.csv", sets)), "label_separator": ";"}
    for given in (folder, {"train_file": str(write_sets(tmp_path / "a.jsonl", sets))}, table):
        with pytest.raises(UsageError, match="write the names of the labels that the text has") as error:
            load_data(DataTrainingArguments(**given), {"train"}, record if saved else None)
        row = 1 + sets.index(next(filter(None, sets)))
        assert given is table or f"row {row} has the labels {shown}, a 0 or 1 for each label" in str(error.value)


@pytest.mark.parametrize(
    "sets, feature, message",
    [
        ([[0], [-1], [1]], List(ClassLabel(names=["z", "y"])), "row 2 has the label -1; expected some of z, y"),
        ([[0], [1, None]], List(ClassLabel(names=["z", "y"])), "row 2 has an empty label in its list; correct it"),
        ([0, -1, 1], ClassLabel(names=["z", "y"]), "row 2 has the label -1; expected some of z, y"),
        ([["a"], ["b", None]], List(Value("string")), "row 2 has an empty label in its list; correct it"),
    ],
)
def test_numbers_of_classes_that_are_none(tmp_path, sets, feature, message):
    folder = write_parquet(tmp_path / "train.parquet", sets, feature)
    separator = None if isinstance(feature, List) else ";"
    with pytest.raises(UsageError, match=message):
        load_data(DataTrainingArguments(dataset_name=folder, label_separator=separator), {"train"})


def test_numbers_of_classes_are_no_0_or_1_for_each_label(tmp_path):
    names = ["toxic", "insult", "spam"]
    write_parquet(tmp_path / "train.parquet", [[0, 2], [1]], List(ClassLabel(names=names)))
    folder = write_parquet(tmp_path / "validation.parquet", [[0, 1], [1, 0], [0, 1]], List(ClassLabel(names=names)))
    data = load_data(DataTrainingArguments(dataset_name=folder), {"train", "evaluation"})
    assert data.task.labels == tuple(names) and data.evaluation[""]["label"][:] == [[1, 1, 0]] * 3
    write_parquet(tmp_path / "train.parquet", [[0, 1], [1, 0]], List(ClassLabel(names=["0", "1"])))
    with pytest.raises(UsageError, match="a 0 or 1 for each label"):
        load_data(DataTrainingArguments(dataset_name=folder), {"train"})


def test_names_that_are_0_and_1_stay_names(tmp_path):
    for sets in ([["0"], ["1"], []], [["0", "1"], ["0"]], [["0", "1"], [], ["0", "1"]], [["0"], ["1"]]):
        path = str(write_sets(tmp_path / "a.jsonl", sets))
        data = load_data(DataTrainingArguments(train_file=path), {"train"})
        assert data.task.labels == ("0", "1")
        assert data.train["label"][:] == [[float(name in names) for name in "01"] for names in sets]
