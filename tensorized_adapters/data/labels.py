"""Decides whether labels are names of classes or scores, encodes them as class ids or scores, and refuses others."""

import math
import re
from collections.abc import Iterable
from decimal import Decimal
from typing import Any, Optional

import numpy as np
from datasets import ClassLabel, Dataset, Value

from ..config import REGRESSION
from ..errors import UsageError, listed, quoted
from .label_names import COMMA, find_name, name_of, shown_beside, styled_number
from .multi_label import encode_label_sets
from .tasks import Task
from .texts import text_of

# A note is printed if there are more classes than this, or more than a tenth of the rows: the labels may be meant as
# scores.
_SCORES_LIKELY_ABOVE = 20
# If at most this share of the labels is not numeric, these values are taken for gaps, not for a class.
_GAPS_AT_MOST = 0.05
# This matches numbers whose point may separate thousands.
_LIKE_THOUSANDS = re.compile(r"[+-]?[1-9]\d{0,2}\.\d{3}")
_AS_NUMBERS = "write numbers with a decimal point and nothing else, for example 0.5 or 1250"


def names_or_scores(values: list, source: str) -> Optional[tuple[str, ...]]:
    """Return the sorted names of the classes, or None if the labels are scores, which are written as decimals. Raise
    UsageError, naming the first row whose label is missing or does not go with the others."""
    numbers = [number_of(value) for value in values]
    words = [row for row, number in enumerate(numbers) if number is None]
    numeric = [row for row, number in enumerate(numbers) if number is not None]
    decimal = any(isinstance(number, float) for number in numbers)
    _check_mixture(values, words, numeric, decimal, source)
    if decimal:
        return None
    integers = {_name_of_integer(values[row], numbers[row]) for row in numeric}
    texts = {name_of(values[row]) for row in words}
    names = (*sorted(integers, key=lambda name: (int(name), name)), *sorted(texts))
    if len(names) > _SCORES_LIKELY_ABOVE or 2 < len(names) > len(values) / 10:
        scores = "" if words else "; scores are written as decimals, for example 3.0"
        print(f"note: {source}: the {len(values)} labels are taken for {len(names)} classes{scores}")
    return names


def _check_mixture(values: list, words: list[int], numeric: list[int], decimal: bool, source: str) -> None:
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

    In a short list a single gap, or a single word beside numbers, counts as 5 %. ``words`` and ``numeric`` are the
    rows of labels that are no numbers, and of those that are; ``decimal`` is true if a number is written as a decimal.
    """

    def label(row: int) -> str:
        return f"{source}: row {row + 1} has the label {quoted(values[row])}"

    few = max(1, len(values) * _GAPS_AT_MOST)
    if missing := [row for row in words if _is_missing(values[row])]:
        raise UsageError(f"{source}: row {missing[0] + 1} has no label; write it or remove the row")
    gaps = [row for row in words if _is_no_number(values[row])]
    if gaps and (numeric or isinstance(values[0], float) or len(gaps) <= few):  # else the word is a class
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
        if decimal or len(words) <= few:
            advice = "correct it or remove the row, or give every class a name that is no number"
            raise UsageError(f"{first}; {advice}")
        print(f"note: {first}; all are taken for names of classes")


def saved_label_names(record: dict[str, Any]) -> Optional[tuple[str, ...]]:
    """Return the label names in an adapter's config record, in the order of its classes, or None for regression."""
    if record["problem_type"] == REGRESSION:
        return None
    return tuple(record["id2label"][str(i)] for i in range(record["num_labels"]))


def encode_labels(examples: Dataset, task: Task, source: str, numbered: bool) -> Dataset:
    """Return ``label`` as class id (int64) or score (float64), or as a list of 0 and 1 for several labels a text.

    If ``numbered``, a file may hold GLUE's numbers of the classes instead of their names. Raise UsageError for a
    missing or unknown label, naming its row.
    """
    if task.multi_label:
        return encode_label_sets(examples, task, source)
    feature, names = examples.features["label"], task.labels
    ids = {name: i for i, name in enumerate(names or ())}
    if numbered and not isinstance(feature, ClassLabel):
        ids = {str(i): i for i in range(len(ids))} | ids
    encoded = []
    for row, value in enumerate(examples["label"], 1):
        code = _encode(value, feature, ids)
        if code is None:
            shown = quoted(value) if names is None else shown_beside(value, names)
            flaw = "has no label" if _is_missing(value) or value == -1 else f"has the label {shown}"
            expected = "a number" if names is None else f"one of {listed(names)}"
            numbers = names is None or any(number_of(name) is not None for name in names)
            if numbers and (style := styled_number(value)):
                flaw, expected = f"{flaw}, a number with {style}", f"{expected}; {_AS_NUMBERS}"
            raise UsageError(f"{source}: row {row} {flaw}; expected {expected}")
        encoded.append(code)
    if names is None:
        _note_thousands(examples["label"], source)
    dtype = Value("float64") if names is None else Value("int64")
    return examples.remove_columns("label").add_column("label", encoded, feature=dtype)


def check_labels(raw: dict[str, Dataset], task: Task, sources: dict[str, str]) -> None:
    """Refuse a training set of one class or score, or one that lacks a label of an evaluation set."""
    if "train" not in raw:
        return
    check_variety(raw["train"], task, sources["train"])
    if task.labels is None:
        return
    trained = set().union(*label_sets(raw["train"], task))
    for split, examples in raw.items():
        if split.startswith("validation") and (lacking := set().union(*label_sets(examples, task)) - trained):
            name = quoted(task.labels[min(lacking)])
            raise UsageError(f"{sources[split]} has the label {name}, which {sources['train']} lacks")


def check_variety(train: Dataset, task: Task, source: str) -> None:
    """Raise UsageError if every text of the training set has the same class, score or labels."""
    labels = train["label"][:]
    if len(set(map(tuple, labels) if task.multi_label else labels)) != 1:
        return
    if task.multi_label:
        what = "labels"
    elif task.labels is None:
        what = f"score ({labels[0]})"
    else:
        what = f"class ({listed((task.labels[labels[0]],))})"
    raise UsageError(f"{source} has the same {what} in every row; training needs a difference")


def label_sets(examples: Dataset, task: Task) -> list[set[int]]:
    """Return the ids of the labels of each example."""
    return [set(np.flatnonzero(label)) if task.multi_label else {label} for label in examples["label"][:]]


def _encode(value: Any, feature: Any, ids: dict[str, int]) -> Optional[float]:
    """Return the id of a class, or a score if there are no ``ids``; None for what is neither."""
    if value is None:
        return None
    if isinstance(feature, ClassLabel):
        if not 0 <= value < feature.num_classes:
            return None
        value = feature.int2str(value)
        if ids:
            return find_name(value, ids)
    text, number = text_of(value).strip(), number_of(value)
    if not ids:
        return None if number is None else float(number)
    if text in ids:
        return ids[text]
    if number is not None and float(number).is_integer():
        return ids.get(str(int(number)))  # 1.0 and "01" are the class 1
    code = find_name(text, ids)
    if code is None and isinstance(value, bool):
        code = ids.get(str(int(value)))  # older adapters, and GLUE's numbers, have 0 and 1 for false and true
    return code


def _note_thousands(values: Iterable[Any], source: str) -> None:
    """Print a note if the points in the scores may separate thousands, as in 1.250 beside 900. They are read as
    decimal points."""
    scores = [value.strip() for value in values if isinstance(value, str)]
    pointed = next((score for score in scores if "." in score), None)
    whole = [score.lstrip("+-") for score in scores if "." not in score]
    if pointed is None or max(map(len, whole), default=0) != 3:
        return
    if all("." not in score or _LIKE_THOUSANDS.fullmatch(score) for score in scores):
        read, meant = f"{quoted(pointed)} is read as {float(pointed):g}", pointed.replace(".", "")
        print(f"note: {source}: the score {read}; if its point separates thousands, write {meant}")


def number_of(value: Any) -> Optional[float]:
    """Return the number in a value, an int if it is written as one; None for NaN and words."""
    if isinstance(value, bool) or (isinstance(value, str) and "_" in value):
        return None  # true, and a name such as 1_0, which Python reads as 10
    try:
        number = float(value)
        if not math.isfinite(number):
            return None
        digits = str(value).strip().lstrip("+-") if isinstance(value, (str, Decimal)) else ""
        return int(value) if isinstance(value, int) or digits.isdigit() else number
    except (TypeError, ValueError, OverflowError):
        return None


def _name_of_integer(value: Any, number: float) -> str:
    """Return the name of a class that is written as an integer. Zeros in front are part of a code such as 0111."""
    digits = text_of(value).strip().lstrip("+-")
    return name_of(value) if len(digits) > 1 and digits.startswith("0") else str(int(number))


def _is_missing(value: Any) -> bool:
    return value is None or (isinstance(value, str) and not value.strip())


def _is_no_number(value: Any) -> bool:
    """Return whether the value is NaN or infinity, also in words."""
    try:
        return not math.isfinite(float(value))
    except (TypeError, ValueError, OverflowError):  # words, and integers that no float can hold
        return False
