"""The nine GLUE tasks (Wang et al. 2019): columns, labels, metrics, and the files that GLUE's server takes."""

from dataclasses import dataclass
from typing import Optional


@dataclass(frozen=True)
class Task:
    """What distinguishes one task from another.

    ``labels`` is None for regression. ``primary`` is the metric that tables give and by which the best epoch is named.
    ``metrics`` are the benchmark's own, and ``chosen`` are those that a user named, which have no part in the mean.
    ``evaluation`` and ``prediction`` map a suffix of metric names, or a file name, to a split of the data set.
    """

    texts: tuple[str, ...]
    labels: Optional[tuple[str, ...]]
    metrics: tuple[str, ...]
    primary: str
    evaluation: tuple[tuple[str, str], ...] = (("", "validation"),)
    prediction: tuple[tuple[str, str], ...] = ()
    writes_label_names: bool = False  # the submission file holds names rather than numbers
    chosen: tuple[str, ...] = ()

    @property
    def measured(self) -> tuple[str, ...]:
        """The names of all that is measured; ``combined_score`` is the mean of several ``metrics``."""
        return (*self.metrics, *self.chosen, *(("combined_score",) if len(self.metrics) > 1 else ()))


_PAIR = ("sentence1", "sentence2")
_ENTAILMENT = ("entailment", "not_entailment")

TASKS: dict[str, Task] = {
    "cola": Task(
        ("sentence",),
        ("unacceptable", "acceptable"),
        ("matthews_correlation",),
        "matthews_correlation",
        prediction=(("CoLA", "test"),),
    ),
    "mnli": Task(
        ("premise", "hypothesis"),
        ("entailment", "neutral", "contradiction"),
        ("accuracy",),
        "accuracy",
        evaluation=(("", "validation_matched"), ("_mm", "validation_mismatched")),
        prediction=(("MNLI-m", "test_matched"), ("MNLI-mm", "test_mismatched")),
        writes_label_names=True,
    ),
    "mrpc": Task(_PAIR, ("not_equivalent", "equivalent"), ("accuracy", "f1"), "f1", prediction=(("MRPC", "test"),)),
    "qnli": Task(
        ("question", "sentence"),
        _ENTAILMENT,
        ("accuracy",),
        "accuracy",
        prediction=(("QNLI", "test"),),
        writes_label_names=True,
    ),
    "qqp": Task(
        ("question1", "question2"),
        ("not_duplicate", "duplicate"),
        ("accuracy", "f1"),
        "f1",
        prediction=(("QQP", "test"),),
    ),
    "rte": Task(_PAIR, _ENTAILMENT, ("accuracy",), "accuracy", prediction=(("RTE", "test"),), writes_label_names=True),
    "sst2": Task(("sentence",), ("negative", "positive"), ("accuracy",), "accuracy", prediction=(("SST-2", "test"),)),
    "stsb": Task(_PAIR, None, ("pearson", "spearmanr"), "combined_score", prediction=(("STS-B", "test"),)),
    "wnli": Task(_PAIR, ("not_entailment", "entailment"), ("accuracy",), "accuracy", prediction=(("WNLI", "test"),)),
}


def other_task(texts: tuple[str, ...], labels: Optional[tuple[str, ...]]) -> Task:
    """A data set that is not one of the nine: accuracy (and F1 where there are two classes), or the correlations."""
    if labels is None:
        return Task(texts, None, ("pearson", "spearmanr"), "combined_score", prediction=(("predictions", "test"),))
    metrics = ("accuracy", "f1") if len(labels) == 2 else ("accuracy",)
    return Task(texts, labels, metrics, "accuracy", prediction=(("predictions", "test"),), writes_label_names=True)
