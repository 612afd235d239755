"""Chooses the columns of the text and the label: those of the flags, of a saved adapter, or a guess."""

import re
import unicodedata
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Optional

from datasets import ClassLabel, Dataset, Value

from ..errors import UsageError, listed, quoted
from .arguments import DataTrainingArguments
from .label_names import shown_beside
from .labels import number_of
from .multi_label import class_name
from .readers import separator_hint
from .tasks import Task
from .texts import delimiter_for

LABEL = "label"
# Columns that number the examples, such as the index that pandas writes; they are never taken for text.
_INDEX = re.compile(r"\s*(idx|id|index)?\s*|(unnamed:|__index_level_).*", re.IGNORECASE | re.DOTALL)
_NUMBERS = ("int", "uint", "float", "bool")  # beginnings of the names of types that are read as numbers


@dataclass(frozen=True)
class Columns:
    """The columns that are read. Two text columns without a delimiter are a pair. A test set may lack the label."""

    texts: tuple[str, ...]
    label: str = LABEL
    delimiter: Optional[str] = None  # joins the texts of an example to one
    guessed: bool = False  # neither a flag nor a saved adapter named the texts
    from_glue_task: bool = False


def choose_columns(
    arguments: DataTrainingArguments,
    named: Optional[Task],
    saved: Optional[dict[str, Any]],
    examples: Dataset,
    source: str,
) -> Columns:
    """Return the columns of the GLUE task, else of the flags and the saved adapter, else a guess. Raise UsageError if
    there is no column that could be text, or not as many as a saved adapter takes."""
    if named:
        return Columns(named.texts, from_glue_task=True)
    if trained := columns_of_adapter(saved or {}, arguments):
        return trained
    label = arguments.label_column or LABEL
    texts = arguments.texts or _guessed_texts(examples, label, source)
    if len(texts) == 1 and arguments.text_column_delimiter is not None:
        alone = f"the text is {quoted(texts[0])} alone"
        raise UsageError(f"--text_column_delimiter joins columns, and {alone}; leave it out")
    delimiter = delimiter_for(texts, arguments.text_column_delimiter)
    return Columns(texts, label, delimiter, guessed=not arguments.texts)


def columns_of_adapter(saved: dict[str, Any], arguments: DataTrainingArguments) -> Optional[Columns]:
    """Return the columns that a saved adapter keeps, or as many others that the flags name, joined as in its training.
    Return None if it keeps none; raise UsageError for flags that contradict it."""
    trained = kept_columns(saved)
    if trained is None:
        return None
    texts, delimiter = arguments.texts or trained.texts, arguments.text_column_delimiter
    if len(texts) != len(trained.texts):
        used = f"{len(trained.texts)}: {', '.join(trained.texts)}"
        raise UsageError(
            f"--text_columns {arguments.text_columns} contradicts --adapter_path, which was trained on {used}"
        )
    if delimiter not in (None, trained.delimiter):
        used = "no delimiter" if trained.delimiter is None else quoted(trained.delimiter)
        raise UsageError(
            f"--text_column_delimiter {quoted(delimiter)} contradicts --adapter_path, which was trained with {used}; "
            "leave it out"
        )
    return Columns(texts, arguments.label_column or trained.label, trained.delimiter)


def _guessed_texts(examples: Dataset, label: str, source: str) -> tuple[str, ...]:
    """Return ``sentence1`` and ``sentence2``, else the first one or two columns that hold words."""
    labels = {LABEL, label, *other_forms(examples.column_names, [label])}
    names = [name for name in examples.column_names if name not in labels and not _INDEX.fullmatch(name)]
    if {"sentence1", "sentence2"} <= set(names):
        return "sentence1", "sentence2"
    names = [name for name in names if not name.lower().startswith("label")]  # "label_text" gives the answer away
    names = [name for name in names if _holds_words(examples, name)] or names
    if not names:
        others = listed(tuple(examples.column_names))
        hint = lone_column_hint(examples.column_names, examples.info.description)
        raise UsageError(f"{source} has no text column beside {others}; --text_columns names them{hint}")
    return tuple(names[:2])


def kept_columns(saved: dict[str, Any]) -> Optional[Columns]:
    """Return the columns in the notes of a saved adapter, or None if they name none: from Python any notes may be
    saved."""
    notes = saved.get("notes", {})
    texts, label, delimiter = notes.get("texts"), notes.get("label", LABEL), notes.get("text_column_delimiter")
    if not (isinstance(texts, list) and texts and all(isinstance(name, str) for name in [*texts, label])):
        return None
    if len(texts) > 1 and isinstance(delimiter, str):
        return Columns(tuple(texts), label, delimiter)
    return Columns(tuple(texts), label) if len(texts) <= 2 else None


def other_forms(present: Collection[str], wanted: Collection[str]) -> dict[str, str]:
    """Return the wanted name of each present column whose name differs from it in the encoding of accents alone.

    Unicode encodes an accented letter as one character (NFC) or as two, which look the same. A wanted column that is
    present under exactly its name needs no other.
    """
    composed = {unicodedata.normalize("NFC", name): name for name in present if name not in wanted}
    lacking = {name: unicodedata.normalize("NFC", name) for name in wanted if name not in present}
    return {composed[form]: name for name, form in lacking.items() if form in composed}


def with_usual_label(examples: Dataset, columns: Columns, source: str, is_test: bool) -> Dataset:
    """Return the examples with checked columns, and with the labels in the column "label". A test set's labels are
    removed.

    GLUE's test labels are not public. Labels in a test file are for scoring the predictions afterwards.
    """
    examples = examples.rename_columns(other_forms(examples.column_names, [*columns.texts, columns.label]))
    for name in columns.texts:
        if name == LABEL or (name == columns.label and not is_test):
            advice = "--text_columns and --label_column name others"
            raise UsageError(f"{source}: the column {quoted(name)} is the label's and cannot be a text; {advice}")
        examples = _with_text(name, examples, columns, source)
    if not is_test:
        feature = _feature(columns.label, examples, columns, source)
        dtype = _dtype_of(getattr(feature, "feature", feature))
        if not dtype.startswith((*_NUMBERS, "decimal", "null")) and "string" not in dtype:
            advice = "write a label, or a list of labels, as text or numbers"
            raise UsageError(
                f"{source}: the column {quoted(columns.label)} holds values of type {dtype}, no labels; {advice}"
            )
    if LABEL in examples.column_names and (is_test or columns.label != LABEL):
        examples = examples.remove_columns(LABEL)
    return examples if is_test or columns.label == LABEL else examples.rename_column(columns.label, LABEL)


def _feature(name: str, examples: Dataset, columns: Columns, source: str) -> Any:
    """Return the type of a column; raise UsageError if there is no such column."""
    if name in examples.column_names:
        return examples.features[name]
    flag = "--label_column names another" if name == columns.label else "--text_columns names others"
    if columns.from_glue_task:
        needs = f"--task_name needs {', '.join(columns.texts)} and {columns.label}"
        flag = f"{needs}; rename the columns, or give --text_columns and --label_column without --task_name"
    has = listed(tuple(map(str, examples.column_names)))
    hint = lone_column_hint(examples.column_names, examples.info.description)
    shown = shown_beside(name, examples.column_names)
    raise UsageError(f"{source} has no column {shown}; it has {has}; {flag}{hint}")


def lone_column_hint(names: Collection[str], file_format: str) -> str:
    """Return :func:`separator_hint` for a table with a single column, where others were expected."""
    return separator_hint(names, file_format) if len(names) == 1 else ""


def _with_text(name: str, examples: Dataset, columns: Columns, source: str) -> Dataset:
    """Return the examples with a checked text column. Class ids become the names of their classes, which are what
    files for prediction hold. Numbers are read as text, with a note; other types are refused."""
    feature = _feature(name, examples, columns, source)
    column, dtype = f"{source}: the column {quoted(name)}", _dtype_of(feature)
    if isinstance(feature, ClassLabel):
        names = [class_name(number, feature, row, column) for row, number in enumerate(examples[name], 1)]
        examples = examples.remove_columns(name).add_column(name, names, feature=Value("string"))
    elif dtype.startswith(_NUMBERS):
        print(f"note: {column} holds numbers, which are read as text")
    elif "string" not in dtype and dtype != "null":
        raise UsageError(f"{column} holds values of type {dtype}, no text; write one text a row")
    elif columns.guessed and not _holds_words(examples, name):
        print(f"note: {column} holds no words, but is read as text")
    return examples


def _dtype_of(feature: Any) -> str:
    return feature.dtype if isinstance(feature, (Value, ClassLabel)) else "list or object"


def note_columns(columns: Columns, task: Task, source: str) -> None:
    """Print how columns are joined, and which columns were guessed."""
    if columns.delimiter is not None:
        print(f"note: {source}: {listed(columns.texts)} are joined by {quoted(columns.delimiter)} to one text")
    if not columns.guessed:
        return
    texts = " and ".join(map(quoted, columns.texts))
    labels = "scores"
    if task.labels is not None:
        labels = f"{len(task.labels)} {'labels' if task.multi_label else 'classes'} ({listed(task.labels)})"
    print(
        f"note: {source}: text from {texts}, {labels} from {quoted(columns.label)}; "
        "--text_columns and --label_column name others"
    )


def _holds_words(examples: Dataset, name: str) -> bool:
    """Return whether most of the first values are strings that are not numbers."""
    if "string" not in _dtype_of(examples.features[name]):
        return False
    texts = [text for text in examples[:1000][name] if text and text.strip()]
    return sum(number_of(text) is None for text in texts) > len(texts) / 2
