"""Gives columns of local files the types that a data set's card names (``features``)."""

from typing import Any, Optional

from datasets import ClassLabel, Dataset, Features, Value
from pyarrow.csv import ConvertOptions

from ..errors import UsageError, quoted
from .labels import number_of
from .texts import text_of

# Words for a missing value in a column of numbers, as pandas and pyarrow read them.
WORDS_FOR_MISSING = (*ConvertOptions().null_values, "None")


def with_types(examples: Dataset, types: Features, source: str) -> Dataset:
    """Convert columns to the card's types if these are strings, classes, lists of classes, numbers or booleans.

    A column of strings gets the texts that predictions make of the values, so a date stays as it is written. In a
    column of numbers, words such as NA are missing values. In a column of classes, an empty cell is one. A column of
    another type stays as it was read. So does one whose values are not of the named kind, such as a list for a text.

    Raises:
        UsageError: if a value is no number of the type, with its row.
        ArrowInvalid, ValueError: if a value has another type.
    """
    typed = {}
    for name in types.keys() & set(examples.column_names):
        values = _values(name, examples, types[name], source)
        typed |= {} if values is None else {name: values}
    if not typed:
        return examples
    columns = {name: typed.get(name, examples[name]) for name in examples.column_names}
    features = Features({name: types[name] if name in typed else examples.features[name] for name in columns})
    return Dataset.from_dict(columns).cast(features)


def _values(name: str, examples: Dataset, feature: Any, source: str) -> Optional[list]:
    """Return the values of a column for the type ``feature``, or None if the column stays as it was read."""
    values, one_a_row = examples[name][:], isinstance(examples.features[name], (Value, ClassLabel))
    if isinstance(feature, ClassLabel) and one_a_row:
        return [None if value == "" else value for value in values]
    if isinstance(getattr(feature, "feature", None), ClassLabel) and not one_a_row:
        return [row and [None if label == "" else label for label in row] for row in values]
    if not isinstance(feature, Value) or not one_a_row:
        return None
    if "string" in feature.dtype:
        return [None if value is None else text_of(value) for value in values]
    if feature.dtype.startswith(("int", "uint", "float")):
        column = f"the column {quoted(name)}, whose type in README.md is {feature.dtype}"
        return [_number(value, feature.dtype, f"{source}: row {row}", column) for row, value in enumerate(values, 1)]
    return values if feature.dtype == "bool" else None


def _number(value: Any, dtype: str, row: str, column: str) -> Optional[float]:
    text = value.strip() if isinstance(value, str) else value
    if text is None or text in WORDS_FOR_MISSING:
        return None
    number = number_of(text)
    if number is not None and dtype.startswith("float"):
        return float(number)
    if number is None or number != int(number):
        raise UsageError(f"{row} has {quoted(value)} in {column}; correct either")
    return int(number)
