"""GLUE's metrics as an `evaluate` module of our own: scikit-learn and SciPy inside, nothing downloaded."""

import warnings

import datasets
import evaluate
import numpy as np
from scipy.stats import pearsonr, spearmanr
from sklearn.metrics import accuracy_score, f1_score, matthews_corrcoef

from . import multi_label
from .tasks import Task

_DESCRIPTION = "The metrics of the GLUE benchmark (Wang et al. 2019, https://arxiv.org/abs/1804.07461)."
_INPUTS = "predictions, references: one number an example; classes as label ids, scores as floats."


def _correlation(function, predictions: np.ndarray, references: np.ndarray, name: str) -> float:
    value = np.nan  # of a single example, for which SciPy raises
    if len(references) > 1:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # constant input is reported below, in our words
            value = float(function(references, predictions))
    if np.isfinite(value):
        return value
    why = "predictions or labels are constant" if len(references) > 1 else "of fewer than two examples"
    warnings.warn(f"{name} is not defined ({why}); reported as 0", stacklevel=2)
    return 0.0


_METRICS = {
    "accuracy": lambda p, r: float(accuracy_score(r, p)),
    "f1": lambda p, r: float(f1_score(r, p, zero_division=0)),  # of class 1
    "matthews_correlation": lambda p, r: _correlation(
        lambda y, x: matthews_corrcoef(y, x) if len(set(y)) > 1 and len(set(x)) > 1 else np.nan, p, r, "Matthews"
    ),
    "pearson": lambda p, r: _correlation(lambda y, x: pearsonr(y, x)[0], p, r, "Pearson"),
    "spearmanr": lambda p, r: _correlation(lambda y, x: spearmanr(y, x)[0], p, r, "Spearman"),
}


class GlueMetric(evaluate.Metric):
    """``GlueMetric(task).compute(predictions=..., references=...)`` -> {metric name: value}.

    Where a task has several metrics, ``combined_score`` is their mean, as in Hugging Face's run_glue.
    """

    def __init__(self, task: Task):
        self.task = task
        super().__init__(keep_in_memory=True)

    def _info(self) -> evaluate.MetricInfo:
        kind = datasets.Value("float64" if self.task.labels is None else "int64")
        if self.task.multi_label:
            kind = datasets.Sequence(datasets.Value("float32"))
        return evaluate.MetricInfo(
            description=_DESCRIPTION,
            citation="",
            inputs_description=_INPUTS,
            features=datasets.Features({"predictions": kind, "references": kind}),
        )

    def _compute(self, predictions, references) -> dict[str, float]:
        predictions, references = np.asarray(predictions), np.asarray(references)
        if self.task.multi_label:
            return multi_label.measured(predictions, references)
        values = {name: _METRICS[name](predictions, references) for name in self.task.metrics}
        if len(values) > 1:
            values["combined_score"] = float(np.mean(list(values.values())))
        return values


def predictions_of(logits: np.ndarray, task: Task) -> np.ndarray:
    """Label ids (argmax) for classification, scores for regression; one an example. For several labels a text 0 or 1
    for each label: 1 for a probability above 0.5, which is a logit above 0."""
    if task.multi_label:
        return (logits > 0).astype(np.int64)
    return np.squeeze(logits, axis=-1).astype(np.float64) if task.labels is None else np.argmax(logits, axis=-1)
