"""Decides whether labels are names of classes or scores, encodes them as class ids or scores, and refuses others."""

import math
from decimal import Decimal
from typing import Any, Optional

import numpy as np
from datasets import Dataset, List, Value

from ..config import REGRESSION
from ..errors import UsageError, listed, quoted
from .label_names import COMMA, find_name, lookalikes, name_of, shown_beside, styled_number
from .multi_label import named_classes, names_of_rows
from .tasks import Task
from .texts import text_of

# A note is printed if there are more classes than this, or more than a tenth of the rows: the labels may be meant as
# scores.
_SCORES_LIKELY_ABOVE = 20
# If at most this share of the labels is not numeric, these values are taken for gaps, not for a class.
_GAPS_AT_MOST = 0.05
_AS_NUMBERS = "write numbers with a decimal point and nothing else, for example 0.5 or 1250"


def names_or_scores(values: list, source: str) -> Optional[tuple[str, ...]]:
    """Return the sorted names of the classes, or None if the labels are scores, which are written as decimals. Raise
    UsageError, naming the first row whose label is missing or does not go with the others."""
    numbers = [number_of(value) for value in values]
    _check_mixture(values, numbers, source)
    if any(isinstance(number, float) for number in numbers):
        return None
    found = {name_of(value) if number is None else _name_of_integer(value) for value, number in zip(values, numbers)}
    names = tuple(sorted(found, key=lambda name: (number_of(name) is None, number_of(name) or 0, name)))
    if len(names) > _SCORES_LIKELY_ABOVE or 2 < len(names) > len(values) / 10:
        scores = "" if None in numbers else "; scores are written as decimals, for example 3.0"
        print(f"note: {source}: the {len(values)} labels are taken for {len(names)} classes{scores}")
    if alike := lookalikes(names):
        print(f"note: {source}: the classes {alike[0]} and {alike[1]} look alike and are two")
    return names


def _check_mixture(values: list, numbers: list[Optional[float]], source: str) -> None:
    """Refuse missing labels, and labels among numbers that are gaps, misspelled numbers or a few words.

    | among the labels is                    | and                                 | then                         |
    |----------------------------------------|-------------------------------------|------------------------------|
    | an empty one                           |                                     | refused                      |
    | NaN or infinity                        | a number, or at most 5 % are such   | refused                      |
    | a number with a comma (0,5)            |                                     | refused: write plain numbers |
    | a number in another style (10%)        | at most 5 % are other words         | refused: write plain numbers |
    | a number in another style              | more than 5 % are other words       | all are names, with a note   |
    | a word beside numbers                  | a decimal, or at most 5 % are words | refused                      |
    | a word beside integers                 | more than 5 % are words             | all are names, with a note   |

    In a short list a single gap or word counts as 5 %.
    """

    def label(row: int) -> str:
        return f"{source}: row {row + 1} has the label {quoted(values[row])}"

    few = max(1, len(values) * _GAPS_AT_MOST)
    words = [row for row, number in enumerate(numbers) if number is None]
    numeric = [row for row, number in enumerate(numbers) if number is not None]
    if missing := [row for row in words if _is_missing(values[row])]:
        raise UsageError(f"{source}: row {missing[0] + 1} has no label; write it or remove the row")
    gaps = [row for row in words if not math.isfinite(_float_of(values[row]) or 0)]
    if gaps and (numeric or isinstance(values[0], float) or len(gaps) <= few):  # many of them are a class
        raise UsageError(f"{label(gaps[0])}, which is neither a score nor a class; correct it or remove the row")
    styles = {row: style for row in words if (style := styled_number(values[row]))}
    if styles:
        with_comma = next((row for row, style in styles.items() if style == COMMA), None)
        row = next(iter(styles)) if with_comma is None else with_comma
        number = f"{label(row)}, a number with {styles[row]}"
        if with_comma is not None or len(words) - len(styles) <= len(values) * _GAPS_AT_MOST:
            advice = f"{_AS_NUMBERS}, or, if these are classes, give each a name that is no number"
            raise UsageError(f"{number}; {advice}")
        if not numeric:
            print(f"note: {number}; all are taken for names of classes")
    if words and numeric:
        first = f"{label(min(words, numeric, key=len)[0])}, where {len(numeric)} of {len(values)} labels are numbers"
        if len(words) <= few or any(isinstance(number, float) for number in numbers):
            advice = "correct it or remove the row, or give every class a name that is no number"
            raise UsageError(f"{first}; {advice}")
        print(f"note: {first}; all are taken for names of classes")


def saved_label_names(record: dict[str, Any]) -> Optional[tuple[str, ...]]:
    """Return the label names in an adapter's config record, in the order of its classes, or None for regression."""
    if record["problem_type"] == REGRESSION:
        return None
    return tuple(record["id2label"][str(i)] for i in range(record["num_labels"]))


def encode_labels(examples: Dataset, task: Task, source: str, numbered: bool) -> Dataset:
    """Return ``label`` as class id (int64) or score (float64), or as a list of 0.0 and 1.0 for several labels a text.

    If ``numbered``, a file may hold GLUE's numbers of the classes instead of their names. Raise UsageError for a
    missing or unknown label, naming its row.
    """
    names, several = task.labels, task.multi_label
    ids = {name: i for i, name in enumerate(names or ())}
    known = {str(i): i for i in range(len(ids))} | ids if numbered else ids
    if several:
        rows = names_of_rows(examples, task.label_separator, source)
    else:
        rows = [[value] for value in named_classes(examples, "label", source)]
    encoded = []
    for row, values in enumerate(rows, 1):
        codes = [_code_of(value, known) for value in values]
        if None in codes:
            raise UsageError(f"{source}: row {row} {_flaw_of(values[codes.index(None)], task)}")
        encoded.append([float(i in codes) for i in range(len(ids))] if several else codes[0])
    feature = List(Value("float32")) if several else Value("float64" if names is None else "int64")
    return examples.remove_columns("label").add_column("label", encoded, feature=feature)


def _flaw_of(value: Any, task: Task) -> str:
    """Return what is wrong with a label that the task does not know, and what is expected."""
    names = task.labels
    if names is None:
        shown, expected = quoted(value), "a number"
    else:
        shown, expected = shown_beside(value, names), f"{'some' if task.multi_label else 'one'} of {listed(names)}"
    flaw = "has no label" if _is_missing(value) or value == -1 else f"has the label {shown}"
    numbers = names is None or any(number_of(name) is not None for name in names)
    if numbers and (style := styled_number(value)):
        return f"{flaw}, a number with {style}; expected {expected}; {_AS_NUMBERS}"
    return f"{flaw}; expected {expected}"


def ids_of_rows(examples: Dataset, task: Task) -> list[frozenset[int]]:
    """Return the ids of the encoded labels that each example has, or its score."""
    if task.multi_label:
        return [frozenset(np.flatnonzero(labels)) for labels in examples["label"][:]]
    return [frozenset((label,)) for label in examples["label"][:]]


def check_labels(raw: dict[str, Dataset], task: Task, sources: dict[str, str]) -> None:
    """Refuse a training set of one class or score, or one that lacks a label of an evaluation set."""
    if "train" not in raw:
        return
    check_variety(raw["train"], task, sources["train"])
    if task.labels is None:
        return
    trained = frozenset().union(*ids_of_rows(raw["train"], task))
    for split, examples in raw.items():
        if split.startswith("validation") and (lacking := set().union(*ids_of_rows(examples, task)) - trained):
            name = quoted(task.labels[min(lacking)])
            raise UsageError(f"{sources[split]} has the label {name}, which {sources['train']} lacks")


def check_variety(train: Dataset, task: Task, source: str) -> None:
    """Raise UsageError if the training set has a single class or score, or the same labels for every text."""
    first, *others = set(ids_of_rows(train, task))
    if others:
        return
    if task.multi_label:
        raise UsageError(f"{source} has the same labels in every row; training needs a difference")
    (only,) = first
    only = f"score ({only})" if task.labels is None else f"class ({listed((task.labels[only],))})"
    raise UsageError(f"{source} has only one {only}; training needs at least two")


def _code_of(value: Any, ids: dict[str, int]) -> Optional[float]:
    """Return the id of a class, or a score if there are no ``ids``; None for what is neither."""
    number = number_of(value)
    if not ids:
        return None if number is None else float(number)
    code = find_name(text_of(value).strip(), ids)
    if code is None and isinstance(value, bool):
        number = int(value)  # older adapters, and GLUE's numbers, have 0 and 1 for false and true
    if code is None and number is not None and float(number).is_integer():
        code = ids.get(str(int(number)))  # 1.0 and "01" are the class 1
    return code


def number_of(value: Any) -> Optional[float]:
    """Return the number in a value, an int if it is written as one; None for NaN and words."""
    number = _float_of(value)
    if isinstance(value, bool) or (isinstance(value, str) and "_" in value):
        return None  # true, and a name such as 1_0, which Python reads as 10
    if number is None or not math.isfinite(number):
        return None
    digits = str(value).strip().lstrip("+-") if isinstance(value, (str, Decimal)) else ""
    return int(value) if isinstance(value, int) or digits.isdigit() else number


def _float_of(value: Any) -> Optional[float]:
    """Return the value as a float, also NaN or infinity; None for words and integers that no float can hold."""
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        return None


def _name_of_integer(value: Any) -> str:
    """Return the name of a class that is written as an integer. Zeros in front are part of a code such as 0111."""
    digits = text_of(value).strip().lstrip("+-")
    return name_of(value) if len(digits) > 1 and digits.startswith("0") else str(int(value))


def _is_missing(value: Any) -> bool:
    return value is None or (isinstance(value, str) and not value.strip())
