"""Loading from folders and files, labels, and metrics against scikit-learn and SciPy."""

import dataclasses
import json
from pathlib import Path

import datasets
import numpy as np
import pytest
from helpers import argv, glue_folder, pairs, write_rows
from scipy.stats import pearsonr, spearmanr
from sklearn.metrics import accuracy_score, f1_score, matthews_corrcoef
from transformers import AutoTokenizer

from run_glue_tensorized import main
from tensorized_adapters import UsageError
from tensorized_adapters.data.arguments import DataTrainingArguments
from tensorized_adapters.data.encoding import tokenize
from tensorized_adapters.data.loading import load_data
from tensorized_adapters.data.metrics import GlueMetric
from tensorized_adapters.data.tasks import TASKS
from tensorized_adapters.runs.record import write_predictions

EVERYTHING = {"train", "evaluation", "prediction"}


@pytest.mark.parametrize("task", TASKS)
def test_all_nine_tasks_load_from_a_folder_laid_out_like_the_hubs(tmp_path, task):
    arguments = DataTrainingArguments(task_name=task, glue_path=str(glue_folder(tmp_path, task)), max_eval_samples=5)
    data = load_data(arguments, EVERYTHING)
    assert len(data.train) == 12
    assert all(len(examples) == 5 for examples in data.evaluation.values())
    assert all("label" not in examples.column_names for examples in data.prediction.values())
    kind = float if TASKS[task].labels is None else int
    assert all(isinstance(value, kind) for value in data.train["label"])
    assert len(data.evaluation) == (2 if task == "mnli" else 1)
    assert list(data.prediction) == [name for name, _ in TASKS[task].prediction_sets]


def test_the_first_rows_of_a_file_are_evaluated_and_predicted_with_a_note(capsys, tmp_path):
    file = str(write_rows(tmp_path / "a.csv", [(f"text {i}", "xy"[i % 2]) for i in range(8)], ("text", "label")))
    files = dict.fromkeys(("train_file", "validation_file", "test_file"), file)
    data = load_data(DataTrainingArguments(**files, max_eval_samples=5, max_predict_samples=3), EVERYTHING)
    assert data.evaluation[""]["text"][:] == [f"text {i}" for i in range(5)]
    assert data.prediction["predictions"]["text"][:] == [f"text {i}" for i in range(3)]
    notes = capsys.readouterr().out
    assert f"note: --validation_file {file}: the first 5 of 8 evaluated examples (--max_eval_samples)\n" in notes
    assert f"note: --test_file {file}: the first 3 of 8 predicted examples (--max_predict_samples)\n" in notes
    load_data(DataTrainingArguments(**files, max_eval_samples=8, max_predict_samples=9), EVERYTHING)
    assert "the first" not in capsys.readouterr().out


def test_mnli_evaluates_both_sets_and_writes_both_submissions(flags, tmp_path):
    changes = {"task_name": "mnli", "train_file": None, "validation_file": None, "num_train_epochs": 1}
    folder = glue_folder(tmp_path / "glue", "mnli")
    assert main(argv(flags, glue_path=folder, do_predict=True, **changes)) == 0
    out = flags["output_dir"]
    results = json.loads((out / "all_results.json").read_text())
    assert {"eval_accuracy", "eval_accuracy_mm", "eval_loss_mm"} <= set(results)
    for name in ("MNLI-m.tsv", "MNLI-mm.tsv", "AX.tsv"):
        lines = (out / name).read_text().splitlines()
        assert len(lines) == 13
        assert {line.split("\t")[1] for line in lines[1:]} <= {"entailment", "neutral", "contradiction"}
    assert (out / "eval_predictions_mm.tsv").exists()


def test_without_the_diagnostics_a_line_says_so(tmp_path, capsys):
    folder = glue_folder(tmp_path, "mnli")
    card = (folder / "README.md").read_text()
    (folder / "README.md").write_text(card[: card.index("- config_name: ax")] + "---\n")
    data = load_data(DataTrainingArguments(task_name="mnli", glue_path=str(folder)), {"prediction"})
    assert list(data.prediction) == ["MNLI-m", "MNLI-mm"]
    assert "note: AX.tsv is not written: --glue_path" in capsys.readouterr().out


def test_dataset_name_takes_a_local_folder(flags, tmp_path):
    folder = tmp_path / "mine"
    folder.mkdir()
    for split in ("train", "validation"):
        rows = [(a, b, ("no", "yes")[label]) for a, b, label, _ in pairs(24, 5)]
        write_rows(folder / f"{split}.csv", rows, ("first", "second", "label"))
    changes = {"task_name": None, "train_file": None, "validation_file": None, "num_train_epochs": 1}
    assert main(argv(flags, dataset_name=folder, **changes)) == 0
    adapter = json.loads((flags["output_dir"] / "adapter" / "adapter_config.json").read_text())
    assert adapter["id2label"] == {"0": "no", "1": "yes"}


def test_a_task_that_the_folder_lacks(tmp_path):
    folder = glue_folder(tmp_path, "rte")
    with pytest.raises(UsageError, match="--glue_path .* cannot be loaded.*rte"):
        load_data(DataTrainingArguments(task_name="mrpc", glue_path=str(folder)), {"train"})


@pytest.mark.parametrize("task", TASKS)
def test_metrics_are_scikit_learns_and_scipys(task):
    generator = np.random.default_rng(0)
    labels = TASKS[task].labels
    if labels is None:
        truth, guess = generator.normal(size=(2, 40))
        expected = {"pearson": pearsonr(truth, guess)[0], "spearmanr": spearmanr(truth, guess)[0]}
    else:
        truth, guess = generator.integers(len(labels), size=(2, 40))
        functions = {"accuracy": accuracy_score, "f1": f1_score, "matthews_correlation": matthews_corrcoef}
        expected = {name: functions[name](truth, guess) for name in TASKS[task].metrics}
    values = GlueMetric(TASKS[task]).compute(predictions=guess, references=truth)
    assert TASKS[task].primary in values
    if len(expected) > 1:
        assert values.pop("combined_score") == pytest.approx(np.mean(list(expected.values())))
    assert values == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("task, names", [("stsb", ("pearson", "spearmanr")), ("cola", ("matthews_correlation",))])
def test_an_undefined_correlation_is_0_with_a_warning(task, names):
    with pytest.warns(UserWarning, match="is not defined"):
        values = GlueMetric(TASKS[task]).compute(predictions=[1, 1, 1], references=[0, 1, 1])
    assert all(values[name] == 0 for name in names)
    with pytest.warns(UserWarning, match="is not defined .of fewer than two examples"):
        values = GlueMetric(TASKS[task]).compute(predictions=[1], references=[1])
    assert all(values[name] == 0 for name in names)


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("truth, guess", [([0], [0]), ([1], [0]), ([1, 1], [1, 1]), ([0, 1], [0, 0])])
@pytest.mark.filterwarnings("ignore:.*is not defined")
def test_metrics_of_one_or_two_examples_are_numbers(task, truth, guess):
    values = GlueMetric(TASKS[task]).compute(predictions=guess, references=truth)
    assert all(np.isfinite(value) for value in values.values())
    if "accuracy" in values:
        assert values["accuracy"] == np.mean(np.equal(truth, guess))


@pytest.mark.parametrize(
    "task, logits, lines",
    [
        ("rte", [[0, 1], [1, 0]], ["0\tnot_entailment", "1\tentailment"]),
        ("cola", [[0, 1], [1, 0]], ["0\t1", "1\t0"]),
        ("stsb", [[2.5], [0.125]], ["0\t2.5", "1\t0.125"]),
    ],
)
def test_submission_files(tmp_path, task, logits, lines):
    write_predictions(tmp_path / "out.tsv", np.array(logits), TASKS[task])
    assert (tmp_path / "out.tsv").read_text().splitlines() == ["index\tprediction", *lines]


def test_tokens_are_made_anew_and_leave_no_file_that_could_be_damaged(base, tmp_path):
    arguments = DataTrainingArguments(task_name="mrpc", glue_path=str(glue_folder(tmp_path, "mrpc")), max_seq_length=8)
    data = load_data(arguments, {"train"})
    tokenizer = AutoTokenizer.from_pretrained(base)
    files = set(Path(datasets.config.HF_DATASETS_CACHE).rglob("*"))
    several = dataclasses.replace(arguments, preprocessing_num_workers=2)
    sets = [tokenize(data.train, data.task, tokenizer, given, 8) for given in (arguments, arguments, several)]
    assert files == set(Path(datasets.config.HF_DATASETS_CACHE).rglob("*"))
    assert not sets[0].cache_files and sets[0][:] == sets[1][:] == sets[2][:]
    texts = (data.train["sentence1"][:], data.train["sentence2"][:])
    assert sets[0]["input_ids"][:] == tokenizer(*texts, max_length=8, truncation=True)["input_ids"]


@pytest.mark.parametrize("damage", ["cut", "a byte flipped"])
def test_a_file_of_the_cache_of_datasets_that_is_incomplete(tmp_path, damage):
    cache = Path(datasets.config.HF_DATASETS_CACHE)
    datasets.load_dataset(str(glue_folder(tmp_path / "glue", "rte")), "rte")
    owner = cache / f"owner_{len(damage)}___glue"  # as the hub's owner/glue lies there
    (cache / "glue").rename(owner)
    arguments = {"task_name": "rte", "glue_path": owner.name.replace("___", "/")}
    data = load_data(DataTrainingArguments(**arguments), {"train"})
    assert len(data.train) == 12
    (file,) = owner.rglob("*-train*.arrow")
    content = file.read_bytes()
    file.unlink()  # `data` still maps it
    if damage == "cut":
        file.write_bytes(content[:-50])
    else:
        text = data.train["sentence1"][0].encode()
        file.write_bytes(content.replace(text, b"\xff" + text[1:]))
    with pytest.raises(UsageError, match="--glue_path owner.* cannot be loaded.*; --overwrite_cache"):
        load_data(DataTrainingArguments(**arguments), {"train"})
