"""The main job through its public interface: what it writes, measures and refuses."""

import csv
import json
import os
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import WORDS, argv, pairs, record_of, tensors_of, write_rows
from scipy.stats import pearsonr, spearmanr
from sklearn.metrics import accuracy_score, f1_score
from transformers import BertTokenizerFast, Trainer

from run_glue_tensorized import main
from tensorized_adapters.data.tasks import TASKS
from tensorized_adapters.training.trainer import AdapterTrainer

OWN = ("adapter_projection_type", "tensorized_layer_rank", "adapter_size")
SCRIPT = Path(__file__).parent.parent.parent / "run_glue_tensorized.py"


@pytest.mark.parametrize("kind", ["cp", "tucker", "tt", "tr", "matrix"])
@pytest.mark.parametrize("if_adapter_like", [True, False])
def test_every_format_and_mode_runs(flags, kind, if_adapter_like):
    changes = {"adapter_projection_type": kind, "if_adapter_like": if_adapter_like, "num_train_epochs": 1}
    assert main(argv(flags, **changes)) == 0
    record = record_of(flags["output_dir"])
    assert record["status"] == "finished"
    assert record["parameters"]["adapters"] > 0
    assert len(record["step_losses"]) == 6


@pytest.mark.parametrize("method", ["layer_norm", "head"])
def test_controls_run(flags, method):
    changes = {"adapter_projection_type": None, "tensorized_layer_rank": None, "adapter_size": None, "method": method}
    assert main(argv(flags, num_train_epochs=1, **changes)) == 0
    counts = record_of(flags["output_dir"])["parameters"]
    assert counts["adapters"] == 0 and (counts["layer_norm"] > 0) == (method == "layer_norm")


def test_metrics_are_those_of_the_written_predictions(capsys, flags, files):
    out = flags["output_dir"]
    assert main(argv(flags, do_predict=True, test_file=files["test"])) == 0
    *_, evaluated, submitted, record = capsys.readouterr().out.splitlines()
    assert (evaluated, submitted) == (f"predictions: {out}/eval_predictions.tsv", f"predictions: {out}/MRPC.tsv")
    assert record == f"record: {out}/run.json"
    results = json.loads((out / "all_results.json").read_text())
    rows = np.loadtxt(out / "eval_predictions.tsv", skiprows=1, dtype=int, usecols=(0, 1, 2))
    named = list(csv.DictReader((out / "eval_predictions.tsv").open(), delimiter="\t"))
    names = TASKS["mrpc"].labels
    assert [(row["label_name"], row["predicted_name"]) for row in named] == [(names[a], names[b]) for _, a, b in rows]
    assert all(0.5 <= float(row["probability"]) <= 1 for row in named)  # of the likelier one of two
    assert rows[:, 1].tolist() == [label for *_, label, _ in pairs(16, 2)]  # file order
    assert results["eval_accuracy"] == accuracy_score(rows[:, 1], rows[:, 2])
    assert results["eval_f1"] == f1_score(rows[:, 1], rows[:, 2])
    assert results["train_loss"] == pytest.approx(np.mean(record_of(out)["step_losses"]))
    submission = (out / "MRPC.tsv").read_text().splitlines()
    assert submission[0] == "index\tprediction" and len(submission) == 13
    assert {line.split("\t")[1] for line in submission[1:]} <= {"0", "1"}


def test_regression(flags, tmp_path):
    rows = [(a, b, 0.25 * (i % 20), i) for a, b, _, i in pairs(32, 4)]
    data = write_rows(tmp_path / "scores.csv", rows)
    changes = {"task_name": "stsb", "train_file": data, "validation_file": data}
    assert main(argv(flags, **changes)) == 0
    out = flags["output_dir"]
    results = json.loads((out / "all_results.json").read_text())
    table = np.loadtxt(out / "eval_predictions.tsv", skiprows=1)
    assert results["eval_pearson"] == pytest.approx(pearsonr(table[:, 1], table[:, 2])[0], abs=1e-12)
    assert results["eval_spearmanr"] == pytest.approx(spearmanr(table[:, 1], table[:, 2])[0], abs=1e-12)
    assert main(argv(flags, max_eval_samples=1, output_dir=tmp_path / "one", **changes)) == 0
    assert record_of(tmp_path / "one")["metrics"]["eval_combined_score"] == 0
    bias = tensors_of(out)["classifier.bias"]
    assert abs(bias.item() - np.mean([row[2] for row in rows])) < 0.5  # the head started at the labels' mean


def test_an_adapter_trains_further(flags, tmp_path):
    assert main(argv(flags)) == 0
    own = ("adapter_projection_type", "tensorized_layer_rank", "adapter_size")
    words = argv(
        flags | {name: None for name in own},
        adapter_path=flags["output_dir"] / "adapter",
        output_dir=tmp_path / "further",
        num_train_epochs=1,
    )
    assert main(words) == 0
    before, after = record_of(flags["output_dir"]), record_of(tmp_path / "further")
    assert after["learning_rates"] == before["learning_rates"]
    assert after["step_losses"][0] != before["step_losses"][0]


def test_an_adapter_is_evaluated_with_the_length_and_the_tokenizer_of_its_training(flags, tmp_path, capsys):
    tokenizer, out = tmp_path / "tokenizer", flags["output_dir"]
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS[::-1]]
    BertTokenizerFast(vocab={word: i for i, word in enumerate(vocabulary)}).save_pretrained(tokenizer)
    trained = {"tokenizer_name": tokenizer, "max_seq_length": 9}
    assert main(argv(flags, num_train_epochs=1, **trained)) == 0
    changes = dict.fromkeys((*OWN, "do_train", "train_file")) | {"adapter_path": out, "output_dir": tmp_path / "again"}
    assert main(argv(flags, **changes)) == 0
    files = [folder / "eval_predictions.tsv" for folder in (out, tmp_path / "again")]
    assert files[0].read_text() == files[1].read_text()
    assert "note: --max_seq_length 9, as --adapter_path was trained" in capsys.readouterr().out
    assert main(argv(flags, **changes | {"output_dir": tmp_path / "longer", "max_seq_length": 20})) == 0
    assert (tmp_path / "longer" / "eval_predictions.tsv").read_text() != files[0].read_text()


@pytest.mark.skipif(sys.platform == "darwin", reason="macOS has no such names")
def test_paths_that_are_not_utf_8_are_trained_on_and_written(flags, files, tmp_path):
    train, out = (tmp_path / os.fsdecode(name) for name in (b"tr\xe9.csv", b"out\xe9"))
    shutil.copy(files["train"], train)
    assert main(argv(flags, train_file=train, output_dir=out, num_train_epochs=1)) == 0
    assert "tr\\udce9.csv" in (out / "adapter" / "README.md").read_text()


def test_adapters_that_do_not_fit_are_refused(flags, other_base, tmp_path, capsys):
    assert main(argv(flags)) == 0
    adapter = flags["output_dir"] / "adapter"
    own = ("adapter_projection_type", "tensorized_layer_rank", "adapter_size", "num_train_epochs")
    words = {name: None for name in own} | {
        "do_train": None,
        "adapter_path": adapter,
        "output_dir": tmp_path / "again",
    }

    def error(**changes):
        capsys.readouterr()
        assert main(argv(flags | words, **changes)) == 2
        text = capsys.readouterr().err
        assert text.count("\n") == 1
        return text

    assert "was trained on another base model" in error(model_name_or_path=other_base)
    assert "--tensorized_layer_rank 3 contradicts --adapter_path, which has 2" in error(tensorized_layer_rank=3)
    assert "--adapter_layers '1' contradicts --adapter_path, which was saved without it" in error(adapter_layers="1")
    assert "was trained for the labels" in error(task_name="rte")
    config, weights = adapter / "adapter_config.json", adapter / "adapter_model.safetensors"
    content = weights.read_bytes()
    weights.write_bytes(content[:-100])
    assert "truncated or was altered" in error()
    weights.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    assert "truncated or was altered" in error()
    weights.write_bytes(content)
    settings = config.read_text()
    config.write_text(settings.replace('"tensorized_layer_rank": 2', '"tensorized_layer_rank": 3'))
    assert "was altered" in error()
    config.write_text(settings[:200])
    assert "is not JSON" in error()


def test_drop_last_is_about_training_alone(flags):
    changes = {"dataloader_drop_last": True, "per_device_eval_batch_size": 10, "per_device_train_batch_size": 20}
    assert main(argv(flags, **changes)) == 0
    assert len(record_of(flags["output_dir"])["step_losses"]) == 4
    assert len((flags["output_dir"] / "eval_predictions.tsv").read_text().splitlines()) == 17


def test_a_published_adapter_trains_further_at_its_one_rate(flags, tmp_path):
    assert main(argv(flags, adapter_init="published", num_train_epochs=1)) == 0
    changes = dict.fromkeys(OWN) | {"adapter_path": flags["output_dir"], "output_dir": tmp_path / "further"}
    assert main(argv(flags, **changes)) == 0
    record = record_of(tmp_path / "further")
    assert set(record["learning_rates"].values()) == {2e-4} and record["arguments"]["warmup_steps"] == 0


def test_load_best_model_at_end(flags):
    out = flags["output_dir"]
    changes = {"load_best_model_at_end": True, "metric_for_best_model": "accuracy", "num_train_epochs": 3}
    assert main(argv(flags, learning_rate=5e-2, save_total_limit=1, **changes)) == 0
    record = record_of(out)
    best = max(entry["eval_accuracy"] for entry in record["history"])
    assert record["metrics"]["eval_accuracy"] == best


def test_published_command_line(flags, tmp_path):
    """The flags are the published ones; model and data are local."""
    out = tmp_path / "mrpc"
    words = (
        f"--model_name_or_path {flags['model_name_or_path']} --task_name mrpc --do_train --do_eval "
        "--max_seq_length 128 --per_device_train_batch_size 32 --learning_rate 2e-4 --num_train_epochs 20 "
        f"--output_dir {out}/ --overwrite_output_dir --adapter_projection_type cp "
        "--tensorized_layer_rank 4 --if_adapter_like True --adapter_size 8"
    ).split()
    words += ["--train_file", str(flags["train_file"]), "--validation_file", str(flags["validation_file"])]
    assert main([*words, "--disable_tqdm", "True"]) == 0
    assert record_of(out)["metrics"]["epoch"] == 20


def test_gradient_accumulation_gives_the_loss_of_the_full_batch(flags, tmp_path):
    """Two half batches a step give the loss of one full batch at the first step, before dropout draws differ."""
    one, two = tmp_path / "one", tmp_path / "two"
    still = {"num_train_epochs": 1, "per_device_train_batch_size": 16}
    assert main(argv(flags, output_dir=one, **still)) == 0
    halves = {"per_device_train_batch_size": 8, "gradient_accumulation_steps": 2}
    assert main(argv(flags, output_dir=two, **(still | halves))) == 0
    ours, theirs = record_of(one)["step_losses"], record_of(two)["step_losses"]
    assert len(ours) == len(theirs)
    assert theirs[0] == pytest.approx(ours[0], rel=0.05)


def test_access_tokens_are_not_recorded(flags):
    assert main(argv(flags, token="hf_secret", num_train_epochs=1)) == 0
    out = flags["output_dir"]
    assert all(b"hf_secret" not in path.read_bytes() for path in out.rglob("*") if path.is_file())


def test_one_run_uses_one_of_several_gpus(flags, monkeypatch, capsys):
    """A batch keeps its size and is not split over them."""
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    wrapped = []
    monkeypatch.setattr(torch.nn.DataParallel, "__init__", lambda self, *args: wrapped.append(args))
    assert main(argv(flags)) == 0
    assert capsys.readouterr().out.count("note: 2 GPUs are visible and a run uses one") == 1
    assert not wrapped and len(record_of(flags["output_dir"])["step_losses"]) == 12
    assert record_of(flags["output_dir"])["machine"]["gpus_used"] == 1


def test_a_run_that_predicts_one_class_only_says_so(flags, capsys):
    assert main(argv(flags, learning_rate=0, num_train_epochs=1)) == 0
    with open(flags["output_dir"] / "eval_predictions.tsv") as file:
        [name] = {row["predicted_name"] for row in csv.DictReader(file, delimiter="\t")}
    assert f"note: all 16 evaluated examples were predicted as '{name}'" in capsys.readouterr().out
    assert record_of(flags["output_dir"])["one_class"] == {"eval": name}


def test_a_metric_that_is_not_defined_is_noted_once_and_without_a_python_warning(flags, capsys):
    assert main(argv(flags, learning_rate=0, num_train_epochs=2, metric_name="matthews_correlation")) == 0
    out, err = capsys.readouterr()
    assert (
        out.count("note: matthews_correlation is not defined (predictions or labels are constant); reported as 0") == 1
    )
    assert "Warning" not in err


def test_the_training_sets_metrics_are_of_a_sample_drawn_by_the_seed(flags, tmp_path, capsys, monkeypatch):
    predict, rows = Trainer.predict, []

    def watched(self, examples, *args, **kwargs):
        if kwargs["metric_key_prefix"] == "train":
            rows.append(examples["input_ids"][:])
        return predict(self, examples, *args, **kwargs)

    monkeypatch.setattr(Trainer, "predict", watched)
    flags |= {"num_train_epochs": 1, "per_device_train_batch_size": 16}
    for out, changes in (("one", {}), ("two", {}), ("other", {"seed": 7}), ("all", {"max_train_metric_samples": 48})):
        assert main(argv(flags | {"max_train_metric_samples": 20} | changes, output_dir=tmp_path / out)) == 0
        reported = "train metrics are of 20 of the 48 training examples" in capsys.readouterr().out
        count = record_of(tmp_path / out)["metrics"]["train_metric_samples"]
        assert (reported, count) == ((True, 20) if out != "all" else (False, 48))
        sample = record_of(tmp_path / out)["train_metric_examples"]
        drawn_by = {"one": 42, "two": 42, "other": 7, "all": None}[out]
        assert sample == {"count": count, "of": 48, "drawn_by_seed": drawn_by}
    one, two, other, every = rows
    assert one == two != other and len(one) == len(other) == 20 and len(every) == 48


def test_the_evaluation_that_ended_training_is_not_repeated(flags, tmp_path, monkeypatch):
    passes, loop = [], AdapterTrainer.evaluation_loop

    def counted(self, *args, metric_key_prefix="eval", **kwargs):
        passes.append(metric_key_prefix)
        return loop(self, *args, metric_key_prefix=metric_key_prefix, **kwargs)

    monkeypatch.setattr(AdapterTrainer, "evaluation_loop", counted)
    measured, counts = [], []
    last_step = {"eval_strategy": "steps", "eval_steps": 5, "save_strategy": "no"}  # of 12 steps
    best = {"load_best_model_at_end": True, "metric_for_best_model": "accuracy"}
    for number, changes in enumerate(({}, {"eval_strategy": "no"}, last_step, best)):
        out = tmp_path / str(number)
        assert main(argv(flags, output_dir=out, num_train_epochs=2, **changes)) == 0
        metrics = record_of(out)["metrics"]
        assert metrics["eval_samples"] and metrics["eval_runtime"] > 0 and metrics["epoch"] == 2
        measured.append(((out / "eval_predictions.tsv").read_text(), metrics["eval_loss"], metrics["eval_accuracy"]))
        counts.append(passes.count("eval"))
        passes.clear()
    assert counts == [2, 1, 3, 3]
    assert measured[0] == measured[1] == measured[2]
