"""Texts that a saved adapter was trained on are not held out to measure it, in whatever file they are found again."""

import gzip
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from datasets import Dataset
from helpers import OWN, argv, pairs, refused, rewrite, write_rows

from run_glue_tensorized import main
from tensorized_adapters import UsageError
from tensorized_adapters.data.arguments import DataTrainingArguments
from tensorized_adapters.data.loading import load_data
from tensorized_adapters.data.trained_texts import SAMPLE, check_held_out, sample_of

HELD_OUT = {"validation_file": None, "validation_fraction": 0.25, "num_train_epochs": 1}


def rows(*numbers):
    return Dataset.from_dict({"text": [f"text {number}" for number in numbers]})


def notes_of(adapter):
    return json.loads((adapter / "adapter" / "adapter_config.json").read_text())["notes"]


def test_an_adapter_is_evaluated_on_the_part_that_its_training_left_out(capsys, flags, tmp_path):
    out = flags["output_dir"]
    assert main(argv(flags, **HELD_OUT, seed=1)) == 0
    notes = notes_of(out)
    assert (notes["validation_fraction"], notes["seed"]) == (0.25, 1)
    assert notes["trained_texts"] not in (out / "adapter" / "README.md").read_text()
    saved = HELD_OUT | dict.fromkeys((*OWN, "do_train")) | {"adapter_path": out, "output_dir": tmp_path / "again"}
    copy = Path(shutil.copy(flags["train_file"], tmp_path / "copy.csv"))
    compressed = tmp_path / "other_name.csv.gz"
    compressed.write_bytes(gzip.compress(flags["train_file"].read_bytes()))
    changed = shutil.copy(copy, tmp_path / "changed.csv")
    with open(changed, "a") as file:
        file.writelines(copy.read_text().splitlines(keepends=True)[1:5])
    for changes in (
        {},
        {"seed": 1, "validation_fraction": 0.5},
        {"train_file": copy},
        {"train_file": compressed},
        {"train_file": changed, "seed": 1},
        {"do_train": True},
    ):
        error = refused(capsys, argv(flags, **saved | changes), tmp_path / "again")
        assert "--validation_fraction holds out texts that --adapter_path was trained on" in error
        assert "It was trained with --validation_fraction 0.25 and --seed 1; give the same with the same data" in error
    for name, train in (("same", flags["train_file"]), ("elsewhere", compressed)):
        assert main(argv(flags, **saved | {"train_file": train, "output_dir": tmp_path / name, "seed": 1})) == 0
        assert (tmp_path / name / "eval_predictions.tsv").read_text() == (out / "eval_predictions.tsv").read_text()
    # These are accepted: other data in a file of this name, a new head, and an adapter that does not say its texts.
    (tmp_path / "other").mkdir()
    other = write_rows(tmp_path / "other" / flags["train_file"].name, pairs(48, 9))
    assert main(argv(flags, **saved | {"train_file": other, "output_dir": tmp_path / "others"})) == 0
    capsys.readouterr()
    assert main(argv(flags, **saved | {"do_train": True, "new_head": True, "output_dir": tmp_path / "head"})) == 0
    assert "note: --validation_fraction holds out texts that --adapter_path was trained" in capsys.readouterr().out
    for unknown in (None, "no base64", 7):
        capsys.readouterr()
        rewrite(out / "adapter" / "adapter_config.json", {"notes": notes | {"trained_texts": unknown}})
        assert main(argv(flags, **saved | {"output_dir": tmp_path / f"from_python_{unknown}"})) == 0
        assert "note: --adapter_path does not say which texts it was trained on" in capsys.readouterr().out


def test_texts_of_all_trainings_are_known(capsys, flags, tmp_path):
    """The first adapter's training held nothing out. The second goes on from it with other texts."""
    first, second, other = tmp_path / "first", tmp_path / "second", write_rows(tmp_path / "other.csv", pairs(48, 9))
    assert main(argv(flags, output_dir=first, num_train_epochs=1)) == 0
    further = dict.fromkeys(OWN) | {"adapter_path": first, "output_dir": second, "num_train_epochs": 1}
    assert main(argv(flags, **further, train_file=other)) == 0
    saved = HELD_OUT | dict.fromkeys((*OWN, "do_train")) | {"adapter_path": second}
    for train in (flags["train_file"], other):
        error = refused(capsys, argv(flags, **saved, train_file=train), flags["output_dir"])
        assert "It was trained without --validation_fraction; give --validation_file" in error


def test_another_label_column_draws_another_part(tmp_path):
    """The parts are stratified by the labels. Its adapter knows the texts, whose file and seed are the same."""
    table = [(f"text {i}", "xy"[i % 2], "abcd"[i % 7 % 4]) for i in range(100)]
    file = str(write_rows(tmp_path / "a.csv", table, ("text", "l1", "l2")))

    def load(label, saved=None):
        given = {"train_file": file, "text_columns": "text", "label_column": label, "validation_fraction": 0.2}
        return load_data(DataTrainingArguments(**given), {"train", "evaluation"}, saved)

    names = {"problem_type": "single_label_classification", "num_labels": 4, "labels": list("abcd")}
    notes = {"texts": ["text"], "label": "l1", "trained_texts": sample_of(load("l1").train, ("text",))}
    with pytest.raises(UsageError, match="holds out texts that --adapter_path was trained on, .* of the 20 "):
        load("l2", names | {"notes": notes, "id2label": {str(i): name for i, name in enumerate("abcd")}})


def test_a_large_set_is_known_by_a_sample(capsys):
    numbers = np.random.default_rng(0).permutation(10_000)
    notes = {"trained_texts": sample_of(rows(*numbers[1000:]), ("text",)), "validation_fraction": 0.1, "seed": 1}
    check_held_out(rows(*numbers[:1000]), rows(*numbers[1000:]), ("text",), notes)
    assert capsys.readouterr().out == "" and len(notes["trained_texts"]) == 4 * -(-SAMPLE * 8 // 3)
    with pytest.raises(UsageError, match="was trained on, (5.|6.) of the (5.|6.) that can be compared"):
        check_held_out(rows(*numbers[-1000:]), rows(*numbers[:-1000]), ("text",), notes)
    again = sample_of(rows(*numbers[:1000]), ("text",), notes["trained_texts"])
    assert again == sample_of(rows(*numbers), ("text",))


def test_texts_that_are_common_to_several_sets_are_a_note(capsys):
    notes = {"trained_texts": sample_of(rows(*range(50)), ("text",))}
    check_held_out(rows(1, *range(100, 130)), rows(2, 3), ("text",), notes)
    assert "note: --validation_fraction holds out texts that --adapter_path was trained on, 1 of the 31 " in (
        capsys.readouterr().out
    )
    check_held_out(rows(1, 100), rows(1, 2), ("text",), notes)  # a text that this run trains on too
    assert capsys.readouterr().out == ""
