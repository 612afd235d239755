"""--validation_fraction: the same part of the training set in every run, with the shares of the classes."""

import gzip
import hashlib
import json
import shutil
from collections import Counter

import numpy as np
import pytest
from helpers import OWN, argv, glue_folder, pairs, refused, rewrite, write_rows
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


def test_what_cannot_be_stratified_is_drawn_and_reported(capsys, tmp_path):
    scores = written(tmp_path / "a.csv", [i / 7 for i in range(20)])
    data = load_data(DataTrainingArguments(train_file=scores, validation_fraction=0.25), BOTH)
    assert len(data.evaluation[""]) == 5 and "whatever their labels" in capsys.readouterr().out
    rare = written(tmp_path / "b.csv", ["x", *"yz" * 10])
    load_data(DataTrainingArguments(train_file=rare, validation_fraction=0.1), BOTH, seed=1)
    assert "not stratified, since some labels have too few examples" in capsys.readouterr().out


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


def test_an_adapter_is_evaluated_on_the_part_that_its_training_left_out(capsys, flags, tmp_path):
    out, given = flags["output_dir"], {"validation_file": None, "validation_fraction": 0.25, "num_train_epochs": 1}
    assert main(argv(flags, **given, seed=1)) == 0
    notes = json.loads((out / "adapter" / "adapter_config.json").read_text())["notes"]
    assert (notes["validation_fraction"], notes["seed"]) == (0.25, 1)
    saved = given | dict.fromkeys((*OWN, "do_train")) | {"adapter_path": out, "output_dir": tmp_path / "again"}
    copy = shutil.copy(flags["train_file"], tmp_path / "copy.csv")
    for changes in ({}, {"seed": 1, "validation_fraction": 0.5}, {"train_file": copy}, {"do_train": True}):
        error = refused(capsys, argv(flags, **saved | changes), tmp_path / "again")
        here = f"--validation_fraction {changes.get('validation_fraction', 0.25)} and --seed {changes.get('seed', 42)}"
        assert here in error and "was trained with --validation_fraction 0.25 and --seed 1; give the same" in error
    assert main(argv(flags, **saved, seed=1)) == 0
    assert (tmp_path / "again" / "eval_predictions.tsv").read_text() == (out / "eval_predictions.tsv").read_text()
    # Three runs are accepted: on other data in a file of this name, of another task, and with an adapter whose notes
    # do not say which rows its training left out.
    (tmp_path / "other").mkdir()
    other = write_rows(tmp_path / "other" / flags["train_file"].name, pairs(48, 9))
    assert main(argv(flags, **saved | {"train_file": other, "output_dir": tmp_path / "elsewhere"})) == 0
    changes = {"do_train": True, "new_head": True, "output_dir": tmp_path / "head"}
    assert main(argv(flags, **saved | changes)) == 0
    capsys.readouterr()
    rewrite(out / "adapter" / "adapter_config.json", {"notes": notes | {"validation_fraction": None}})
    assert main(argv(flags, **saved | {"output_dir": tmp_path / "older"})) == 0
    assert "note: --adapter_path does not say which rows its training left out" in capsys.readouterr().out


def test_rows_that_were_trained_on_are_not_held_out_of_a_changed_file(capsys, flags, tmp_path):
    train = tmp_path / "own.csv"
    shutil.copy(flags["train_file"], train)
    given = {"train_file": train, "validation_file": None, "validation_fraction": 0.25, "num_train_epochs": 1}
    assert main(argv(flags, **given)) == 0
    notes = json.loads((flags["output_dir"] / "adapter" / "adapter_config.json").read_text())["notes"]
    assert notes["train_sha256"] == hashlib.sha256(train.read_bytes()).hexdigest()
    saved = given | dict.fromkeys((*OWN, "do_train")) | {"adapter_path": flags["output_dir"]}
    # The same contents elsewhere are known again when the first file is gone, and so is a change.
    moved, renamed, again = tmp_path / "moved" / "own.csv", tmp_path / "renamed.csv", tmp_path / "again"
    moved.parent.mkdir()
    shutil.copy(train, moved)
    shutil.copy(train, renamed)
    with open(train, "a") as file:
        file.writelines(train.read_text().splitlines(keepends=True)[1:5])
    for changes in ({}, {"seed": 1}, {"do_train": True}):
        error = refused(capsys, argv(flags, **saved | {"output_dir": again} | changes), again)
        assert f"--train_file {train} has changed since --adapter_path was trained" in error
        assert "give --validation_file" in error
    assert main(argv(flags, **saved | {"train_file": moved, "output_dir": tmp_path / "b"})) == 0
    train.rename(moved)
    error = refused(capsys, argv(flags, **saved | {"train_file": moved, "output_dir": again}), again)
    assert f"--train_file {moved} has changed" in error
    error = refused(capsys, argv(flags, **saved | {"train_file": renamed, "output_dir": again, "seed": 1}), again)
    assert "give the same" in error
    # Notes of older adapters lack the checksum.
    del notes["train_sha256"]
    rewrite(flags["output_dir"] / "adapter" / "adapter_config.json", {"notes": notes})
    assert main(argv(flags, **saved | {"train_file": moved, "output_dir": tmp_path / "older"})) == 0


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
