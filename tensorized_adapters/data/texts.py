"""Makes the text of an example from its values: numbers, true and false as text, and several columns as one.

Training, evaluation and predictions read the same value in different forms: a column of decimals holds 1 as 1.0, a
line of JSON holds it as 1. All of them must give the model the same tokens.
"""

import math
from collections.abc import Sequence
from typing import Any, Optional

import numpy as np

_EXACT = 2**53  # a float holds every integer below this exactly


def text_of(value: Any) -> str:
    """Return a value as text. A string stays as it is, a float such as 3.0 loses its decimals, booleans become
    ``true`` and ``false``, and a missing value becomes the empty text."""
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    if isinstance(value, (bool, np.bool_)):
        return "true" if value else "false"
    if isinstance(value, np.floating) and not isinstance(value, float):
        value = float(str(value))  # the shortest decimal of a narrow type: 0.1, not 0.10000000149
    if isinstance(value, float):
        if math.isnan(value):  # how pandas writes a missing value into a column of numbers
            return ""
        if value.is_integer() and abs(value) < _EXACT:
            return str(int(value))
    return str(value)


def texts_of(values: list, dtype: str) -> list[str]:
    """Return the text of each value of a column of type ``dtype``. `datasets` gives Python's wider numbers, which are
    narrowed again first."""
    narrow = {"float32": np.float32, "float16": np.float16}.get(dtype, lambda value: value)
    return [text_of(None if value is None else narrow(value)) for value in values]


def delimiter_for(texts: Sequence[str], given: Optional[str]) -> Optional[str]:
    """Return the delimiter that joins the columns ``texts``: ``given``, else a space for three or more, else None."""
    if len(texts) == 1:
        return None
    return given if given is not None or len(texts) == 2 else " "


def joined(texts: Sequence[str], delimiter: Optional[str]) -> tuple[str, ...]:
    """Return the texts of an example for the tokenizer: as they are, or joined to one as run_classification does."""
    return tuple(texts) if delimiter is None else (delimiter.join(texts),)
