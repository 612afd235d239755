"""Defines the nine GLUE tasks (Wang et al. 2019): columns, labels, metrics, and the files that GLUE's server takes."""

from dataclasses import dataclass
from typing import Optional

from ..config import MULTI_LABEL, REGRESSION, SINGLE_LABEL


@dataclass(frozen=True)
class Task:
    """A task's columns, labels, metrics and splits.

    ``labels`` is None for regression. ``primary`` is the metric of the tables and of the best epoch. ``metrics`` are
    the benchmark's own, and ``chosen`` are those that a user named, which have no part in the mean.
    ``evaluation`` and ``prediction`` map a suffix of metric names, or a file name, to a split of the data set.
    ``diagnostics`` maps a file name to another configuration of the data set, whose test split is predicted too.
    """

    texts: tuple[str, ...]
    labels: Optional[tuple[str, ...]]
    metrics: tuple[str, ...]
    primary: str
    evaluation: tuple[tuple[str, str], ...] = (("", "validation"),)
    prediction: tuple[tuple[str, str], ...] = ()
    diagnostics: tuple[tuple[str, str], ...] = ()
    writes_label_names: bool = False  # the submission file holds names rather than numbers
    chosen: tuple[str, ...] = ()
    delimiter: Optional[str] = None  # joins the columns of ``texts`` to one text; None for one text or a pair
    label_separator: Optional[str] = None  # joins the names of several labels; None for one label a text

    @property
    def multi_label(self) -> bool:
        """Return whether a text may have several labels, or none."""
        return self.label_separator is not None

    @property
    def problem_type(self) -> str:
        """Return the ``problem_type`` of a model's configuration, by which Transformers chooses the loss."""
        if self.multi_label:
            return MULTI_LABEL
        return REGRESSION if self.labels is None else SINGLE_LABEL

    @property
    def inputs(self) -> int:
        """Return the number of texts that the tokenizer gets for an example: 1, or 2 for a pair."""
        return len(self.texts) if self.delimiter is None else 1

    @property
    def measured(self) -> tuple[str, ...]:
        """Return the names of all metrics. ``combined_score`` is the mean of several ``metrics``. It is not computed
        with several labels a text."""
        combined = len(self.metrics) > 1 and not self.multi_label
        return (*self.metrics, *self.chosen, *(("combined_score",) if combined else ()))

    @property
    def prediction_sets(self) -> tuple[tuple[str, str], ...]:
        """Return file name and split of each prediction set, with those of ``diagnostics``."""
        return (*self.prediction, *((name, f"test_{config}") for name, config in self.diagnostics))


def _glue(
    file: str,
    texts: tuple[str, ...],
    labels: tuple[str, ...],
    metrics: tuple[str, ...] = ("accuracy",),
    writes_label_names: bool = False,
) -> Task:
    """Return a task with one development set and one test set, whose predictions go to ``file``."""
    prediction = ((file, "test"),)
    return Task(texts, labels, metrics, metrics[-1], prediction=prediction, writes_label_names=writes_label_names)


_PAIR = ("sentence1", "sentence2")
_ENTAILMENT = ("entailment", "not_entailment")
_F1 = ("accuracy", "f1")

TASKS: dict[str, Task] = {
    "cola": _glue("CoLA", ("sentence",), ("unacceptable", "acceptable"), ("matthews_correlation",)),
    "mnli": Task(
        ("premise", "hypothesis"),
        ("entailment", "neutral", "contradiction"),
        ("accuracy",),
        "accuracy",
        evaluation=(("", "validation_matched"), ("_mm", "validation_mismatched")),
        prediction=(("MNLI-m", "test_matched"), ("MNLI-mm", "test_mismatched")),
        diagnostics=(("AX", "ax"),),
        writes_label_names=True,
    ),
    "mrpc": _glue("MRPC", _PAIR, ("not_equivalent", "equivalent"), _F1),
    "qnli": _glue("QNLI", ("question", "sentence"), _ENTAILMENT, writes_label_names=True),
    "qqp": _glue("QQP", ("question1", "question2"), ("not_duplicate", "duplicate"), _F1),
    "rte": _glue("RTE", _PAIR, _ENTAILMENT, writes_label_names=True),
    "sst2": _glue("SST-2", ("sentence",), ("negative", "positive")),
    "stsb": Task(_PAIR, None, ("pearson", "spearmanr"), "combined_score", prediction=(("STS-B", "test"),)),
    "wnli": _glue("WNLI", _PAIR, ("not_entailment", "entailment")),
}


def other_task(
    texts: tuple[str, ...],
    labels: Optional[tuple[str, ...]],
    delimiter: Optional[str] = None,
    label_separator: Optional[str] = None,
) -> Task:
    """Return the task for a data set that is not one of the nine.

    Its metrics are accuracy (and F1 for two classes), the correlations for scores, and F1 for several labels a text.
    """
    common = {"prediction": (("predictions", "test"),), "delimiter": delimiter, "label_separator": label_separator}
    if labels is None:
        return Task(texts, None, ("pearson", "spearmanr"), "combined_score", **common)
    if label_separator is not None:
        return Task(texts, labels, ("f1_micro", "f1_macro"), "f1_micro", writes_label_names=True, **common)
    metrics = ("accuracy", "f1") if len(labels) == 2 else ("accuracy",)
    return Task(texts, labels, metrics, "accuracy", writes_label_names=True, **common)
