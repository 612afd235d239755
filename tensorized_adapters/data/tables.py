"""Makes one table of the rows of one or several files: all values of a column are of one kind.

`datasets` takes every file whose name has the word of a split in it, such as ``test.csv`` and ``test-notes.csv``.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Optional

from datasets import ClassLabel, Dataset, DatasetInfo, Features, Value
from pyarrow.csv import ConvertOptions

from ..errors import UsageError, listed, quoted
from .glue_server_files import with_usual_names
from .labels import number_of
from .named_splits import shard_of
from .readers import format_of, is_unicode, rows_of
from .texts import text_of

# Words for a missing value in a column of numbers, as pandas and pyarrow read them.
WORDS_FOR_MISSING = (*ConvertOptions().null_values, "None")
# The kind of a value of JSON in words. A column has one kind; every other value is _NESTED.
_KINDS = {bool: "true or false", int: "a number", float: "a number", str: "text"}
_NESTED = "a list or an object"
# The types of a card that are given to what was read. A column of another type stays as it was read.
_TYPES = ("string", "large_string", "int", "uint", "float", "bool")
_BY_CARD = "in README.md (data_files)"

_Rows = list[dict[str, Any]]


def read_file(path: str, source: str, task: str = "") -> Dataset:
    """Read one file; a GLUE ``task`` may have its own layout. UsageError names ``source`` and the line."""
    return with_usual_names(_table({source: rows_of(path, source, task)}, {}, format_of(path)), task, source)


def read_files(paths: Mapping[str, str], folder: str, types: Features, delimiter: Optional[str] = None) -> Dataset:
    """Read files of a ``folder`` as if one file held their rows. ``paths`` has the path of each file by its name.

    The card's ``types`` are given to columns of strings, classes, lists of classes, numbers or booleans. A column of
    strings gets the texts that predictions make of the values, so a date stays as it is written. In a column of
    numbers, words such as NA are missing values, and in a column of classes empty cells are. A JSON column that the
    card types may mix texts and numbers.

    Raises:
        UsageError: for an irregular file, files that do not go together, and a value that is no number of the type.
        ArrowInvalid, ValueError: if a value has another type.
    """
    sources = {name: f"{folder}, {name}" for name in paths}
    files = {name: rows_of(path, sources[name], delimiter=delimiter) for name, path in paths.items()}
    _check_columns(files, folder)
    file_format = format_of(next(iter(paths))) if delimiter is None else None
    return _table({sources[name]: rows for name, rows in files.items()}, types, file_format)


def note_joined(names: Sequence[str], source: str) -> None:
    """Print which files are joined, unless there is one, or they are the shards of one such as x-00000-of-00002. Print
    also of which file some shards are missing."""
    shards = Counter(filter(None, map(shard_of, names)))
    for (name, number, ending), found in shards.items():
        if found < number:
            which = f"{found} of the {number} shards of {name}{ending}"
            print(f"note: {source}: {which} are there; the others are missing")
    of_one = len(shards) == 1 and shards.total() == len(names) <= next(iter(shards))[1]
    if len(names) > 1 and not of_one:
        advice = f"to leave one out, move it away, or name the files of the split {_BY_CARD}"
        print(f"note: {source}: {len(names)} files are joined: {listed(names)}; {advice}")


def _check_columns(files: dict[str, _Rows], folder: str) -> None:
    """Refuse files of other columns. JSON lines may lack some, as one of their rows may."""
    columns = {file: tuple(dict.fromkeys(name for row in rows for name in row)) for file, rows in files.items()}
    widest = max(columns, key=lambda file: len(columns[file]))
    for file, names in columns.items():
        lacks_some = format_of(file) == "jsonl" and set(columns[widest]).issuperset(names)
        if set(names) != set(columns[widest]) and not lacks_some:
            found = f"{widest} has the columns {listed(columns[widest])}, and {file} has {listed(names)}"
            advice = f"move a file away that does not belong there, or name those of the split {_BY_CARD}"
            raise UsageError(f"{folder}: {found}; {advice}")


def _table(files: dict[str, _Rows], types: dict[str, Any], file_format: Optional[str]) -> Dataset:
    """Return the rows of all files as one table, with the ``types`` of its columns as far as they are given. The
    format becomes its ``info.description``, by which later messages know the separators that it may have."""
    columns, features = {}, {}
    rows = [row for of_file in files.values() for row in of_file]
    places = [(file, number) for file, of_file in files.items() for number in range(1, len(of_file) + 1)]
    for name in dict.fromkeys(name for row in rows for name in row):
        values = [row.get(name) for row in rows]
        nested = any(isinstance(value, (list, dict)) for value in values)
        feature = types.get(name)
        if not nested and isinstance(feature, (Value, ClassLabel)) and feature.dtype.startswith(_TYPES):
            features[name] = feature
            values = [_of_type(value, feature, name, place) for value, place in zip(values, places)]
        columns[name] = _of_one_kind(values, name, places)
        if nested and isinstance(getattr(feature, "feature", None), ClassLabel):
            features[name] = feature
            columns[name] = [row and [None if label == "" else label for label in row] for row in columns[name]]
    examples = Dataset.from_dict(columns, info=DatasetInfo(description=file_format or ""))
    return examples.cast(Features({**examples.features, **features})) if features else examples


def _of_type(value: Any, feature: Value | ClassLabel, name: str, place: tuple[str, int]) -> Any:
    """Return the value for a column of that type. Raise UsageError naming the place, a file and a row."""
    if value is None or feature.dtype == "bool":
        return value
    if "string" in feature.dtype:
        return text_of(value)
    text = value.strip() if isinstance(value, str) else value
    try:
        if isinstance(feature, ClassLabel):
            return None if value == "" else feature.encode_example(value)
        if text in WORDS_FOR_MISSING:
            return None
        number = number_of(text)
        if feature.dtype.startswith("float"):
            return float(number)
        if number == int(number):
            return int(number)
    except (TypeError, ValueError):  # a number is missing, or a class is unknown
        pass
    file, row = place
    kind = f"one of {listed(feature.names)}" if isinstance(feature, ClassLabel) else feature.dtype
    raise UsageError(
        f"{file}: row {row} has {quoted(value)} in the column {quoted(name)}, whose type in README.md is {kind}; "
        "correct either"
    )


def _of_one_kind(values: list, name: str, places: list[tuple[str, int]]) -> list:
    """Return the values of a column for Arrow, all of one kind. Raise UsageError naming the place that differs."""
    kinds = [_KINDS.get(type(value), _NESTED) for value in values]
    known = ((kind, file) for kind, (file, _), value in zip(kinds, places, values) if value is not None)
    first, first_file = next(known, ("", ""))
    # Arrow's integers have 64 bits; among decimals they become decimals, which hold 53 of them.
    limit = 2**53 if float in map(type, values) else 2**63
    for (file, row), value, kind in zip(places, values, kinds):
        items, flaw = value if isinstance(value, list) else [value], ""
        if value is not None and kind != first:
            before = "rows before have" if file == first_file else f"{first_file} has"
            flaw = f"{quoted(value)} in the column {quoted(name)}, {kind}, where {before} {first}"
        elif not all(is_unicode(item) for item in items if isinstance(item, str)):
            flaw = f"an unpaired surrogate (half of a character) in {quoted(name)}"
        elif type(value) is int and abs(value) >= limit:
            flaw = f"the number {quoted(value)} in the column {quoted(name)}, which is too large; write it as text"
        if flaw:
            raise UsageError(f"{file} cannot be parsed: row {row} has {flaw}")
    if first != _NESTED:
        return values
    labels = [item for value in values if value is not None for item in (value if type(value) is list else [value])]
    if all(label is None or isinstance(label, (str, int, float)) for label in labels):
        return [value and list(map(text_of, value)) for value in values]
    # Such a column is never used, and its values may be nested deeper than Arrow allows, so empty ones replace them.
    return [[[]] for _ in values]
