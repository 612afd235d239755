"""Decides whether the labels of a data set outside GLUE are names of classes or scores."""

import math
from typing import Any, Optional

from ..errors import UsageError, quoted
from .names import name_of, styled_number, twins

# A note is printed for more classes than this, and for more than a tenth of the rows: scores may have been meant.
_MANY = 20
# Up to this share of the labels, odd values among numbers look like gaps and not like a class.
_FEW = 0.05
AS_NUMBERS = "write numbers with a decimal point and nothing else, for example 0.5 or 1250"


def names_or_scores(values: list, source: str) -> Optional[tuple[str, ...]]:
    """Return the sorted names of the classes, or None if the labels are scores, which are written as decimals.

    Raises:
        UsageError: naming the first row whose label is missing or looks like a gap.
    """
    numbers = [number_of(value) for value in values]
    _check_missing(values, source)
    _check_gaps(values, numbers, source)
    _check_style(values, numbers, source)
    wholes = {int(number) for number in numbers if number is not None}
    words = {name_of(value) for value, number in zip(values, numbers) if number is None}
    has_decimals = any(number is not None and _written_as_float(value) for value, number in zip(values, numbers))
    if wholes and words:
        _check_mixture(values, numbers, has_decimals, source)
    elif has_decimals:
        return None
    names = (*map(str, sorted(wholes)), *sorted(words))
    _note_classes(names, len(values), only_numbers=not words, source=source)
    return names


def _check_missing(values: list, source: str) -> None:
    row = next((row for row, value in enumerate(values, 1) if is_missing(value)), None)
    if row is not None:
        raise UsageError(f"{source}: row {row} has no label; write it or remove the row")


def _check_gaps(values: list, numbers: list, source: str) -> None:
    """Refuse NaN and infinity among numbers, or if they are few. Many of them among words are names."""
    gaps = [row for row, value in enumerate(values) if _is_no_number(value)]
    among_numbers = isinstance(values[0], float) or any(number is not None for number in numbers)
    if gaps and (among_numbers or _are_few(gaps, values)):
        what = f"row {gaps[0] + 1} has the label {quoted(values[gaps[0]])}, which is neither a score nor a class"
        raise UsageError(f"{source}: {what}; correct it or remove the row")


def _check_style(values: list, numbers: list, source: str) -> None:
    """Refuse numbers with a decimal comma and the like, which were meant as scores, unless words stand beside them."""
    words = [row for row, number in enumerate(numbers) if number is None]
    styled = [row for row in words if styled_number(values[row])]
    if styled and len(words) - len(styled) <= len(values) * _FEW:
        value = values[styled[0]]
        what = f"row {styled[0] + 1} has the label {quoted(value)}, a number with {styled_number(value)}"
        mend = f"{AS_NUMBERS}, or, if these are classes, give each a name that is no number"
        raise UsageError(f"{source}: {what}; {mend}")


def _check_mixture(values: list, numbers: list, decimal: bool, source: str) -> None:
    """Refuse a few words among numbers, since they look like gaps. Otherwise both are names of classes."""
    words = [row for row, number in enumerate(numbers) if number is None]
    others = [row for row, number in enumerate(numbers) if number is not None]
    rare = min(words, others, key=len)
    first = f"row {rare[0] + 1} has the label {quoted(values[rare[0]])}"
    count = f"{len(others)} of {len(values)} labels are numbers"
    if decimal or _are_few(words, values):
        mend = "correct it or remove the row, or give every class a name that is no number"
        raise UsageError(f"{source}: {first}, where {count}; {mend}")
    print(f"note: {source}: {first}, where {count}; all are taken for names of classes")


def _note_classes(names: tuple[str, ...], count: int, only_numbers: bool, source: str) -> None:
    if len(names) > _MANY or 2 < len(names) > count / 10:
        scores = "; scores are written as decimals, for example 3.0" if only_numbers else ""
        print(f"note: {source}: the {count} labels are taken for {len(names)} classes{scores}")
    if alike := twins(names):
        print(f"note: {source}: the classes {alike[0]} and {alike[1]} look alike and are two")


def number_of(value: Any) -> Optional[float]:
    """Return the number in a value, an int if it is written as one; None for NaN and words."""
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


def _are_few(rows: list, values: list) -> bool:
    return len(rows) <= max(1, len(values) * _FEW)


def is_missing(value: Any) -> bool:
    return value is None or (isinstance(value, str) and not value.strip())


def _is_no_number(value: Any) -> bool:
    """Return whether the value is NaN or infinity, also in words."""
    try:
        return not math.isfinite(float(value))
    except (TypeError, ValueError, OverflowError):  # words, and integers that no float can hold
        return False


def _written_as_float(value: Any) -> bool:
    return isinstance(value, float) or (isinstance(value, str) and not value.strip().lstrip("+-").isdigit())
