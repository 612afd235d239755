"""Labels: from names, numbers or class ids as they stand in a file to class ids or scores, and what is refused."""

import math
from typing import Any, Optional

from datasets import ClassLabel, Dataset, Value

from ..errors import UsageError, quoted
from .names import find_name, name_of, shown_beside, styled_number, twins
from .tasks import Task
from .texts import text_of

# More classes than this are told, as are more than a tenth of the rows: they may have been meant as scores.
_MANY = 20
# The largest part of labels that looks like gaps among numbers rather than like a class.
_FEW = 0.05
_AS_NUMBERS = "write numbers with a decimal point and nothing else, for example 0.5 or 1250"


def label_names(
    raw: dict[str, Dataset], sources: dict[str, str], saved: Optional[dict[str, Any]] = None
) -> Optional[tuple[str, ...]]:
    """The classes of a data set that is not a GLUE task, or None if its labels are scores (regression).

    Taken from a saved adapter, else from the ClassLabel feature, else from the labels of the training set, sorted.

    Raises:
        UsageError: for labels of which a few are no numbers, or are missing, with the first such row.
    """
    if saved is not None:
        return saved_label_names(saved)
    split = "train" if "train" in raw else next(iter(raw))
    feature = raw[split].features.get("label")
    if isinstance(feature, ClassLabel):
        return tuple(feature.names)
    return _names_or_scores(raw[split]["label"][:], sources[split])


def _names_or_scores(values: list, source: str) -> Optional[tuple[str, ...]]:
    numbers = [number_of(value) for value in values]
    missing = next((row for row, value in enumerate(values) if _is_missing(value)), None)
    if missing is not None:
        raise UsageError(f"{source}: row {missing + 1} has no label; write it or remove the row")
    gaps = [row for row, value in enumerate(values) if _is_no_number(value)]
    among_numbers = isinstance(values[0], float) or any(number is not None for number in numbers)
    # As words alone, and in quantity, they are names like any other.
    if gaps and (among_numbers or _are_few(gaps, values)):
        what = f"row {gaps[0] + 1} has the label {quoted(values[gaps[0]])}, which is neither a score nor a class"
        raise UsageError(f"{source}: {what}; correct it or remove the row")
    _check_style(values, numbers, source)
    wholes = {int(number) for number in numbers if number is not None}
    words = {name_of(value) for value, number in zip(values, numbers) if number is None}
    decimal = any(number is not None and _written_as_float(value) for value, number in zip(values, numbers))
    if wholes and words:
        _check_mixture(values, numbers, decimal, source)
    elif decimal:
        return None
    names = (*map(str, sorted(wholes)), *sorted(words))
    if len(names) > _MANY or 2 < len(names) > len(values) / 10:
        scores = "" if words else "; scores are written as decimals, for example 3.0"
        print(f"note: {source}: the {len(values)} labels are taken for {len(names)} classes{scores}")
    if alike := twins(names):
        print(f"note: {source}: the classes {alike[0]} and {alike[1]} look alike and are two")
    return names


def _check_style(values: list, numbers: list, source: str) -> None:
    """Numbers with decimal commas, per cents or separators of thousands were meant as scores, and are no classes.

    Beside names they may be names. Among numbers, a few other words would be gaps.
    """
    words = [row for row, number in enumerate(numbers) if number is None]
    styled = [row for row in words if styled_number(values[row])]
    if styled and len(words) - len(styled) <= len(values) * _FEW:
        value = values[styled[0]]
        what = f"row {styled[0] + 1} has the label {quoted(value)}, a number with {styled_number(value)}"
        mend = f"{_AS_NUMBERS}, or, if these are classes, give each a name that is no number"
        raise UsageError(f"{source}: {what}; {mend}")


def _check_mixture(values: list, numbers: list, decimal: bool, source: str) -> None:
    """Numbers and words in one column: names of classes, unless the words are so few that they look like gaps."""
    words = [row for row, number in enumerate(numbers) if number is None]
    others = [row for row, number in enumerate(numbers) if number is not None]
    rare = min(words, others, key=len)
    first = f"row {rare[0] + 1} has the label {quoted(values[rare[0]])}"
    count = f"{len(others)} of {len(values)} labels are numbers"
    if decimal or _are_few(words, values):
        mend = "correct it or remove the row, or give every class a name that is no number"
        raise UsageError(f"{source}: {first}, where {count}; {mend}")
    print(f"note: {source}: {first}, where {count}; all are taken for names of classes")


def saved_label_names(record: dict[str, Any]) -> Optional[tuple[str, ...]]:
    """The label names in an adapter's config record, in the order of its classes; None for regression."""
    if record["problem_type"] == "regression":
        return None
    return tuple(record["id2label"][str(i)] for i in range(record["num_labels"]))


def encode_labels(examples: Dataset, task: Task, source: str, numbered: bool = False) -> Dataset:
    """``label`` as class id (int64) or score (float64).

    Args:
        numbered: the classes have GLUE's numbers, which a file may hold instead of their names.

    Raises:
        UsageError: for a missing or unknown label, with the row where it stands.
    """
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
            what = "has no label" if _is_missing(value) or value == -1 else f"has the label {shown}"
            known = "a number" if names is None else f"one of {listed(names)}"
            if names is None and (style := styled_number(value)):
                what, known = f"{what}, a number with {style}", f"{known}; {_AS_NUMBERS}"
            raise UsageError(f"{source}: row {row} {what}; expected {known}")
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
                name = quoted(task.labels[min(lacking)])
                raise UsageError(f"{sources[split]} has the label {name}, which {sources['train']} lacks")


def check_variety(raw: dict[str, Dataset], task: Task, sources: dict[str, str]) -> None:
    """Raises UsageError if the training set has a single class or score."""
    seen = set(raw["train"]["label"]) if "train" in raw else ()
    if len(seen) == 1:
        name = "score" if task.labels is None else "class"
        only = listed((task.labels[next(iter(seen))],)) if task.labels else next(iter(seen))
        raise UsageError(f"{sources['train']} has only one {name} ({only}); training needs at least two")


def number_of(value: Any) -> Optional[float]:
    """An int where it is written as one, which floats of that size could not tell apart; None for nan and words."""
    if isinstance(value, bool) or (isinstance(value, str) and "_" in value):
        return None  # true, and a name such as 1_0, which Python reads as 10
    for kind in (int, float):
        try:
            if isinstance(value, float) and kind is int:
                continue
            return kind(value) if math.isfinite(float(value)) else None
        except (TypeError, ValueError, OverflowError):
            continue
    return None


def _encode(value: Any, feature: Any, names: Optional[tuple[str, ...]], ids: dict[str, int]) -> Optional[float]:
    if value is None:
        return None
    if names is None:
        number = number_of(value)
        return None if number is None else float(number)
    if isinstance(feature, ClassLabel):
        name = feature.int2str(value) if 0 <= value < feature.num_classes else None
        return None if name is None else find_name(name, dict(zip(names, range(len(names)))))
    code = ids.get(text_of(value).strip())
    if code is not None:
        return code
    number = number_of(value)
    if number is not None and float(number).is_integer():
        return ids.get(str(int(number)))  # of 1.0 and "01"
    code = find_name(text_of(value).strip(), ids)
    if code is None and isinstance(value, bool):
        code = ids.get(str(int(value)))  # older adapters, and GLUE's numbers, have 0 and 1 for false and true
    return code


def _are_few(rows: list, values: list) -> bool:
    return len(rows) <= max(1, len(values) * _FEW)


def _is_missing(value: Any) -> bool:
    return value is None or (isinstance(value, str) and not value.strip())


def _is_no_number(value: Any) -> bool:
    """NaN and infinity, also in words."""
    try:
        return not math.isfinite(float(value))
    except (TypeError, ValueError, OverflowError):  # words, and integers that no float can hold
        return False


def _written_as_float(value: Any) -> bool:
    return isinstance(value, float) or (isinstance(value, str) and not value.strip().lstrip("+-").isdigit())


def listed(names: tuple[str, ...]) -> str:
    """For messages: the names, or the first ones."""
    shown = ", ".join(quoted(name)[1:-1] for name in names[:10])
    return shown if len(names) <= 10 else f"{shown}, ..."
