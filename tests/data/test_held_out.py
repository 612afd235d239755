"""--validation_fraction: the same part of the training set in every run, with the shares of the classes."""

import gzip
import json
from collections import Counter

import numpy as np
import pandas as pd
import pytest
from helpers import argv, glue_folder, refused, write_rows
from sklearn.model_selection import train_test_split

from run_glue_tensorized import main
from tensorized_adapters import UsageError
from tensorized_adapters.data.arguments import DataTrainingArguments
from tensorized_adapters.data.loading import load_data
from tensorized_adapters.data.sources import used_files

BOTH = {"train", "evaluation"}


def written(path, labels):
    return str(write_rows(path, [(f"text {i}", label) for i, label in enumerate(labels)], ("text", "label")))


def test_the_parts_are_scikit_learns_and_the_same_in_every_run(capsys, tmp_path):
    labels = ["xxxxyyz"[i % 7] for i in range(70)]
    arguments = DataTrainingArguments(train_file=written(tmp_path / "a.csv", labels), validation_fraction=0.2)
    data = load_data(arguments, BOTH, seed=3)
    _, held = train_test_split(np.arange(70), test_size=14, random_state=3, stratify=labels)
    held = sorted(held.tolist())
    assert data.evaluation[""]["text"][:] == [f"text {i}" for i in held]
    assert data.train["text"][:] == [f"text {i}" for i in range(70) if i not in held]
    assert Counter(data.evaluation[""]["label"]) == {0: 8, 1: 4, 2: 2}
    text = capsys.readouterr().out
    assert "14 of 70 training examples are the evaluation set and are not trained on" in text
    assert "drawn by --seed 3, stratified by label" in text
    # A run that only trains leaves the same part out, and one that only evaluates takes the same part.
    assert load_data(arguments, {"train"}, seed=3).train["text"][:] == data.train["text"][:]
    alone = load_data(arguments, {"evaluation"}, seed=3)
    assert alone.train is None and alone.evaluation[""][:] == data.evaluation[""][:]
    assert load_data(arguments, BOTH, seed=4).evaluation[""]["text"][:] != data.evaluation[""]["text"][:]
    assert list(used_files(arguments, {"evaluation"})) == ["train"]


def test_a_sample_of_the_part_is_drawn_in_the_order_of_the_rows(capsys, tmp_path):
    file = written(tmp_path / "a.csv", [*"x" * 40, *"y" * 40])
    complete = DataTrainingArguments(train_file=file, validation_fraction=0.25)
    cut = DataTrainingArguments(train_file=file, validation_fraction=0.25, max_eval_samples=10)
    held = load_data(complete, BOTH, seed=3).evaluation[""]["text"][:]
    capsys.readouterr()
    data = load_data(cut, BOTH, seed=3)
    texts = data.evaluation[""]["text"][:]
    assert len(texts) == 10 and texts == [text for text in held if text in texts]
    assert set(data.evaluation[""]["label"]) == {0, 1} and texts != held[:10]
    assert load_data(cut, {"evaluation"}, seed=3).evaluation[""]["text"][:] == texts
    note = "--validation_fraction 0.25: 10 of 20 evaluated examples, drawn by --seed 3 (--max_eval_samples)"
    assert capsys.readouterr().out.count(note) == 2


def test_what_cannot_be_stratified_is_drawn_and_reported(capsys, tmp_path):
    scores = written(tmp_path / "a.csv", [i / 7 for i in range(20)])
    data = load_data(DataTrainingArguments(train_file=scores, validation_fraction=0.25), BOTH)
    assert len(data.evaluation[""]) == 5 and "whatever their labels" in capsys.readouterr().out
    many = written(tmp_path / "b.csv", [f"name {i // 3}" for i in range(30)])
    load_data(DataTrainingArguments(train_file=many, validation_fraction=0.1), BOTH, seed=1)
    assert "not stratified, since some labels have too few examples" in capsys.readouterr().out


def test_a_class_with_one_example_is_trained_on_and_the_others_are_stratified(capsys, tmp_path):
    rare = written(tmp_path / "a.csv", ["x", *"yyyz" * 10, "w"])
    for seed in range(4):
        data = load_data(DataTrainingArguments(train_file=rare, validation_fraction=0.2), BOTH, seed=seed)
        assert data.task.labels == ("w", "x", "y", "z")
        assert Counter(data.evaluation[""]["label"]) == {2: 6, 3: 2} and len(data.train) == 34
        assert "stratified by label, without 2 whose labels the others lack" in capsys.readouterr().out


def test_labels_that_only_the_held_out_part_would_have_are_trained_on(capsys, tmp_path):
    rare = DataTrainingArguments(
        train_file=written(tmp_path / "a.csv", ["once", *"yz" * 10, "twice", "twice"]), validation_fraction=0.5
    )
    several = DataTrainingArguments(
        train_file=written(tmp_path / "b.csv", [f"a;r{i}" if i % 4 else "a;b" for i in range(24)]),
        validation_fraction=0.5,
        label_separator=";",
    )
    for seed in range(8):
        for arguments, count in ((rare, 23), (several, 24)):
            data = load_data(arguments, BOTH, seed=seed)
            assert len(data.train) + len(data.evaluation[""]) == count and len(data.evaluation[""]) > 0
            train, held = (np.array(examples["label"][:]) for examples in (data.train, data.evaluation[""]))
            if arguments is several:
                assert set(np.flatnonzero(held.any(axis=0))) <= set(np.flatnonzero(train.any(axis=0)))
            else:
                assert set(held) <= set(train)
    assert "without 1 whose labels the others lack" in capsys.readouterr().out
    every = written(tmp_path / "c.csv", [f"name {i}" for i in range(8)])
    with pytest.raises(UsageError, match="every drawn example has a label that the others lack"):
        load_data(DataTrainingArguments(train_file=every, validation_fraction=0.2), BOTH)


def test_a_part_of_a_glue_task(tmp_path):
    folder = glue_folder(tmp_path / "glue", "mnli")
    arguments = DataTrainingArguments(task_name="mnli", glue_path=str(folder), validation_fraction=0.25)
    data = load_data(arguments, BOTH)
    assert len(data.train) == 9 and {name: len(part) for name, part in data.evaluation.items()} == {"": 3}


def test_texts_that_are_trained_on_too_are_counted(capsys, tmp_path):
    files = {}
    for texts, note in ((4, "0.25: 8 of the 8 evaluated examples repeat texts of the training set; remove"), (32, "")):
        rows = [(f"text {i % texts}", "xy"[i % texts % 2]) for i in range(32)]
        files[texts] = str(write_rows(tmp_path / f"{texts}.csv", rows, ("text", "label")))
        load_data(DataTrainingArguments(train_file=files[texts], validation_fraction=0.25), BOTH)
        out = capsys.readouterr().out
        assert note in out and ("repeat" in out) == bool(note)
    options = {"train_file": files[32], "shuffle_train_dataset": False}
    for name, count in ((32, 5), (4, 32)):  # what is cut from the training set is not trained on
        found = f"note: --validation_file {files[name]}: {count} of the 32 evaluated examples repeat texts"
        load_data(DataTrainingArguments(**options, validation_file=files[name], max_train_samples=5), BOTH)
        assert found in capsys.readouterr().out
    file = str(write_rows(tmp_path / "sst2.csv", [("good", 1), ("bad", 0)], ("sentence", "label")))
    load_data(DataTrainingArguments(task_name="sst2", train_file=file, validation_file=file), BOTH)
    assert "2 of the 2 evaluated examples repeat texts" in capsys.readouterr().out


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"validation_fraction": 0}, "--validation_fraction must be between 0 and 1, got 0.0"),
        ({"validation_fraction": 1.5}, "--validation_fraction must be between 0 and 1, got 1.5"),
        ({"validation_fraction": 0.1, "validation_file": "x.csv"}, "and --validation_file exclude each other"),
        ({"validation_fraction": 0.001}, "of the 48 training examples leaves one part empty"),
        ({"validation_fraction": 0.1, "train_file": None, "test_file": "a.csv"}, "--do_train needs --train_file"),
    ],
)
def test_fractions_that_cannot_be(capsys, flags, changes, message):
    assert message in refused(capsys, argv(flags, **{"validation_file": None} | changes), flags["output_dir"])


def test_a_run_evaluates_the_part_of_a_compressed_file(capsys, flags, files, tmp_path):
    path = tmp_path / "train.csv.gz"
    path.write_bytes(gzip.compress(files["train"].read_bytes()))
    given = {"train_file": path, "validation_file": None, "validation_fraction": 0.25, "num_train_epochs": 1}
    assert main(argv(flags, **given, preprocessing_num_workers=2)) == 0
    results = json.loads((flags["output_dir"] / "all_results.json").read_text())
    assert results["train_samples"] == 36 and results["eval_samples"] == 12
    capsys.readouterr()
    assert main(argv(flags, **given)) == 0  # the number of workers makes no other run
    assert "training " not in capsys.readouterr().out


def test_gzip_files_are_read_as_others_are(tmp_path):
    rows = [("text", "label"), *((f"a {i}", "xy"[i % 2]) for i in range(6))]
    contents = {
        "csv": "".join(f"{a},{b}\n" for a, b in rows),
        "tsv": "".join(f"{a}\t{b}\n" for a, b in rows),
        "jsonl": "".join(json.dumps({"text": a, "label": b}) + "\n" for a, b in rows[1:]),
    }
    for ending, content in contents.items():
        folder = tmp_path / ending
        folder.mkdir()
        path = folder / f"train.{ending}.gz"
        path.write_bytes(gzip.compress(content.encode()))
        for given in ({"train_file": str(path)}, {"dataset_name": str(folder)}):
            data = load_data(DataTrainingArguments(**given), {"train"})
            assert data.train["text"][:] == [f"a {i}" for i in range(6)] and data.train["label"][:] == [0, 1] * 3
        path.write_bytes(path.read_bytes()[:-9])
        with pytest.raises(UsageError, match="gz cannot be decompressed: .*; compress it again with gzip"):
            load_data(DataTrainingArguments(train_file=str(path)), {"train"})


def test_splits_of_other_names(tmp_path):
    for name in ("learn", "check", "guess"):
        written(tmp_path / f"{name}.csv", "xy" * (len(name)))
    card = "".join(f"  - split: {name}\n    path: {name}.csv\n" for name in ("learn", "check", "guess"))
    (tmp_path / "README.md").write_text(f"---\nconfigs:\n- config_name: default\n  data_files:\n{card}---\n")
    names = {"train_split_name": "learn", "validation_split_name": "check", "test_split_name": "guess"}
    arguments = DataTrainingArguments(dataset_name=str(tmp_path), **names)
    every = {"train", "evaluation", "prediction"}
    data = load_data(arguments, every)
    assert len(data.train) == len(data.evaluation[""]) == len(data.prediction["predictions"]) == 10
    assert [paths[0].name for paths in used_files(arguments, every).values()] == [f"{x}.csv" for x in names.values()]
    with pytest.raises(UsageError, match="has no split 'train'; it has learn, check, guess; --train_split_name"):
        load_data(DataTrainingArguments(dataset_name=str(tmp_path)), {"train"})


TYPES = "dataset_info:\n  features:\n  - name: text\n    dtype: string\n  - name: label\n    dtype: string\n"


@pytest.mark.parametrize("readme", [None, "# Tickets\n", "---\nlicense: mit\n---\n", f"---\n{TYPES}---\n"])
@pytest.mark.parametrize("ending", [".csv", ".csv.gz", ".parquet"])
def test_splits_that_files_are_named_by(tmp_path, ending, readme):
    """Also beside a usual split of two files, whose hash covers what is read, and a README.md that names no files."""
    if readme:
        (tmp_path / "README.md").write_text(readme)
    (tmp_path / "tune.csv.bak").write_text("")
    for name, rows in (("train", 6), ("train-more", 4), ("tune", 4)):
        table = pd.DataFrame({"text": [f"{name} {i}" for i in range(rows)], "label": list("ab") * (rows // 2)})
        path = tmp_path / (name + ending)
        table.to_parquet(path) if ending == ".parquet" else table.to_csv(path, index=False)
    arguments = DataTrainingArguments(
        dataset_name=str(tmp_path), validation_split_name="tune", test_split_name="blind"
    )
    data = load_data(arguments, {"train", "evaluation"})
    assert len(data.train) == 10 and len(data.evaluation[""]) == 4
    files = used_files(arguments, {"train", "evaluation"}).values()
    assert [sorted(p.name for p in paths) for paths in files] == [
        ["train-more" + ending, "train" + ending],
        ["tune" + ending],
    ]
    with pytest.raises(UsageError, match="has no split 'blind'"):
        load_data(arguments, {"train", "evaluation", "prediction"})


@pytest.mark.parametrize("names", [["tune-00000-of-00002{}", "tune-00001-of-00002{}"], ["tune/a{}", "tune/b{}"]])
@pytest.mark.parametrize("ending", [".csv", ".csv.gz", ".parquet"])
def test_a_split_of_shards_or_of_a_folder_of_its_own(tmp_path, capsys, ending, names):
    (tmp_path / "tune").mkdir()
    (tmp_path / "tune" / "about.txt").write_text("")
    for name in ["blind-00000-of-00001{}", *names]:
        table = pd.DataFrame({"text": [f"{name} {i}" for i in range(4)], "label": list("abab")})
        path = tmp_path / name.format(ending)
        table.to_parquet(path) if ending == ".parquet" else table.to_csv(path, index=False)
    arguments = DataTrainingArguments(
        dataset_name=str(tmp_path), train_split_name="tune", validation_split_name="blind"
    )
    data = load_data(arguments, {"train", "evaluation"})
    assert data.train["text"][:] == [f"{name} {i}" for name in names for i in range(4)]
    assert len(data.evaluation[""]) == 4
    files = used_files(arguments, {"train", "evaluation"})
    assert [str(path.relative_to(tmp_path)) for path in files["train"]] == [name.format(ending) for name in names]
    assert ("2 files are joined: tune/a" in capsys.readouterr().out) == ("/" in names[0])
    for split in (".", "..", "tun"):
        arguments.train_split_name = split
        with pytest.raises(UsageError, match=f"has no split '{split}'"):
            load_data(arguments, {"train"})
    (tmp_path / f"tune{ending}").write_bytes(path.read_bytes())
    arguments.train_split_name = "tune"
    with pytest.raises(UsageError, match=f"which of tune{ending}, .* are the split 'tune'; move away"):
        load_data(arguments, {"train"})


@pytest.mark.parametrize(
    "names",
    [
        ["fit-00000-of-00001.csv", "fit-00000-of-00002.csv", "fit-00001-of-00002.csv"],
        ["fit/x.csv", "fit/x.csv.gz"],
        ["fit/train.csv", "fit/test.csv"],
        ["fit/x.csv", "fit/x.jsonl"],
        ["fit.csv", "fit.jsonl"],
    ],
)
def test_files_that_may_each_be_the_split_are_refused(tmp_path, names):
    (tmp_path / "fit").mkdir()
    for name in names:
        (tmp_path / name).write_text("text,label\na,b\n")
    with pytest.raises(UsageError, match="it is not clear which of .* are the split 'fit'"):
        used_files(DataTrainingArguments(dataset_name=str(tmp_path), train_split_name="fit"), {"train"})


@pytest.mark.parametrize("name", ["blind.csv", "blind/part[1].csv"])
def test_a_file_of_two_splits_is_refused(tmp_path, name):
    """`datasets` takes every file of another name for the training set."""
    (tmp_path / "blind").mkdir()
    for path, texts in (("data.csv", "xy" * 3), (name, "yx" * 3)):
        written(tmp_path / path, texts)
    arguments = DataTrainingArguments(dataset_name=str(tmp_path), validation_split_name="blind")
    with pytest.raises(UsageError, match="belongs to the splits train and blind; --train_split_name"):
        used_files(arguments, {"train", "evaluation"})
    arguments.train_split_name = "data"
    data = load_data(arguments, {"train", "evaluation"})
    assert len(data.train) == len(data.evaluation[""]) == 6


def test_shards_that_are_missing_are_noticed(tmp_path, capsys):
    written(tmp_path / "train-00001-of-00003.csv", "xyxy")
    load_data(DataTrainingArguments(dataset_name=str(tmp_path)), {"train"})
    assert "1 of the 3 shards of train.csv are there; the others are missing" in capsys.readouterr().out
