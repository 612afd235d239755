"""Evaluation and prediction after training, with the files that hold what was predicted."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from datasets import Dataset
from transformers import EvalPrediction, Trainer

from ..data.loading import Data
from ..data.metrics import GlueMetric, predictions_of
from ..data.tasks import Task
from .results import write_evaluation, write_predictions
from .run_folder import EVALUATION_FILE


def metric_function(task: Task) -> Callable[[EvalPrediction], dict[str, float]]:
    """``compute_metrics`` for the Trainer."""
    metric = GlueMetric(task)

    def compute(output: EvalPrediction) -> dict[str, float]:
        return metric.compute(predictions=predictions_of(_logits(output), task), references=output.label_ids)

    return compute


def train_metrics(trainer: Trainer, examples: Dataset, task: Task) -> dict[str, float]:
    """The task's metrics on the training set in evaluation mode: their gap to ``eval_*`` measures regularization."""
    values = trainer.predict(examples, metric_key_prefix="train").metrics
    return {name: value for name, value in values.items() if name.removeprefix("train_") in _names(task)}


def evaluate_all(trainer: Trainer, sets: dict[str, Dataset], task: Task, folder: Path) -> dict[str, Any]:
    """``eval_*`` metrics of every evaluation set (MNLI's second with ``_mm``), and the predictions behind them."""
    metrics: dict[str, Any] = {}
    for suffix, examples in sets.items():
        output = trainer.predict(examples, metric_key_prefix="eval")
        metrics |= {f"{name}{suffix}": value for name, value in output.metrics.items()}
        metrics[f"eval_samples{suffix}"] = len(examples)
        path = folder / EVALUATION_FILE.format(suffix=suffix)
        write_evaluation(path, predictions_of(_logits(output), task), output.label_ids, task)
    return metrics


def predict_all(trainer: Trainer, sets: dict[str, Dataset], task: Task, folder: Path) -> dict[str, int]:
    """One submission file for each prediction set, in GLUE's names and format."""
    for name, examples in sets.items():
        output = trainer.predict(examples, metric_key_prefix="predict")
        write_predictions(folder / f"{name}.tsv", predictions_of(_logits(output), task), task)
    return {"predict_samples": sum(len(examples) for examples in sets.values())}


def prediction_files(data: Data) -> list[str]:
    """The names of the files that these functions write for ``data``."""
    evaluated = [EVALUATION_FILE.format(suffix=suffix) for suffix in data.evaluation]
    return evaluated + [f"{name}.tsv" for name in data.prediction]


def _names(task: Task) -> tuple[str, ...]:
    return (*task.metrics, "combined_score")


def _logits(output: Any):
    logits = output.predictions
    return logits[0] if isinstance(logits, tuple) else logits
