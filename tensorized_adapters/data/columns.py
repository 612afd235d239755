"""Which columns are text and which is the label: as said, as a saved adapter was trained, or as they look."""

from dataclasses import dataclass
from typing import Any, Optional

from datasets import ClassLabel, Dataset, Value

from ..errors import UsageError, quoted
from .arguments import DataTrainingArguments
from .label_kinds import number_of
from .labels import listed
from .tasks import Task
from .texts import text_of

LABEL = "label"
# Columns that number the examples, also those that pandas writes without being asked; never taken for text.
_INDEX_COLUMNS = ("", "idx", "id", "index")
_INDEX_PREFIXES = ("unnamed:", "__index_level_")


@dataclass(frozen=True)
class Columns:
    """``texts``: one or two; ``label``: one, which a test set may lack. ``guessed``: nobody named the texts.

    ``of_task``: they are those of a GLUE task.
    """

    texts: tuple[str, ...]
    label: str = LABEL
    guessed: bool = False
    of_task: bool = False


def choose_columns(
    arguments: DataTrainingArguments,
    named: Optional[Task],
    saved: Optional[dict[str, Any]],
    examples: Dataset,
    source: str,
) -> Columns:
    """The columns of the GLUE task, else those of the flags, else those of the saved adapter, else a guess.

    Raises:
        UsageError: if there is no column that could be text, or not as many as a saved adapter takes.
    """
    if named:
        return Columns(named.texts, of_task=True)
    trained, trained_label = kept_columns(saved or {})
    label, texts = arguments.label_column or trained_label, arguments.texts
    if texts and trained and len(texts) != len(trained):
        raise UsageError(
            f"--text_columns {arguments.text_columns} contradicts --adapter_path, which was trained on "
            f"{len(trained)}: {', '.join(trained)}"
        )
    if texts or trained:
        return Columns(texts or trained, label)
    return Columns(_guessed_texts(examples, label, source), label, guessed=True)


def _guessed_texts(examples: Dataset, label: str, source: str) -> tuple[str, ...]:
    """``sentence1`` and ``sentence2``, else the first one or two columns that hold words."""
    names = [name for name in examples.column_names if name not in (label, LABEL) and not _is_index(name)]
    if {"sentence1", "sentence2"} <= set(names):
        return "sentence1", "sentence2"
    # A column such as "label_text" would give the answer away.
    names = [name for name in names if not name.lower().startswith("label")]
    names = [name for name in names if _holds_words(examples, name)] or names
    if not names:
        raise UsageError(
            f"{source} has no text column beside {listed(tuple(examples.column_names))}; "
            "--text_columns names one or two"
        )
    return tuple(names[:2])


def kept_columns(saved: dict[str, Any]) -> tuple[tuple[str, ...], str]:
    """Text and label columns in the notes of a saved adapter; one saved from Python may hold any notes."""
    notes = saved.get("notes", {})
    texts, label = notes.get("texts"), notes.get("label", LABEL)
    ours = isinstance(texts, list) and 1 <= len(texts) <= 2 and all(isinstance(name, str) for name in [*texts, label])
    return (tuple(texts), label) if ours else ((), LABEL)


def check_columns(examples: Dataset, columns: Columns, source: str, needs_label: bool) -> None:
    """Raises UsageError if a column is missing, or if a row of it holds more than one text or label."""
    for name in (*columns.texts, *([columns.label] if needs_label else [])):
        if name not in examples.column_names:
            raise _missing_column(name, examples, columns, source)
        if not isinstance(examples.features[name], (Value, ClassLabel)):
            raise UsageError(f"{source}: the column {quoted(name)} must hold one value a row, no lists or objects")
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
    """Numbers are read as text, with a note; other types are refused."""
    feature = examples.features[name]
    kind = "int64" if isinstance(feature, ClassLabel) else feature.dtype
    if kind.startswith(("int", "uint", "float", "bool")):
        print(f"note: {source}: the column {quoted(name)} holds numbers, which are read as text")
    elif "string" not in kind and kind != "null":
        raise UsageError(f"{source}: the column {quoted(name)} holds values of type {kind}, no text")
    elif columns.guessed and not _holds_words(examples, name):
        print(f"note: {source}: the column {quoted(name)} holds no words and is read as text, for want of another")


def under_the_usual_name(examples: Dataset, label: str) -> Dataset:
    """The label's column as "label"; another of that name is left out."""
    if label == LABEL:
        return examples
    if LABEL in examples.column_names:
        examples = examples.remove_columns(LABEL)
    return examples.rename_column(label, LABEL) if label in examples.column_names else examples


def note_columns(columns: Columns, labels: Optional[tuple[str, ...]], source: str) -> None:
    """Say what was guessed."""
    texts = " and ".join(map(quoted, columns.texts))
    kind = "scores" if labels is None else f"{len(labels)} classes ({listed(labels)})"
    print(
        f"note: {source}: text from {texts}, {kind} from {quoted(columns.label)}; "
        "--text_columns and --label_column name others"
    )


def note_empty_texts(examples: Dataset, texts: tuple[str, ...], source: str) -> None:
    """Say how many rows have none."""
    for name in texts:
        empty = sum(1 for text in examples[name] if not text_of(text).strip())
        if empty:
            print(f"note: {source}: {empty} of {len(examples)} rows have an empty {quoted(name)}")


def _is_index(name: str) -> bool:
    return name.strip().lower() in _INDEX_COLUMNS or name.lower().startswith(_INDEX_PREFIXES)


def _holds_words(examples: Dataset, name: str) -> bool:
    """Whether most of the first values are strings that are no numbers."""
    feature = examples.features[name]
    if not isinstance(feature, Value) or "string" not in feature.dtype:
        return False
    texts = [text for text in examples[:1000][name] if text and text.strip()]
    return sum(number_of(text) is None for text in texts) > len(texts) / 2
