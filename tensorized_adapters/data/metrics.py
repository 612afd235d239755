"""The metrics of an evaluation, and the scores of each class. scikit-learn and SciPy compute them.

GLUE's metrics are an `evaluate` module of our own, so that nothing is downloaded.
"""

import warnings
from functools import partial
from typing import Any, Optional

import datasets
import evaluate
import numpy as np
from scipy.special import expit, softmax
from scipy.stats import pearsonr, spearmanr
from sklearn.metrics import (
    accuracy_score,
    average_precision_score,
    confusion_matrix,
    f1_score,
    matthews_corrcoef,
    mean_absolute_error,
    precision_recall_fscore_support,
    r2_score,
    roc_auc_score,
)

from ..errors import listed, quoted
from . import multi_label
from .metric_names import PROBABILITY_METRICS
from .tasks import Task
from .texts import texts_of

MISTAKES = 20
LONGEST_TEXT = 1000  # characters
LARGEST_MATRIX = 100  # classes; the record's size would grow with their square
_WORST = 3


# Functions of references and predictions. Correlations and R2 of constants, or of a single example, are not defined.
_METRICS = {
    "accuracy": accuracy_score,
    "f1": partial(f1_score, zero_division=0),  # of class 1
    "f1_macro": partial(f1_score, average="macro", zero_division=0),
    "f1_weighted": partial(f1_score, average="weighted", zero_division=0),
    "matthews_correlation": lambda y, x: matthews_corrcoef(y, x) if len(set(y)) > 1 and len(set(x)) > 1 else np.nan,
    "pearson": lambda y, x: pearsonr(y, x)[0] if len(y) > 1 else np.nan,
    "spearmanr": lambda y, x: spearmanr(y, x)[0] if len(y) > 1 else np.nan,
    "r2": r2_score,
    "mean_absolute_error": mean_absolute_error,
}
_METRICS_OF_PROBABILITIES = {"roc_auc": roc_auc_score, "average_precision": average_precision_score}


def _value(name: str, predictions: np.ndarray, references: np.ndarray) -> float:
    """Return the value of a metric, or 0 with a warning if it is not defined."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # constant input is reported below
        value = float(_METRICS[name](references, predictions))
    if np.isfinite(value):
        return value
    why = "predictions or labels are constant" if len(references) > 1 else "of fewer than two examples"
    warnings.warn(f"{name} is not defined ({why}); reported as 0", stacklevel=2)
    return 0.0


class GlueMetric(evaluate.Metric):
    """``GlueMetric(task).compute(predictions=..., references=...)`` -> {metric name: value}.

    Where a task has several metrics of its own, ``combined_score`` is their mean, as in Hugging Face's run_glue. If
    ``takes_probabilities``, ``compute`` also needs ``prediction_scores``, the probability of each class.
    """

    def __init__(self, task: Task):
        self.task = task
        self.takes_probabilities = any(name in PROBABILITY_METRICS for name in task.measured)
        self._noted: set[str] = set()
        super().__init__(keep_in_memory=True)

    def _info(self) -> evaluate.MetricInfo:
        feature = datasets.Value("float64" if self.task.labels is None else "int64")
        if self.task.multi_label:
            feature = datasets.Sequence(datasets.Value("float32"))
        features = {"predictions": feature, "references": feature}
        if self.takes_probabilities:
            features["prediction_scores"] = datasets.Sequence(datasets.Value("float64"))
        description = "GLUE's metrics (https://arxiv.org/abs/1804.07461), and further ones of scikit-learn."
        return evaluate.MetricInfo(description=description, citation="", features=datasets.Features(features))

    def _compute(self, predictions, references, prediction_scores=None) -> dict[str, float]:
        predictions, references = np.asarray(predictions), np.asarray(references)
        if self.task.multi_label:
            return multi_label.measured(predictions, references)
        values = {name: _value(name, predictions, references) for name in self.task.metrics}
        combined = float(np.mean(list(values.values()))) if len(values) > 1 else None
        for name in self.task.chosen:
            if name in _METRICS:
                values[name] = _value(name, predictions, references)
            elif (value := self._of_probabilities(name, np.asarray(prediction_scores), references)) is not None:
                values[name] = value
        return values if combined is None else values | {"combined_score": combined}

    def _of_probabilities(self, name: str, probabilities: np.ndarray, references: np.ndarray) -> Optional[float]:
        """Return the metric of class 1 for two classes, else the mean over the classes, each against the others.

        Classes without an example are left out, with a note. The result is None if all examples are of one class.
        """
        labels, present = self.task.labels, set(references.tolist())
        lacking = tuple(label for i, label in enumerate(labels) if i not in present)
        if len(present) < 2:
            only = listed(tuple(labels[i] for i in present))
            self.note_once(f"{name} is left out: all {len(references):,} examples are of the class {only}")
            return None
        if lacking:
            self.note_once(f"{name} is the mean over the other classes: no example is of the class {listed(lacking)}")
        classes = [1] if len(labels) == 2 else sorted(present)
        function = _METRICS_OF_PROBABILITIES[name]
        return float(np.mean([function(references == i, probabilities[:, i]) for i in classes]))

    def note_once(self, line: str) -> None:
        """Print a note once, however often the set is evaluated."""
        if line not in self._noted:
            print(f"note: {line}")
        self._noted.add(line)


def predictions_of(logits: np.ndarray, task: Task) -> np.ndarray:
    """Return label ids (argmax) for classification or scores for regression, one an example. For several labels a
    text, return 0 or 1 for each label: 1 for a probability above 0.5, which is a logit above 0."""
    if task.multi_label:
        return (logits > 0).astype(np.int64)
    return np.squeeze(logits, axis=-1).astype(np.float64) if task.labels is None else np.argmax(logits, axis=-1)


def probabilities_of(logits: np.ndarray, multi_label: bool = False) -> np.ndarray:
    """Return the probability of each label, one row an example: by softmax for one label a text, else by sigmoid."""
    logits = logits.astype(np.float64)
    return expit(logits) if multi_label else softmax(logits, axis=1)


def class_scores(logits: np.ndarray, references: np.ndarray, examples: datasets.Dataset, task: Task) -> dict[str, Any]:
    """Return the scores of each class, for the record, from logits and label ids in the order of the file.

    ``examples`` has their texts, in the same order. The ``row`` of a mistake is its place there, from 0. ``confusion``
    is None for many classes; the file with the predictions of the evaluation gives it too.
    """
    predictions, probabilities = predictions_of(logits, task), probabilities_of(logits).max(axis=1)
    ids = range(len(task.labels))
    precision, recall, f1, _ = precision_recall_fscore_support(references, predictions, labels=ids, zero_division=0)
    confusion = confusion_matrix(references, predictions, labels=ids)
    wrong = np.flatnonzero(predictions != references)
    rows = wrong[np.argsort(-probabilities[wrong], kind="stable")][:MISTAKES]
    chosen = examples.select(rows)
    texts = zip(*(texts_of(chosen[name][:], chosen.features[name].dtype) for name in task.texts))
    return {
        "names": list(task.labels),
        "precision": precision.tolist(),
        "recall": recall.tolist(),
        "f1": f1.tolist(),
        # scikit-learn's own support is of floats if no prediction is correct.
        "support": confusion.sum(axis=1).tolist(),
        "confusion": confusion.tolist() if len(ids) <= LARGEST_MATRIX else None,
        "mistakes": [
            {
                "row": int(row),
                "texts": [text if len(text) <= LONGEST_TEXT else f"{text[:LONGEST_TEXT]}..." for text in of_row],
                "label": task.labels[int(references[row])],
                "predicted": task.labels[int(predictions[row])],
                "probability": float(probabilities[row]),
            }
            for row, of_row in zip(rows, texts)
        ],
    }


def worst_classes(scores: dict[str, Any]) -> Optional[str]:
    """Return a line with the classes of the lowest F1, or None for two classes of equal F1."""
    with_examples = [entry for entry in zip(scores["f1"], scores["names"], scores["support"]) if entry[2]]
    if len(scores["names"]) < 3 and len({f1 for f1, *_ in with_examples}) < 2:
        return None
    worst = sorted(with_examples, key=lambda entry: entry[0])[:_WORST]
    return "lowest F1: " + ", ".join(f"{quoted(name)} {f1:.4f} of {count:,} examples" for f1, name, count in worst)
