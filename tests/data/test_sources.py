"""Folders are read as they are on disk now, and their files can be named without reading them."""

import json
import re
import shutil
from pathlib import Path

import datasets
import pyarrow.parquet as pq
import pytest
from datasets import Dataset
from helpers import argv, glue_folder, pairs, refused

from tensorized_adapters import UsageError
from tensorized_adapters.data.arguments import DataTrainingArguments
from tensorized_adapters.data.loading import load_data
from tensorized_adapters.data.sources import load_splits, used_files

EVERYTHING = {"train", "evaluation", "prediction"}
FORMATS = ("csv", "json", "parquet")
CARD = "---\nconfigs:\n- config_name: default\n  data_files:\n  - split: train\n    path: data/train.*\n---\n"


def table(count, seed):
    rows = pairs(count, seed)
    columns = {"first": [row[0] for row in rows], "second": [row[1] for row in rows]}
    return columns | {"label": [("no", "yes")[row[2]] for row in rows]}


def data_set(folder, kind, count, seed=1, card=True):
    """A folder with a training set, and whether a card names it."""
    (folder / "data").mkdir(parents=True, exist_ok=True)
    path = folder / "data" / f"train.{kind}"
    getattr(Dataset.from_dict(table(count, seed)), f"to_{kind}")(path)
    if card:
        (folder / "README.md").write_text(CARD)
    return folder


@pytest.mark.parametrize("card", [True, False])
@pytest.mark.parametrize("kind", FORMATS)
def test_a_folder_gives_what_lies_there_now(tmp_path, kind, card):
    def texts(folder):
        return load_data(DataTrainingArguments(dataset_name=str(folder)), {"train"}).train["first"][:]

    one, other = (data_set(tmp_path / name / "mine", kind, count, card=card) for name, count in (("a", 8), ("b", 12)))
    assert texts(one) == table(8, 1)["first"] and texts(other) == table(12, 1)["first"]
    files = set(Path(datasets.config.HF_DATASETS_CACHE).rglob("*"))
    assert texts(data_set(one, kind, 10, seed=7, card=card)) == table(10, 7)["first"]
    assert files == set(Path(datasets.config.HF_DATASETS_CACHE).rglob("*"))


def test_a_glue_folder_gives_what_lies_there_now(tmp_path):
    def loaded(folder, wanted=EVERYTHING):
        return load_data(DataTrainingArguments(task_name="rte", glue_path=str(folder)), wanted)

    one, other = (glue_folder(tmp_path / name / "glue", "rte", count) for name, count in (("a", 12), ("b", 20)))
    assert [len(loaded(folder).train) for folder in (one, other)] == [12, 20]
    shutil.copy(other / "rte" / "validation.csv", one / "rte")
    data = loaded(one)
    assert len(data.train) == 12 and len(data.evaluation[""]) == 20
    (one / "rte" / "test.csv").write_text("nothing that\nanybody,asked,for\n")
    assert loaded(one, {"train", "evaluation"}).train[:] == data.train[:]


@pytest.mark.parametrize("kind, sep", [("csv", ","), ("tsv", "\t")])
def test_a_folder_of_tables_is_read_as_files_are(tmp_path, kind, sep):
    texts = ["None", "NA", "", "007", "a b", "nan"]
    rows = [f"{text}{sep}{i % 2}" for i, text in enumerate(texts)]
    path = tmp_path / "mine" / f"train.{kind}"
    path.parent.mkdir()
    path.write_text("\n".join([f"text{sep}label", *rows]) + "\n")
    for arguments in ({"dataset_name": str(path.parent)}, {"train_file": str(path)}):
        data = load_data(DataTrainingArguments(**arguments), {"train"})
        assert data.train["text"][:] == texts and data.train["label"][:] == [0, 1] * 3
    # What a card says about the files holds.
    (path.parent / "README.md").write_text(
        f"---\nconfigs:\n- config_name: default\n  data_files: train.{kind}\n  sep: ';'\n---\n"
    )
    path.write_text("text;label\nto, fro\tand;1\nagain;0\n")
    data = load_data(DataTrainingArguments(dataset_name=str(path.parent)), {"train"})
    assert data.train["text"][:] == ["to, fro\tand", "again"]


@pytest.mark.parametrize("kind", ["jsonl", "json"])
def test_a_folder_of_json_is_read_as_files_are(tmp_path, kind):
    """Arrow's reader would make dates of these texts."""
    texts = ["2020-01-01", "2020-01-02 10:00:00", "10:30"]
    rows = [json.dumps({"text": text, "label": "ab"[i % 2]}) for i, text in enumerate(texts)]
    path = tmp_path / "mine" / f"train.{kind}"
    path.parent.mkdir()
    path.write_text("\n".join(rows) if kind == "jsonl" else f"[{','.join(rows)}]")
    for arguments in ({"dataset_name": str(path.parent)}, {"train_file": str(path)}):
        data = load_data(DataTrainingArguments(**arguments), {"train"})
        assert data.train["text"][:] == texts and data.train["label"][:] == [0, 1, 0]
    # What a card says about the files holds.
    card = f"---\nconfigs:\n- config_name: default\n  data_files: train.{kind}\n  field: rows\n---\n"
    (path.parent / "README.md").write_text(card)
    path.write_text('{"rows": [' + ",".join(rows[:1] * 2).replace("2020-01-01", "a b") + "]}")
    examples = load_splits(DataTrainingArguments(dataset_name=str(path.parent)), {"train"})[0]["train"]
    assert examples["text"][:] == ["a b"] * 2


@pytest.mark.parametrize("task", ["rte", "mnli"])
def test_the_used_files_are_those_that_are_read(tmp_path, task):
    arguments = DataTrainingArguments(task_name=task, glue_path=str(glue_folder(tmp_path / "glue", task)))
    named = used_files(arguments, EVERYTHING)
    assert list(named) == ["train", "evaluation", "prediction"]
    assert len(named["evaluation"]) == (2 if task == "mnli" else 1)
    assert len(named["prediction"]) == (3 if task == "mnli" else 1)
    for role, paths in named.items():
        for path in paths:
            content = path.read_text()
            path.write_text("".join(content.splitlines(keepends=True)[:5]))
            data = load_data(arguments, EVERYTHING)
            lengths = {"train": [len(data.train)], "evaluation": [*map(len, data.evaluation.values())]}
            lengths["prediction"] = [*map(len, data.prediction.values())]
            for other, found in lengths.items():
                index = paths.index(path) if other == role else None
                assert found == [4 if i == index else 12 for i in range(len(named[other]))]
            path.write_text(content)


def test_the_used_files_of_other_places(tmp_path, files):
    given = {f"{name}_file": str(path) for name, path in files.items()}
    expected = {"train": [files["train"]], "prediction": [files["test"]]}
    assert used_files(DataTrainingArguments(**given), {"train", "prediction"}) == expected
    assert used_files(DataTrainingArguments(task_name="mrpc"), {"train"}) == {"train": []}
    folder = data_set(tmp_path / "mine", "parquet", 8, card=False)
    assert used_files(DataTrainingArguments(dataset_name=str(folder)), {"train"}) == {
        "train": [folder / "data" / "train.parquet"]
    }
    with pytest.raises(UsageError, match="has no split 'validation'; it has train"):
        used_files(DataTrainingArguments(dataset_name=str(folder)), {"evaluation"})


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"task_name": "mrpc", "glue_path": ""}, "--glue_path is empty; give it a value or leave it out"),
        ({"dataset_name": ""}, "--dataset_name is empty"),
        ({"dataset_name": "./absent"}, "--dataset_name ./absent does not exist; name a data set's folder or hub id"),
        ({"dataset_name": "/absent/folder"}, "--dataset_name /absent/folder does not exist"),
        ({"dataset_name": "~absent_user/a"}, "--dataset_name ~absent_user/a does not exist"),
        ({"task_name": "mrpc", "glue_path": "no/such/folder"}, "--glue_path no/such/folder (mrpc) does not exist"),
        ({"dataset_name": "owner/absent"}, "--dataset_name owner/absent cannot be loaded: it is no folder here, and"),
        ({"dataset_name": "csv"}, "--dataset_name csv is a file format, no data set"),
    ],
)
def test_places_that_are_not_there(capsys, flags, changes, message):
    given = {"task_name": None, "train_file": None, "validation_file": None} | changes
    assert message in refused(capsys, argv(flags, **given), flags["output_dir"])


def test_a_card_that_counts_other_rows(tmp_path):
    folder = data_set(tmp_path / "mine", "parquet", 8)
    for claimed in (8, 9):
        splits = [f"  - name: {name}\n    num_bytes: 9\n    num_examples: {claimed}" for name in ("train", "test")]
        counts = "\n".join(["dataset_info:", "  splits:", *splits])
        (folder / "README.md").write_text(CARD.replace("---\nconfigs", f"---\n{counts}\nconfigs"))
        if claimed == 8:
            assert len(load_data(DataTrainingArguments(dataset_name=str(folder)), {"train"}).train) == 8
    with pytest.raises(UsageError, match="split train has 8 rows, its README.md says 9"):
        load_data(DataTrainingArguments(dataset_name=str(folder)), {"train"})


@pytest.mark.parametrize("damage", ["cut", "a byte that is no UTF-8", "no rows", "empty"])
@pytest.mark.parametrize("kind", FORMATS)
def test_a_damaged_file_of_a_folder(tmp_path, kind, damage):
    folder = data_set(tmp_path / "mine", kind, 8)
    path = folder / "data" / f"train.{kind}"
    if kind == "parquet":  # so that its texts stand in it as they are
        pq.write_table(pq.read_table(path), path, compression="none", use_dictionary=False)
    content, text = path.read_bytes(), table(8, 1)["first"][-1].encode()
    changed = {
        "cut": content[:-9] if kind != "csv" else content[:-9] + b'"',
        "a byte that is no UTF-8": content.replace(text, text[:-1] + b"\xff"),
        "no rows": content.splitlines(keepends=True)[0] if kind == "csv" else b"",
        "empty": b"",
    }
    assert changed[damage] != content
    path.write_bytes(changed[damage])
    with pytest.raises(UsageError, match="--dataset_name .*mine.*") as error:
        load_data(DataTrainingArguments(dataset_name=str(folder)), {"train"})
    assert not re.search("overwrite_cache|None|StopIteration", str(error.value))
