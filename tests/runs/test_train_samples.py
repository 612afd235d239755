"""--max_train_samples draws its examples by the seed, and the record says so."""

import pytest
from helpers import argv, pairs, record_of, refused, tensors_of, write_rows

from run_glue_tensorized import main
from tensorized_adapters.data.arguments import DataTrainingArguments
from tensorized_adapters.data.loading import load_data

HEADER = ("sentence1", "sentence2", "label", "idx")


@pytest.fixture
def by_label(tmp_path):
    """A training file that is sorted by label."""
    rows = sorted(pairs(48, 1), key=lambda row: row[2])
    return write_rows(tmp_path / "sorted.csv", [(*row[:3], i) for i, row in enumerate(rows)], HEADER)


def drawn(file, seed=1, **changes):
    arguments = DataTrainingArguments(task_name="mrpc", train_file=str(file), **changes)
    return [int(row) for row in load_data(arguments, {"train"}, seed=seed).train["idx"]]


def test_a_sample_of_a_sorted_file_has_every_class(by_label):
    sample = drawn(by_label, max_train_samples=16)
    assert len(set(sample)) == 16 and min(sample) < 24 <= max(sample)
    assert drawn(by_label, max_train_samples=16) == sample != drawn(by_label, seed=2, max_train_samples=16)
    assert drawn(by_label, max_train_samples=8) == sample[:8]  # a smaller sample is a part of a larger one


def test_the_order_of_the_file_is_kept_where_nothing_asks_for_another(by_label):
    assert drawn(by_label) == list(range(48))
    changes = {"max_train_samples": 32, "shuffle_train_dataset": False}
    assert drawn(by_label, **changes) == list(range(32))
    assert sorted(found := drawn(by_label, shuffle_train_dataset=True)) == list(range(48)) != found


def test_runs_say_it_and_tell_the_two_kinds_apart(flags, by_label, tmp_path, capsys):
    flags |= {"train_file": by_label, "max_train_samples": 32, "num_train_epochs": 1}
    assert main(argv(flags)) == 0
    assert "note: 32 of 48 training examples, drawn by --seed 42; --shuffle_train" in capsys.readouterr().out
    assert record_of(flags["output_dir"])["arguments"]["shuffle_train_dataset"] is True
    assert main(argv(flags)) == 0 and "holds this run, finished" in capsys.readouterr().out
    assert "--shuffle_train_dataset" in refused(capsys, argv(flags, shuffle_train_dataset=False), flags["output_dir"])
    alone = [*argv(flags, max_train_samples=None, output_dir=tmp_path / "alone"), "--shuffle_train_dataset"]
    assert main(alone) == 0 and "the training set is shuffled by --seed 42" in capsys.readouterr().out
    assert record_of(tmp_path / "alone")["arguments"]["shuffle_train_dataset"] is True


def test_a_resumed_run_draws_the_same_examples(flags, by_label, tmp_path):
    flags |= {"train_file": by_label, "max_train_samples": 32}
    assert main(argv(flags)) == 0
    again = {"output_dir": tmp_path / "again", "resume_from_checkpoint": flags["output_dir"] / "checkpoint-4"}
    assert main(argv(flags, **again)) == 0
    ours, theirs = tensors_of(flags["output_dir"]), tensors_of(tmp_path / "again")
    assert all((ours[name] == theirs[name]).all() for name in ours)
