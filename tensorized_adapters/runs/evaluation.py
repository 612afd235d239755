"""Evaluation and prediction after training, with the files that hold what was predicted."""

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, Optional

import numpy as np
from datasets import Dataset
from transformers import EvalPrediction, Trainer
from transformers.trainer_utils import EvalLoopOutput

from ..data.encoding import longest_first
from ..data.loading import Data
from ..data.metrics import GlueMetric, class_scores, predictions_of, probabilities_of, worst_classes
from ..data.multi_label import joined_names
from ..data.tasks import Task
from ..errors import quoted
from ..runtime.distributed import is_main_process
from ..training.trainer import AdapterTrainer
from .folder import EVALUATION_FILE
from .record import write_evaluation, write_predictions


def metric_function(task: Task) -> Callable[[EvalPrediction], dict[str, float]]:
    """Return ``compute_metrics`` for the Trainer. A warning about a metric is printed as a note, and only once."""
    metric = GlueMetric(task)

    def compute(output: EvalPrediction) -> dict[str, float]:
        values = {"predictions": predictions_of(output.predictions, task), "references": output.label_ids}
        if metric.takes_probabilities:
            values["prediction_scores"] = probabilities_of(output.predictions)
        with warnings.catch_warnings(record=True, action="always") as heard:
            measured = metric.compute(**values)
        for warning in heard:
            metric.note_once(str(warning.message))
        return measured

    return compute


def train_metrics(trainer: Trainer, examples: Dataset, task: Task, limit: int) -> dict[str, float]:
    """Return the task's metrics on the training set. A line says so if ``limit`` of its examples were drawn."""
    if len(examples) > limit:
        print(
            f"train metrics are of {limit:,} of the {len(examples):,} training examples, drawn by the seed; "
            "--max_train_metric_samples takes more"
        )
    examples = train_sample(examples, limit, trainer.args.seed)
    values = trainer.predict(examples, metric_key_prefix="train").metrics
    metrics = {name: value for name, value in values.items() if name.removeprefix("train_") in task.measured}
    return metrics | {"train_metric_samples": len(examples)}


def train_sample(examples: Dataset, limit: int, seed: int) -> Dataset:
    """Return the examples that are measured: at most ``limit``, drawn by the seed, in the order of evaluation."""
    if len(examples) > limit:
        examples = examples.select(np.sort(np.random.default_rng(seed).choice(len(examples), limit, replace=False)))
    return longest_first(examples)


def evaluate(
    trainer: AdapterTrainer, sets: dict[str, Dataset], texts: dict[str, Dataset], task: Task, folder: Path
) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """Evaluate, and write the predictions to files.

    Args:
        sets: the evaluation sets by the suffix of their metrics' names and of their file: "" or MNLI's "_mm". Their
            examples are in any order; the column ``row`` is the position in the file.
        texts: the same before they were tokenised, in the file's order.

    Returns:
        The ``eval_*`` metrics, and the record's fields about classes: ``classes``, the scores of each class, and
        ``one_class``, the class that all examples were predicted as, if there is one. Printed lines name that class
        and the classes with the lowest scores.
    """
    metrics: dict[str, Any] = {}
    scores: dict[str, dict[str, Any]] = {}
    for suffix, examples in sets.items():
        output = _output(trainer, examples)
        logits, labels = _in_file_order(examples, output.predictions, output.label_ids)
        if is_main_process():
            write_evaluation(folder / EVALUATION_FILE.format(suffix=suffix), logits, labels, task)
        metrics |= {f"{name}{suffix}": value for name, value in output.metrics.items()}
        metrics[f"eval_samples{suffix}"] = len(examples)
        if task.labels is not None and not task.multi_label:
            classes = class_scores(logits, labels, texts[suffix], task)
            scores.setdefault("classes", {})[f"eval{suffix}"] = classes
            if line := worst_classes(classes):
                print(f"{line}{' (mismatched set)' if suffix else ''}")
        if task.labels is not None and (only := _only_class(logits, task)) is not None:
            scores.setdefault("one_class", {})[f"eval{suffix}"] = only
    return metrics, scores


def predict(trainer: Trainer, sets: dict[str, Dataset], task: Task, folder: Path) -> dict[str, int]:
    """Write the submission file of each prediction set, in GLUE's format; return how many examples they have."""
    for name, examples in sets.items():
        output = trainer.predict(examples, metric_key_prefix="predict")
        (logits,) = _in_file_order(examples, output.predictions)
        if is_main_process():
            write_predictions(folder / f"{name}.tsv", logits, task)
    return {"predict_samples": sum(map(len, sets.values()))}


def prediction_files(data: Data) -> list[str]:
    """Return the names of the files that these functions write for ``data``."""
    evaluated = [EVALUATION_FILE.format(suffix=suffix) for suffix in data.evaluation]
    return evaluated + [f"{name}.tsv" for name in data.prediction]


def _output(trainer: AdapterTrainer, examples: Dataset) -> EvalLoopOutput:
    """Return predictions, labels and metrics of an evaluation set. If training ended with its evaluation, and the
    model has not changed since, they are taken from there: a second pass would give the same bits."""
    args = trainer.args
    step, output = trainer.newest_evaluation
    changed = args.load_best_model_at_end or args.bf16_full_eval or args.fp16_full_eval
    if changed or step != trainer.state.global_step or examples is not trainer.eval_dataset:
        return trainer.predict(examples, metric_key_prefix="eval")
    return output._replace(metrics={n: value for n, value in output.metrics.items() if n.startswith("eval_")})


def _only_class(logits: np.ndarray, task: Task) -> Optional[str]:
    """Return the class, or set of labels, that all examples were predicted as, and print a note. Return None if they
    differ, or if there is one example."""
    predictions = predictions_of(logits, task)
    if len(predictions) < 2 or (predictions != predictions[0]).any():
        return None
    first = predictions[0]
    name = (joined_names(first, task) or "no label") if task.multi_label else task.labels[int(first)]
    print(
        f"note: all {len(predictions):,} evaluated examples were predicted as {quoted(name)}, as a model that ignores "
        "its input would do"
    )
    return name


def _in_file_order(examples: Dataset, *values: np.ndarray) -> list[np.ndarray]:
    """Return arrays with a row for each example, sorted as the examples are in their file."""
    order = np.argsort(examples["row"])
    return [value[order] for value in values]
