"""--measure_contribution: the adapters' contribution equals numbers that are computed in another way."""

import csv
from types import SimpleNamespace

import pytest
import torch
from datasets import Dataset
from helpers import (
    OWN,
    argv,
    assert_equal_runs,
    kill_9_after_checkpoint,
    pairs,
    record_of,
    refused,
    save_base,
    tiny_config,
    tiny_model,
    trained_a_little,
    write_rows,
)
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from run_glue_tensorized import main
from tensorized_adapters import AdapterConfig, RunFailed, add_adapters, load_adapter, updates_off
from tensorized_adapters.adaptation.parameters import trained_parameters
from tensorized_adapters.data.tasks import TASKS
from tensorized_adapters.runs.contribution import contribution, share_of


@pytest.fixture
def falling(flags, tmp_path):
    """Most labels are equal and the head starts without a prior, so that the loss falls."""
    file = write_rows(tmp_path / "uneven.csv", [row for row in pairs(48, 1) if row[2] or row[3] % 8 == 0])
    changes = {"train_file": file, "head_start": "random", "learning_rate": 1e-2, "num_train_epochs": 3}
    return flags | changes | {"measure_contribution": True}


def contribution_of(folder):
    return record_of(folder)["contribution"]


def loss_without_updates(base, adapter, file):
    model, tokenizer = AutoModelForSequenceClassification.from_pretrained(base), AutoTokenizer.from_pretrained(base)
    load_adapter(model, adapter).eval()
    with open(file) as opened:
        rows = list(csv.DictReader(opened))
    inputs = tokenizer(*([row[f"sentence{i}"] for row in rows] for i in (1, 2)), padding=True, return_tensors="pt")
    with torch.no_grad(), updates_off(model):
        return model(**inputs, labels=torch.tensor([int(row["label"]) for row in rows])).loss.item()


def test_losses_and_scores_are_those_of_start_and_end_with_and_without_updates(falling, base, capsys, tmp_path):
    out = falling["output_dir"]
    assert main(argv(falling, eval_on_start=True)) == 0
    assert "adapters' share of the decrease of the training loss" in capsys.readouterr().out
    record, measured = record_of(out), contribution_of(out)
    metrics, start = record["metrics"], record["history"][0]
    assert (start["step"], start["eval_loss"], start["eval_f1"]) == (
        0,
        measured["eval"]["loss"]["initial"],
        measured["eval"]["metric"]["initial"],
    )
    assert measured["eval"]["loss"]["trained"] == metrics["eval_loss"]
    assert measured["eval"]["metric"]["trained"] == metrics["eval_f1"]
    assert measured["train"]["metric"]["trained"] == metrics["train_f1"]
    for of, file in (("train", "train_file"), ("eval", "validation_file")):
        expected = loss_without_updates(base, out / "adapter", falling[file])
        assert measured[of]["loss"]["without_adapters"] == pytest.approx(expected, rel=1e-5)
    losses = measured["train"]["loss"]
    fall = losses["initial"] - losses["trained"]
    assert fall > 0 and losses["without_adapters"] != losses["trained"]
    assert measured["share"] == (losses["without_adapters"] - losses["trained"]) / fall
    words = argv(
        falling, **dict.fromkeys((*OWN, "head_start")), adapter_path=out / "adapter", output_dir=tmp_path / "further"
    )
    error = refused(capsys, words, tmp_path / "further")
    assert "--measure_contribution and --adapter_path exclude each other: the measurement" in error


@pytest.mark.parametrize("evaluated", [True, False])
def test_killed_and_resumed_it_measures_the_same_start(flags, tmp_path, evaluated):
    """The run is killed after its last step. The resumed run trains nothing and measures the start once more, on the
    sample of the training metrics. The metrics that it reports must be those of the trained model."""
    flags |= {"measure_contribution": True, "max_train_metric_samples": 20}
    flags |= {} if evaluated else {"do_eval": None, "validation_file": None}
    complete, killed = tmp_path / "complete", tmp_path / "killed"
    assert main(argv(flags, output_dir=complete)) == 0
    kill_9_after_checkpoint(argv(flags, output_dir=killed), 2)
    assert main(argv(flags, output_dir=killed)) == 0
    assert record_of(killed)["resumed_from"]
    assert_equal_runs(complete, killed)
    assert contribution_of(killed) == contribution_of(complete)
    assert contribution_of(complete).keys() == {"share", "train"} | ({"eval"} if evaluated else set())


def test_a_measurement_that_fails_leaves_the_trained_model():
    """The first two predictions measure the trained model, the third one the untrained."""
    model = trained_a_little(add_adapters(tiny_model(), AdapterConfig(adapter_projection_type="cp")))
    trained = {name: values.detach().clone() for name, values in trained_parameters(model).items()}
    untrained = {name: torch.zeros_like(values) for name, values in trained.items()}
    counted = iter(range(3))

    def predict(rows, metric_key_prefix):
        if next(counted) == 2:
            raise RunFailed("out of memory")
        return SimpleNamespace(metrics={"train_loss": 0.5})

    trainer = SimpleNamespace(
        model=model, train_dataset=Dataset.from_dict({"length": [3]}), eval_dataset=None, predict=predict
    )
    trainer.args = SimpleNamespace(seed=1)
    with pytest.raises(RunFailed):
        contribution(trainer, TASKS["mrpc"], 10, untrained)
    assert all(torch.equal(values, trained[name]) for name, values in trained_parameters(model).items())


def test_a_finished_run_without_it_stays_as_it_is(flags, capsys):
    assert main(argv(flags, num_train_epochs=1)) == 0
    before = (flags["output_dir"] / "run.json").read_bytes()
    assert main(argv(flags, num_train_epochs=1, measure_contribution=True)) == 0
    assert "note: it was trained without --measure_contribution; --overwrite" in capsys.readouterr().out
    assert (flags["output_dir"] / "run.json").read_bytes() == before


def test_with_a_cached_prefix_it_is_the_same(falling, tmp_path):
    still = tiny_config(hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
    falling |= {"model_name_or_path": save_base(tmp_path / "base", config=still), "adapter_layers": "1"}
    cached = {"cache_frozen_prefix": True, "prefix_cache_dir": tmp_path / "cache"}
    assert main(argv(falling, output_dir=tmp_path / "plain")) == 0
    assert main(argv(falling, output_dir=tmp_path / "cached", **cached)) == 0
    plain, measured = contribution_of(tmp_path / "plain"), contribution_of(tmp_path / "cached")
    for of in ("train", "eval"):
        assert measured[of]["loss"] == pytest.approx(plain[of]["loss"], rel=1e-4)
    assert measured["share"] == pytest.approx(plain["share"], rel=1e-2)


@pytest.mark.parametrize(
    ("losses", "share"),
    [((1.0, 0.5, 0.9), 0.8), ((1.0, 0.5, 1.5), 2.0), ((1.0, 1.0, 1.5), None), ((1.0, 1.2, 0.5), None)],
)
def test_the_share_is_of_a_fall_and_none_without_one(losses, share):
    assert share_of(*losses) == (None if share is None else pytest.approx(share))
