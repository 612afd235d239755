"""Gives columns of local files the types that a data set's card names (``features``)."""

from typing import Any

from datasets import ClassLabel, Dataset, Features, Value
from pyarrow.csv import ConvertOptions

from .texts import text_of

# Words for a missing value in a column of numbers, as pandas and pyarrow read them.
WORDS_FOR_MISSING = (*ConvertOptions().null_values, "None")


def with_types(examples: Dataset, types: Features) -> Dataset:
    """Return the examples with the types of the card. Columns that it does not name, and nested ones, do not change.

    A column of strings gets the texts that predictions make of the values, so a date stays as it is written. In
    columns of numbers words such as NA, and in columns of classes an empty cell, are missing values.

    Raises:
        ArrowInvalid, ValueError: if a value does not have the type.
    """
    typed = {}
    for name in types.keys() & set(examples.column_names):
        item = getattr(types[name], "feature", types[name])  # of a list
        if isinstance(item, (Value, ClassLabel)):
            typed[name] = [_value(value, types[name]) for value in examples[name][:]]
    if not typed:
        return examples
    columns = {name: typed.get(name, examples[name]) for name in examples.column_names}
    features = Features({name: types[name] if name in typed else examples.features[name] for name in columns})
    return Dataset.from_dict(columns).cast(features)


def _value(value: Any, feature: Any) -> Any:
    if feature == Value("string"):
        return None if value is None else text_of(value)
    missing = [""] if isinstance(feature, ClassLabel) else WORDS_FOR_MISSING
    return None if isinstance(value, str) and value in missing else value
