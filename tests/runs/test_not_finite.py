"""A run never finishes with a number that is not finite."""

import functools

import pytest
import torch
from helpers import argv, pairs, record_of, write_rows
from transformers import BertForSequenceClassification

from run_glue_tensorized import main

OWN = ("adapter_projection_type", "tensorized_layer_rank", "adapter_size", "num_train_epochs")


def failed(capsys, words, out) -> str:
    """Run, and return the one line; nothing in the folder says that the run has finished."""
    capsys.readouterr()
    assert main(words) == 1
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("failed: ") and "NaN or infinit" in error
    assert record_of(out)["status"] == "failed" and record_of(out)["reason"] in error
    assert not (out / "all_results.json").exists()
    return error


def spoil_outputs(monkeypatch, rows, spoil):
    """Let ``spoil`` change what a BERT gives in evaluation for batches of ``rows`` examples."""
    forward = BertForSequenceClassification.forward

    @functools.wraps(forward)  # Trainer reads the signature
    def spoiling(self, *args, **kwargs):
        output = forward(self, *args, **kwargs)
        if not self.training and len(output.logits) == rows:
            spoil(output)
        return output

    monkeypatch.setattr(BertForSequenceClassification, "forward", spoiling)


@pytest.mark.parametrize(
    "when", [{"eval_strategy": "epoch"}, {"eval_strategy": "no"}, {"do_eval": None, "validation_file": None}]
)
def test_a_rate_that_is_far_too_high(capsys, flags, when):
    """The loss of the only step was finite."""
    error = failed(capsys, argv(flags, learning_rate=1e20, max_steps=1, warmup_steps=0, **when), flags["output_dir"])
    assert "try a lower --learning_rate" in error
    assert ("on the training set" in error) == (when.get("eval_strategy") != "epoch")
    assert not (flags["output_dir"] / "adapter").exists()


@pytest.mark.parametrize(
    "spoiled, what", [(16, "evaluating"), (48, "measuring on the training set"), (12, "predicting")]
)
def test_outputs_that_are_not_finite(capsys, flags, files, monkeypatch, spoiled, what):
    """One example has such outputs, of 16 in the validation set, 48 in the training set, or 12 unlabelled ones in the
    test set."""

    def spoil(output):
        output.logits[3, 0] = float("nan")

    spoil_outputs(monkeypatch, spoiled, spoil)
    changes = {"num_train_epochs": 1, "do_predict": True, "test_file": files["test"]}
    error = failed(capsys, argv(flags, **changes), flags["output_dir"])
    assert f"an output of the model is NaN or infinite while {what};" in error
    assert not (flags["output_dir"] / "MRPC.tsv").exists()


def test_an_infinite_loss_of_finite_outputs(capsys, flags, tmp_path, monkeypatch):
    """The squares of the scores overflow, but both correlations are numbers."""
    data = write_rows(tmp_path / "scores.csv", [(a, b, 0.25 * (i % 20), i) for a, b, _, i in pairs(16, 4)])

    def spoil(output):
        output.loss = output.loss * torch.tensor(float("inf"))

    spoil_outputs(monkeypatch, 16, spoil)
    changes = {"task_name": "stsb", "train_file": data, "validation_file": data, "num_train_epochs": 1}
    error = failed(capsys, argv(flags, **changes), flags["output_dir"])
    assert "eval_loss is NaN or infinite while evaluating;" in error


def test_a_saved_adapter_that_gives_no_numbers(capsys, flags, tmp_path, monkeypatch):
    """The message advises no lower learning rate."""
    assert main(argv(flags, num_train_epochs=1)) == 0
    spoil_outputs(monkeypatch, 16, lambda output: output.logits.fill_(float("inf")))
    again = dict.fromkeys(OWN) | {"do_train": None, "train_file": None, "output_dir": tmp_path / "again"}
    words = argv(flags, adapter_path=flags["output_dir"] / "adapter", **again)
    assert "cannot be used as it is" in failed(capsys, words, tmp_path / "again")
