"""Turns labels, as they are written in a file, into class ids or scores, and refuses labels that are neither."""

from typing import Any, Optional

from datasets import ClassLabel, Dataset, Value

from ..errors import UsageError, quoted
from .label_kinds import AS_NUMBERS, is_missing, number_of
from .multi_label import encode_label_sets
from .names import find_name, listed, shown_beside, styled_number
from .tasks import Task
from .texts import text_of


def saved_label_names(record: dict[str, Any]) -> Optional[tuple[str, ...]]:
    """Return the label names in an adapter's config record, in the order of its classes, or None for regression."""
    if record["problem_type"] == "regression":
        return None
    return tuple(record["id2label"][str(i)] for i in range(record["num_labels"]))


def encode_labels(examples: Dataset, task: Task, source: str, numbered: bool = False) -> Dataset:
    """Return ``label`` as class id (int64) or score (float64), or as a list of 0 and 1 for several labels a text.

    If ``numbered``, a file may hold GLUE's numbers of the classes instead of their names.

    Raises:
        UsageError: for a missing or unknown label, naming its row.
    """
    if task.multi_label:
        return encode_label_sets(examples, task, source)
    feature = examples.features["label"]
    names = task.labels
    ids: dict[str, int] = {}
    if names is not None and not isinstance(feature, ClassLabel):
        ids = {str(i): i for i in range(len(names))} if numbered else {}
        ids |= {name: i for i, name in enumerate(names)}
    encoded = []
    for row, value in enumerate(examples["label"], 1):
        code = _encode(value, feature, names, ids)
        if code is None:
            shown = quoted(value) if names is None else shown_beside(value, names)
            what = "has no label" if is_missing(value) or value == -1 else f"has the label {shown}"
            known = "a number" if names is None else f"one of {listed(names)}"
            if names is None and (style := styled_number(value)):
                what, known = f"{what}, a number with {style}", f"{known}; {AS_NUMBERS}"
            raise UsageError(f"{source}: row {row} {what}; expected {known}")
        encoded.append(code)
    kind = Value("float64") if names is None else Value("int64")
    return examples.remove_columns("label").add_column("label", encoded, feature=kind)


def check_labels(raw: dict[str, Dataset], task: Task, sources: dict[str, str]) -> None:
    """Refuse a training set of one class or score, or one that lacks a label of an evaluation set."""
    if "train" not in raw:
        return
    check_variety(raw["train"], task, sources["train"])
    if task.labels is None:
        return
    trained = _present(raw["train"], task)
    for split, examples in raw.items():
        if split.startswith("validation") and (lacking := _present(examples, task) - trained):
            name = quoted(task.labels[min(lacking)])
            raise UsageError(f"{sources[split]} has the label {name}, which {sources['train']} lacks")


def check_variety(train: Dataset, task: Task, source: str) -> None:
    """Raise UsageError if the training set has a single class or score, or the same labels for every text."""
    if task.multi_label:
        if len(set(map(tuple, train["label"]))) == 1:
            raise UsageError(f"{source} has the same labels in every row; training needs a difference")
    elif len(seen := set(train["label"])) == 1:
        name, only = "score", seen.pop()
        if task.labels is not None:
            name, only = "class", listed((task.labels[only],))
        raise UsageError(f"{source} has only one {name} ({only}); training needs at least two")


def _present(examples: Dataset, task: Task) -> set[int]:
    """Return the ids of the labels that some example has."""
    if task.multi_label:
        return {i for labels in examples["label"] for i, has in enumerate(labels) if has}
    return set(examples["label"])


def _encode(value: Any, feature: Any, names: Optional[tuple[str, ...]], ids: dict[str, int]) -> Optional[float]:
    if value is None:
        return None
    if isinstance(feature, ClassLabel):
        if not 0 <= value < feature.num_classes:
            return None
        value = feature.int2str(value)
        if names is not None:
            return find_name(value, dict(zip(names, range(len(names)))))
    if names is None:
        number = number_of(value)
        return None if number is None else float(number)
    code = ids.get(text_of(value).strip())
    if code is not None:
        return code
    number = number_of(value)
    if number is not None and float(number).is_integer():
        return ids.get(str(int(number)))  # 1.0 and "01" are the class 1
    code = find_name(text_of(value).strip(), ids)
    if code is None and isinstance(value, bool):
        code = ids.get(str(int(value)))  # older adapters, and GLUE's numbers, have 0 and 1 for false and true
    return code
