"""Labels: from names, numbers or class ids as they stand in a file to class ids or scores, and what is refused."""

import math
from typing import Any, Optional

from datasets import ClassLabel, Dataset, Value

from ..errors import UsageError
from .tasks import Task


def label_names(
    raw: dict[str, Dataset], sources: dict[str, str], saved: Optional[dict[str, Any]] = None
) -> Optional[tuple[str, ...]]:
    """The classes of a data set that is not a GLUE task, or None if its labels are scores (regression).

    Taken from a saved adapter, else from the ClassLabel feature, else from the labels of the training set, sorted.
    """
    if saved is not None:
        return saved_label_names(saved)
    split = "train" if "train" in raw else next(iter(raw))
    feature = raw[split].features.get("label")
    if isinstance(feature, ClassLabel):
        return tuple(feature.names)
    values = set(raw[split]["label"])
    if None in values or "" in values:
        raise UsageError(f"{sources[split]} has rows without a label")
    numbers = {_number(value) for value in values}
    if None in numbers:
        return tuple(sorted(map(str, values)))
    if any(_written_as_float(value) for value in values):
        return None
    return tuple(str(int(number)) for number in sorted(numbers))


def saved_label_names(record: dict[str, Any]) -> Optional[tuple[str, ...]]:
    """The label names in an adapter's config record, in the order of its classes; None for regression."""
    if record["problem_type"] == "regression":
        return None
    return tuple(record["id2label"][str(i)] for i in range(record["num_labels"]))


def encode_labels(examples: Dataset, task: Task, source: str) -> Dataset:
    """``label`` as class id (int64) or score (float64).

    Raises:
        UsageError: for a missing or unknown label, with the row where it stands.
    """
    feature = examples.features["label"]
    names = task.labels
    ids: dict[Any, int] = {}
    if names is not None and not isinstance(feature, ClassLabel):
        numeric = all(_number(name) is not None for name in names)
        ids = {name: i for i, name in enumerate(names)}
        if not numeric:  # a named task's files may hold GLUE's numbers instead of the names
            ids |= {str(i): i for i in range(len(names))}
    encoded = []
    for row, value in enumerate(examples["label"]):
        code = _encode(value, feature, names, ids)
        if code is None:
            what = "has no label" if value in (None, "", -1) else f"has the label {value!r}"
            known = "a number" if names is None else f"one of {', '.join(names)}"
            raise UsageError(f"{source}: row {row + 1} {what}; expected {known}")
        encoded.append(code)
    kind = Value("float64") if names is None else Value("int64")
    return examples.remove_columns("label").add_column("label", encoded, feature=kind)


def check_labels(raw: dict[str, Dataset], task: Task, sources: dict[str, str]) -> None:
    """Refuse what would train or measure nothing.

    Raises:
        UsageError: a training set of one class (or one score), and a label in evaluation that training lacks.
    """
    if "train" not in raw:
        return
    check_variety(raw, task, sources)
    if task.labels is None:
        return
    seen = set(raw["train"]["label"])
    for split, examples in raw.items():
        if split.startswith("validation"):
            lacking = set(examples["label"]) - seen
            if lacking:
                name = task.labels[min(lacking)]
                raise UsageError(f"{sources[split]} has the label {name!r}, which {sources['train']} lacks")


def check_variety(raw: dict[str, Dataset], task: Task, sources: dict[str, str]) -> None:
    """Raises UsageError if the training set has a single class or score."""
    seen = set(raw["train"]["label"]) if "train" in raw else ()
    if len(seen) == 1:
        name = "score" if task.labels is None else "class"
        only = task.labels[next(iter(seen))] if task.labels else next(iter(seen))
        raise UsageError(f"{sources['train']} has only one {name} ({only}); training needs at least two")


def _encode(value: Any, feature: Any, names: Optional[tuple[str, ...]], ids: dict[Any, int]) -> Optional[float]:
    if value is None:
        return None
    if names is None:
        number = _number(value)
        return number if number is not None and math.isfinite(number) else None
    if isinstance(feature, ClassLabel):
        name = feature.int2str(value) if 0 <= value < feature.num_classes else None
        return names.index(name) if name in names else None
    number = _number(value)
    if number is not None and float(number).is_integer() and str(int(number)) in ids:
        return ids[str(int(number))]
    return ids.get(str(value))


def _number(value: Any) -> Optional[float]:
    """An int where it is written as one, which floats of that size could not tell apart; None for nan and words."""
    for kind in (int, float):
        try:
            if isinstance(value, float) and kind is int:
                continue
            return kind(value) if math.isfinite(float(value)) else None
        except (TypeError, ValueError, OverflowError):
            continue
    return None


def _written_as_float(value: Any) -> bool:
    return isinstance(value, float) or (isinstance(value, str) and not value.strip().lstrip("+-").isdigit())
