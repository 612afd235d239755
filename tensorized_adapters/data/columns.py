"""Chooses the columns of the text and the label: those of the flags, of a saved adapter, or a guess."""

from dataclasses import dataclass
from typing import Any, Optional

from datasets import ClassLabel, Dataset, Value

from ..errors import UsageError, quoted
from .arguments import DataTrainingArguments
from .label_kinds import number_of
from .multi_label import is_list_of_labels
from .names import listed
from .tasks import Task
from .texts import delimiter_for, text_of

LABEL = "label"
# Columns that number the examples, such as the index that pandas writes; they are never taken for text.
_INDEX_COLUMNS = ("", "idx", "id", "index")
_INDEX_PREFIXES = ("unnamed:", "__index_level_")


@dataclass(frozen=True)
class Columns:
    """Columns that are read.

    Attributes:
        texts: the columns of the text. Two without a ``delimiter`` are a pair.
        label: the column of the labels, which a test set may lack.
        delimiter: joins the texts of an example to one.
        guessed: whether no flag named the texts.
        of_task: whether they belong to a GLUE task.
    """

    texts: tuple[str, ...]
    label: str = LABEL
    delimiter: Optional[str] = None
    guessed: bool = False
    of_task: bool = False

    @property
    def inputs(self) -> int:
        """Return the number of texts that the tokenizer gets for an example: 1, or 2 for a pair."""
        return len(self.texts) if self.delimiter is None else 1


def choose_columns(
    arguments: DataTrainingArguments,
    named: Optional[Task],
    saved: Optional[dict[str, Any]],
    examples: Dataset,
    source: str,
) -> Columns:
    """Return the columns of the GLUE task, else those of the flags, else those of the saved adapter, else a guess.

    Raises:
        UsageError: if there is no column that could be text, or not as many as a saved adapter takes.
    """
    if named:
        return Columns(named.texts, of_task=True)
    trained = kept_columns(saved or {})
    if trained:
        return _columns_of_adapter(trained, arguments)
    label = arguments.label_column or LABEL
    texts = arguments.texts or _guessed_texts(examples, label, source)
    delimiter = delimiter_for(texts, arguments.text_column_delimiter)
    return Columns(texts, label, delimiter, guessed=not arguments.texts)


def _columns_of_adapter(trained: Columns, arguments: DataTrainingArguments) -> Columns:
    """Return the columns of a saved adapter, joined as in its training. The flags may name other columns, equally
    many."""
    texts, delimiter = arguments.texts or trained.texts, arguments.text_column_delimiter
    if len(texts) != len(trained.texts):
        raise UsageError(
            f"--text_columns {arguments.text_columns} contradicts --adapter_path, which was trained on "
            f"{len(trained.texts)}: {', '.join(trained.texts)}"
        )
    if delimiter not in (None, trained.delimiter) and len(texts) > 1:
        used = "a pair of texts" if trained.delimiter is None else f"columns joined by {quoted(trained.delimiter)}"
        raise UsageError(
            f"--text_column_delimiter {quoted(delimiter)} contradicts --adapter_path, which was trained on {used}; "
            "leave it out"
        )
    return Columns(texts, arguments.label_column or trained.label, trained.delimiter)


def _guessed_texts(examples: Dataset, label: str, source: str) -> tuple[str, ...]:
    """Return ``sentence1`` and ``sentence2``, else the first one or two columns that hold words."""
    names = [name for name in examples.column_names if name not in (label, LABEL) and not _is_index(name)]
    if {"sentence1", "sentence2"} <= set(names):
        return "sentence1", "sentence2"
    # A column such as "label_text" would give the answer away.
    names = [name for name in names if not name.lower().startswith("label")]
    names = [name for name in names if _holds_words(examples, name)] or names
    if not names:
        raise UsageError(
            f"{source} has no text column beside {listed(tuple(examples.column_names))}; --text_columns names them"
        )
    return tuple(names[:2])


def kept_columns(saved: dict[str, Any]) -> Optional[Columns]:
    """Return the columns in the notes of a saved adapter, or None: one saved from Python may have any notes."""
    notes = saved.get("notes", {})
    texts, label, delimiter = notes.get("texts"), notes.get("label", LABEL), notes.get("text_column_delimiter")
    if not (isinstance(texts, list) and texts and all(isinstance(name, str) for name in [*texts, label])):
        return None
    if len(texts) > 1 and isinstance(delimiter, str):
        return Columns(tuple(texts), label, delimiter)
    return Columns(tuple(texts), label) if len(texts) <= 2 else None


def check_columns(examples: Dataset, columns: Columns, source: str, needs_label: bool) -> None:
    """Raise UsageError if a column is missing, or if a row of it holds more than one text or label."""
    for name in (*columns.texts, *([columns.label] if needs_label else [])):
        if name not in examples.column_names:
            raise _missing_column(name, examples, columns, source)
        feature = examples.features[name]
        if not (isinstance(feature, (Value, ClassLabel)) or name == columns.label and is_list_of_labels(feature)):
            rule = (
                "one label or a list of labels a row, no objects"
                if name == columns.label
                else "one value a row, no lists or objects"
            )
            raise UsageError(f"{source}: the column {quoted(name)} must hold {rule}")
        if name != columns.label:
            _check_text(name, examples, columns, source)


def _missing_column(name: str, examples: Dataset, columns: Columns, source: str) -> UsageError:
    flag = "--label_column names another" if name == columns.label else "--text_columns names others"
    if columns.of_task:
        needs = f"--task_name needs {', '.join(columns.texts)} and {columns.label}"
        flag = f"{needs}; rename the columns, or give --text_columns and --label_column without --task_name"
    has = listed(tuple(map(str, examples.column_names)))
    return UsageError(f"{source} has no column {quoted(name)}; it has {has}; {flag}")


def _check_text(name: str, examples: Dataset, columns: Columns, source: str) -> None:
    """Check the type of a text column. Numbers are read as text, with a note; other types are refused."""
    feature = examples.features[name]
    kind = "int64" if isinstance(feature, ClassLabel) else feature.dtype
    if kind.startswith(("int", "uint", "float", "bool")):
        print(f"note: {source}: the column {quoted(name)} holds numbers, which are read as text")
    elif "string" not in kind and kind != "null":
        raise UsageError(f"{source}: the column {quoted(name)} holds values of type {kind}, no text")
    elif columns.guessed and not _holds_words(examples, name):
        print(f"note: {source}: the column {quoted(name)} holds no words and is read as text, for want of another")


def under_the_usual_name(examples: Dataset, label: str) -> Dataset:
    """Rename the label's column to "label", and leave out another column of that name."""
    if label == LABEL:
        return examples
    if LABEL in examples.column_names:
        examples = examples.remove_columns(LABEL)
    return examples.rename_column(label, LABEL) if label in examples.column_names else examples


def note_columns(columns: Columns, task: Task, source: str) -> None:
    """Print the guessed columns, and that columns are joined."""
    if columns.delimiter is not None:
        print(f"note: {source}: {listed(columns.texts)} are joined by {quoted(columns.delimiter)} to one text")
    if not columns.guessed:
        return
    texts = " and ".join(map(quoted, columns.texts))
    kind = "scores"
    if task.labels is not None:
        kind = f"{len(task.labels)} {'labels' if task.multi_label else 'classes'} ({listed(task.labels)})"
    print(
        f"note: {source}: text from {texts}, {kind} from {quoted(columns.label)}; "
        "--text_columns and --label_column name others"
    )


def note_empty_texts(examples: Dataset, texts: tuple[str, ...], source: str) -> None:
    """Print how many rows have an empty text."""
    for name in texts:
        empty = sum(1 for text in examples[name] if not text_of(text).strip())
        if empty:
            print(f"note: {source}: {empty} of {len(examples)} rows have an empty {quoted(name)}")


def _is_index(name: str) -> bool:
    return name.strip().lower() in _INDEX_COLUMNS or name.lower().startswith(_INDEX_PREFIXES)


def _holds_words(examples: Dataset, name: str) -> bool:
    """Return whether most of the first values are strings that are not numbers."""
    feature = examples.features[name]
    if not isinstance(feature, Value) or "string" not in feature.dtype:
        return False
    texts = [text for text in examples[:1000][name] if text and text.strip()]
    return sum(number_of(text) is None for text in texts) > len(texts) / 2
