"""Metrics by name: each equals scikit-learn's or SciPy's, in any spelling, and is refused if it does not suit the
labels."""

import itertools
import json
from dataclasses import replace

import numpy as np
import pytest
import sklearn.metrics
from datasets import Dataset
from helpers import argv, pairs, record_of, refused, write_rows
from scipy.special import softmax
from scipy.stats import pearsonr, spearmanr
from transformers import EvalPrediction

from run_glue_tensorized import main
from tensorized_adapters import UsageError
from tensorized_adapters.data.metric_names import (
    CLASS_METRICS,
    SCORE_METRICS,
    lower_is_better,
    metric_names,
    with_metrics,
)
from tensorized_adapters.data.metrics import LARGEST_MATRIX, LONGEST_TEXT, MISTAKES, class_scores, worst_classes
from tensorized_adapters.data.tasks import TASKS, other_task
from tensorized_adapters.runs.evaluation import metric_function


def classes_and_logits(count, classes, seed=0):
    generator = np.random.default_rng(seed)
    truth = generator.integers(classes, size=count)
    return truth, generator.normal(size=(count, classes)) + 1.2 * np.eye(classes)[truth]


def of_classes(truth, logits):
    """Everything as scikit-learn computes it, several classes one against the others."""
    guess, chances = logits.argmax(axis=1), softmax(logits, axis=1)
    chances = chances[:, 1] if chances.shape[1] == 2 else chances
    values = {
        "accuracy": sklearn.metrics.accuracy_score(truth, guess),
        "f1_macro": sklearn.metrics.f1_score(truth, guess, average="macro"),
        "f1_weighted": sklearn.metrics.f1_score(truth, guess, average="weighted"),
        "matthews_correlation": sklearn.metrics.matthews_corrcoef(truth, guess),
        "roc_auc": sklearn.metrics.roc_auc_score(truth, chances, multi_class="ovr", average="macro"),
        "average_precision": sklearn.metrics.average_precision_score(truth, chances, average="macro"),
    }
    return values | ({"f1": sklearn.metrics.f1_score(truth, guess)} if chances.ndim == 1 else {})


@pytest.mark.parametrize("classes", [2, 3, 6])
def test_metrics_of_classes_are_scikit_learns(classes):
    truth, logits = classes_and_logits(80, classes)
    expected = of_classes(truth, logits)
    task = with_metrics(other_task(("text",), tuple("abcdef"[:classes])), ",".join(expected), None)
    assert metric_function(task)(EvalPrediction(logits, truth)) == pytest.approx(expected, abs=1e-12)
    assert set(expected) == {name for name in CLASS_METRICS if name != "f1" or classes == 2}


def test_metrics_of_scores_are_scikit_learns_and_scipys():
    truth, guess = np.random.default_rng(0).normal(size=(2, 50))
    values = metric_function(with_metrics(TASKS["stsb"], ",".join(SCORE_METRICS), None))(
        EvalPrediction(guess[:, None], truth)
    )
    assert values == pytest.approx(
        {
            "pearson": pearsonr(truth, guess)[0],
            "spearmanr": spearmanr(truth, guess)[0],
            "r2": sklearn.metrics.r2_score(truth, guess),
            "mean_absolute_error": sklearn.metrics.mean_absolute_error(truth, guess),
        },
        abs=1e-12,
    )


def test_a_class_without_an_example_is_left_out_with_one_line(capsys):
    truth, logits = classes_and_logits(60, 4)
    logits[truth == 2] += 5 * (np.arange(4) == 3)
    truth[truth == 2] = 3
    measure = metric_function(with_metrics(other_task(("text",), tuple("abcd")), "roc_auc,average_precision", None))
    chances = softmax(logits, axis=1)
    for _ in range(2):
        values = measure(EvalPrediction(logits, truth))
    for name, function in (("roc_auc", "roc_auc_score"), ("average_precision", "average_precision_score")):
        each = [getattr(sklearn.metrics, function)(truth == i, chances[:, i]) for i in (0, 1, 3)]
        assert values[name] == pytest.approx(np.mean(each))
    line = "is the mean over the other classes: no example is of the class c"
    assert capsys.readouterr().out.splitlines() == [f"note: roc_auc {line}", f"note: average_precision {line}"]
    assert measure(EvalPrediction(logits, np.ones_like(truth))) == {}
    assert "roc_auc is left out: all 60 examples are of the class b" in capsys.readouterr().out


def test_spellings_of_other_libraries():
    text = "MAE, spearman,r_squared,pearsonr"
    assert metric_names(text) == ("mean_absolute_error", "spearmanr", "r2", "pearson")
    assert metric_names("macro_f1,f1-weighted,mcc,roc_auc_ovr") == (
        "f1_macro", "f1_weighted", "matthews_correlation", "roc_auc",
    )  # fmt: skip
    assert metric_names("accuracy_score,matthews_corrcoef") == ("accuracy", "matthews_correlation")
    assert [name for name in CLASS_METRICS + SCORE_METRICS if lower_is_better(f"eval_{name}")] == [
        "mean_absolute_error"
    ]
    for text, message in (("acuracy", "did you mean accuracy"), ("f1,f1_score", "lists f1 twice"), ("f1,", "unknown")):
        with pytest.raises(UsageError, match=message):
            metric_names(text)


def test_without_the_flag_a_task_is_measured_as_before():
    assert with_metrics(TASKS["mrpc"], None, None) is TASKS["mrpc"] is with_metrics(TASKS["mrpc"], None, "eval_f1")
    truth, logits = classes_and_logits(40, 2)
    plain = metric_function(TASKS["mrpc"])(EvalPrediction(logits, truth))
    more = metric_function(with_metrics(TASKS["mrpc"], None, "eval_f1_macro"))(EvalPrediction(logits, truth))
    assert list(plain) == ["accuracy", "f1", "combined_score"]
    assert more == plain | {"f1_macro": pytest.approx(of_classes(truth, logits)["f1_macro"])}
    chosen = with_metrics(TASKS["mrpc"], "f1_macro", "accuracy")
    assert chosen == replace(TASKS["mrpc"], metrics=(), chosen=("f1_macro", "accuracy"), primary="f1_macro")


def test_scores_of_each_class_are_scikit_learns():
    truth, logits = classes_and_logits(300, 3)
    texts = [f"text {i} " + "x" * (i * 10) for i in range(300)]
    task = other_task(("text",), ("a", "b", "c"))
    scores = class_scores(logits, truth, Dataset.from_dict({"text": texts, "label": truth}), task)
    guess, chances = logits.argmax(axis=1), softmax(logits, axis=1).max(axis=1)
    expected = sklearn.metrics.precision_recall_fscore_support(truth, guess)
    for name, values in zip(("precision", "recall", "f1", "support"), expected):
        assert scores[name] == pytest.approx(values)
    assert scores["confusion"] == sklearn.metrics.confusion_matrix(truth, guess).tolist()
    wrong = sorted(np.flatnonzero(guess != truth), key=lambda row: -chances[row])[:MISTAKES]
    assert [mistake["row"] for mistake in scores["mistakes"]] == wrong and len(wrong) == MISTAKES
    for mistake in scores["mistakes"]:
        row, text = mistake["row"], texts[mistake["row"]]
        assert mistake["texts"] == [text if len(text) <= LONGEST_TEXT else text[:LONGEST_TEXT] + "..."]
        assert (mistake["label"], mistake["predicted"]) == ("abc"[truth[row]], "abc"[guess[row]])
        assert mistake["probability"] == pytest.approx(chances[row])
    lowest = "abc"[int(np.argmin(scores["f1"]))]
    assert worst_classes(scores).startswith(f"lowest F1: {lowest!r} {min(scores['f1']):.4f} of ")


def test_the_record_does_not_grow_with_the_square_of_the_classes():
    for count in (LARGEST_MATRIX, LARGEST_MATRIX + 1, 1500):
        truth, logits = classes_and_logits(2 * count, count)
        task = other_task(("text",), tuple(f"class {i}" for i in range(count)))
        examples = Dataset.from_dict({"text": ["a"] * len(truth), "label": truth})
        scores = class_scores(logits, truth, examples, task)
        assert (scores["confusion"] is None) == (count > LARGEST_MATRIX) and sum(scores["support"]) == 2 * count
        assert len(json.dumps(scores, indent=2)) < 250_000


def test_of_two_classes_of_equal_f1_none_is_the_worst():
    scores = {"names": ["a", "b"], "f1": [0.5, 0.5], "support": [2, 2]}
    assert worst_classes(scores) is None
    assert (
        worst_classes(scores | {"f1": [0.5, 0.4]}) == "lowest F1: 'b' 0.4000 of 2 examples, 'a' 0.5000 of 2 examples"
    )
    assert worst_classes({"names": ["a", "b", "c"], "f1": [0.5, 0.0, 0.5], "support": [2, 0, 2]}).count(" of ") == 2


def test_a_run_keeps_the_metrics_and_the_scores_of_each_class(flags, tmp_path, capsys):
    rows = [(one, other, "abc"[i % 3], i) for one, other, _, i in pairs(24, 1)]
    file = write_rows(tmp_path / "rows.csv", rows)
    flags |= {"task_name": None, "train_file": file, "validation_file": file, "metric_name": "macro_f1,roc_auc"}
    flags |= {"metric_for_best_model": "eval_mcc", "load_best_model_at_end": True, "num_train_epochs": 1}
    assert main(argv(flags)) == 0
    record = record_of(flags["output_dir"])
    names = {"f1_macro", "roc_auc", "matthews_correlation"}
    assert {f"{of}_{name}" for of in ("train", "eval") for name in names} <= set(record["metrics"])
    assert "eval_accuracy" not in record["metrics"] and record["primary_metric"] == "f1_macro"
    assert record["arguments"]["metric_name"] == "f1_macro,roc_auc"
    classes = record["classes"]["eval"]
    assert classes["names"] == ["a", "b", "c"] and classes["support"] == [8, 8, 8]
    assert np.mean(classes["f1"]) == pytest.approx(record["metrics"]["eval_f1_macro"])
    assert all([rows[m["row"]][0], rows[m["row"]][1]] == m["texts"] for m in classes["mistakes"])
    assert len(classes["mistakes"]) == min(MISTAKES, 24 - np.trace(classes["confusion"]))
    assert "lowest F1: " in capsys.readouterr().out


@pytest.mark.filterwarnings("ignore:.*is not defined")
def test_less_is_better_by_itself(flags, tmp_path):
    rows = [(one, other, i / 7, i) for one, other, _, i in pairs(24, 1)]
    file = write_rows(tmp_path / "rows.csv", rows)
    flags |= {"task_name": None, "train_file": file, "validation_file": file, "metric_name": "mae"}
    flags |= {"metric_for_best_model": "mae", "load_best_model_at_end": True, "learning_rate": 0.05}
    flags |= {"num_train_epochs": 3}
    assert main(argv(flags)) == 0
    record = record_of(flags["output_dir"])
    errors = [entry["eval_mean_absolute_error"] for entry in record["history"]]
    assert record["best_epoch"]["eval_mean_absolute_error"] == min(errors) < max(errors)
    assert record["metrics"]["eval_mean_absolute_error"] == pytest.approx(min(errors))
    assert record["arguments"]["greater_is_better"] is False and "classes" not in record


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"metric_name": "f1,bleu"}, "--metric_name 'bleu' is unknown here; known: accuracy, "),
        ({"metric_name": ""}, "--metric_name is empty"),
        ({"metric_name": "pearson"}, "--metric_name pearson does not suit 2 classes; take one of accuracy, f1, "),
        (
            {"metric_name": "f1", "task_name": "mnli"},
            "f1 does not suit 3 classes; take one of accuracy, f1_macro",
        ),
        ({"metric_for_best_model": "r2"}, "--metric_for_best_model r2 does not suit 2 classes; take one of"),
        (
            {"metric_name": "f1,mae", "task_name": None},
            "--metric_name: f1 is for classes and mean_absolute_error for scores; leave one of",
        ),
        ({"metric_for_best_model": "f1_macro", "do_eval": None}, "--metric_for_best_model needs evaluations while"),
        ({"metric_for_best_model": "f1_macro", "eval_strategy": "no"}, "--metric_for_best_model needs evaluations"),
        (
            {"metric_for_best_model": "roc_auc", "max_eval_samples": 1},
            "needs evaluated examples of two classes",
        ),
        ({"metric_for_best_model": "eval_"}, "--metric_for_best_model eval_ is unknown here; known: "),
    ],
)
def test_what_cannot_be_measured_is_refused(capsys, flags, changes, message):
    assert message in refused(capsys, argv(flags, **changes), flags["output_dir"])


def test_a_metric_that_does_not_suit_scores_of_a_file_is_refused(capsys, flags, tmp_path):
    file = write_rows(tmp_path / "rows.csv", [(one, other, i / 7, i) for one, other, _, i in pairs(24, 1)])
    changes = {"task_name": None, "train_file": file, "validation_file": file}
    for flag, name in itertools.product(("metric_name", "metric_for_best_model"), ("roc_auc", "f1")):
        line = refused(capsys, argv(flags, **changes, **{flag: name}), flags["output_dir"])
        assert f"--{flag} {name} does not suit scores; take one of pearson, spearmanr" in line
