"""The flags of metrics, of the best model and of early stopping, and the defaults that follow from each other."""

from typing import Any

from ..data.metric_names import CLASS_METRICS, SCORE_METRICS, canonical, check_metrics, lower_is_better, metric_names
from ..data.tasks import TASKS
from ..errors import UsageError

NEEDS_EVALUATIONS = "needs evaluations while training: give --do_train and --do_eval, and no --eval_strategy no"


def resolve_metrics(given: dict[str, Any]) -> None:
    """Give the metrics of the command line our spelling, in place. Raise UsageError for a metric that is unknown, or
    does not suit a GLUE task or the other metrics."""
    names: dict[str, tuple[str, ...]] = {}  # by flag
    if "metric_name" in given:
        names["metric_name"] = metric_names(given["metric_name"])
        given["metric_name"] = ",".join(names["metric_name"])
    if best := given.get("metric_for_best_model"):
        prefix = "eval_" if best.startswith("eval_") else ""
        if name := canonical(best.removeprefix("eval_")):
            names["metric_for_best_model"] = (name,)
            given["metric_for_best_model"] = prefix + name
    task = TASKS.get(str(given.get("task_name") or "").lower())
    for flag, of_flag in names.items() if task else ():
        check_metrics(of_flag, flag, task.labels)
    every = [name for of_flag in names.values() for name in of_flag]
    of_classes, of_scores = ([name for name in every if name in known] for known in (CLASS_METRICS, SCORE_METRICS))
    if of_classes and of_scores:
        flags = " and ".join(f"--{flag}" for flag in names)
        kinds = f"{of_classes[0]} is for classes and {of_scores[0]} for scores"
        raise UsageError(f"{flags}: {kinds}; leave one of them out")


def selection_defaults(given: dict[str, Any]) -> dict[str, Any]:
    """Return defaults: whether less is better, and what early stopping needs. Raise UsageError for early stopping
    without evaluations, or with saves that do not match them."""
    defaults: dict[str, Any] = {}
    metric = given.get("metric_for_best_model")
    if "early_stopping_patience" in given:
        metric = metric or "loss"
        defaults = {"metric_for_best_model": metric, "load_best_model_at_end": True} | _matching_saves(given)
    if metric and lower_is_better(metric):
        defaults["greater_is_better"] = False
    return defaults


def _matching_saves(given: dict[str, Any]) -> dict[str, Any]:
    """Return the flags that save at each evaluation, as early stopping loads the best model from a checkpoint."""
    strategy = given.get("eval_strategy", "epoch" if given.get("do_eval") else "no")
    if not given.get("do_train") or strategy == "no":
        raise UsageError(f"--early_stopping_patience {NEEDS_EVALUATIONS}")
    if given.get("load_best_model_at_end") is False:
        return {}
    if (save := given.get("save_strategy", strategy)) not in (strategy, "best"):
        raise UsageError(
            f"--early_stopping_patience loads the best model at the end, and with --eval_strategy {strategy} and "
            f"--save_strategy {save} it may not be saved: give --save_strategy {strategy} or best, or "
            "--load_best_model_at_end False"
        )
    steps = given.get("eval_steps", given.get("logging_steps", 500))  # the same steps as the evaluations
    return {"save_strategy": save} | ({"save_steps": steps} if save == "steps" else {})
