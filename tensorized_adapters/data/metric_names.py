"""Lists the metrics, with their names in other libraries, and tells which of them suit classes or scores."""

from dataclasses import replace
from typing import Optional

from ..errors import UsageError, did_you_mean, quoted
from .tasks import Task

# The metrics of classes that are computed from the classes' probabilities, and all metrics of classes.
PROBABILITY_METRICS = ("roc_auc", "average_precision")
CLASS_METRICS = ("accuracy", "f1", "f1_macro", "f1_weighted", "matthews_correlation", *PROBABILITY_METRICS)
SCORE_METRICS = ("pearson", "spearmanr", "r2", "mean_absolute_error")

_LOWER_IS_BETTER = ("mean_absolute_error", "loss")

# Other names of the metrics, in scikit-learn, in `evaluate` (used by run_classification) and in the literature.
_SPELLINGS_OF = {
    "accuracy": "accuracy_score",
    "f1": "f1_score f1_binary",
    "f1_macro": "macro_f1",
    "f1_weighted": "weighted_f1",
    "matthews_correlation": "matthews_corrcoef matthews mcc",
    "roc_auc": "roc_auc_score roc_auc_ovr",
    "average_precision": "average_precision_score",
    "pearson": "pearsonr",
    "spearmanr": "spearman",
    "r2": "r2_score r_squared",
    "mean_absolute_error": "mae",
}
_SPELLINGS = {spelling: name for name, spellings in _SPELLINGS_OF.items() for spelling in spellings.split()}


def canonical(name: str) -> Optional[str]:
    """Return our name for a metric in any spelling, or None for an unknown one."""
    plain = name.strip().lower().replace("-", "_")
    plain = _SPELLINGS.get(plain, plain)
    return plain if plain in CLASS_METRICS + SCORE_METRICS else None


def metric_names(text: str) -> tuple[str, ...]:
    """Return the metrics of ``--metric_name`` by our names; raise UsageError for unknown and repeated ones."""
    names: list[str] = []
    for word in text.split(","):
        name = canonical(word)
        if name is None:
            known = CLASS_METRICS + SCORE_METRICS
            hint = did_you_mean(word.strip().lower(), (*known, *_SPELLINGS), f"known: {', '.join(known)}")
            raise UsageError(f"--metric_name {quoted(word.strip())} is unknown here; {hint}")
        if name in names:
            raise UsageError(f"--metric_name lists {name} twice; leave one of them out")
        names.append(name)
    return tuple(names)


def metrics_for(labels: Optional[tuple[str, ...]]) -> tuple[str, ...]:
    """Return the metrics that suit these classes, or scores where ``labels`` is None."""
    if labels is None:
        return SCORE_METRICS
    return CLASS_METRICS if len(labels) == 2 else tuple(name for name in CLASS_METRICS if name != "f1")


def check_metrics(names: tuple[str, ...], flag: str, labels: Optional[tuple[str, ...]]) -> None:
    """Raise UsageError for a metric that does not suit these classes, or scores where ``labels`` is None."""
    suitable = metrics_for(labels)
    for name in names:
        if name not in suitable:
            kind = "scores" if labels is None else f"{len(labels)} classes"
            raise UsageError(f"--{flag} {name} does not suit {kind}; take one of {', '.join(suitable)}")


def with_metrics(task: Task, listed: Optional[str], best: Optional[str]) -> Task:
    """Return the task with the ``listed`` metrics instead of its own, and with the metric that chooses the ``best``
    model. Raise UsageError for a metric that does not suit the task."""
    if task.multi_label:
        if listed is not None:
            own = " and ".join(task.metrics)
            raise UsageError(f"--metric_name is for one label a text; several are measured by {own}; leave it out")
        return task
    if listed is not None:
        names = metric_names(listed)
        check_metrics(names, "metric_name", task.labels)
        task = replace(task, metrics=(), chosen=names, primary=names[0])
    name = None if best is None else best.removeprefix("eval_")
    if name in CLASS_METRICS + SCORE_METRICS and name not in task.measured:
        check_metrics((name,), "metric_for_best_model", task.labels)
        task = replace(task, chosen=(*task.chosen, name))
    return task


def lower_is_better(name: str) -> bool:
    """Return whether the better of two models has the lower value; ``name`` may begin with ``eval_``."""
    return name.removeprefix("eval_") in _LOWER_IS_BETTER
