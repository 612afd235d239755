"""Several labels a text: read as lists or with a separator, encoded as 0 and 1 for each label, and measured by F1."""

from typing import Any, Optional

import numpy as np
from datasets import ClassLabel, Dataset, Value
from sklearn.metrics import f1_score

from ..config import MULTI_LABEL
from ..errors import UsageError, listed, quoted
from .label_names import name_of
from .tasks import Task
from .texts import text_of

SEPARATOR = ";"  # joins the names in predictions, unless --label_separator is given
_ZERO_OR_ONE = {"0", "1", "0.0", "1.0", "true", "false"}  # in lower case


def is_list_of_labels(feature: Any) -> bool:
    """Return whether each row of a column holds a list of names or numbers."""
    return isinstance(getattr(feature, "feature", None), (Value, ClassLabel))


def named_classes(examples: Dataset, column: str, source: str) -> list:
    """Return the values of a column, where the ids of a ClassLabel, also in lists, have become names. Raise UsageError
    for a number that no class has."""
    feature = examples.features[column]
    classes = getattr(feature, "feature", feature)
    if not isinstance(classes, ClassLabel):
        return examples[column][:]

    def named(number: Optional[int], row: int) -> Optional[str]:
        if number is not None and not 0 <= number < classes.num_classes:
            raise UsageError(f"{source}: row {row} has the label {number}; expected some of {listed(classes.names)}")
        return None if number is None else classes.names[number]

    return [
        [named(number, row) for number in value] if isinstance(value, list) else named(value, row)
        for row, value in enumerate(examples[column][:], 1)
    ]


def separator_of(
    examples: Dataset, given: Optional[str], saved: Optional[dict[str, Any]], source: str
) -> Optional[str]:
    """Return the separator of a text's labels, or None if each text has one label.

    A saved adapter decides. Otherwise ``given`` (--label_separator) or lists in the column ``label`` mean several.
    """
    if saved is not None:
        if saved["problem_type"] != MULTI_LABEL:
            if given is not None:
                raise UsageError("--label_separator contradicts --adapter_path, which gives a text one label or score")
            return None
        return given or saved_separator(saved)
    if given is None and is_list_of_labels(examples.features.get("label")):
        print(
            f"note: {source}: the labels are lists, so that a text may have several; predictions join their names by "
            f"{SEPARATOR!r}, and --label_separator names another separator"
        )
        return SEPARATOR
    return given


def saved_separator(record: dict[str, Any]) -> str:
    """Return the separator in the notes of a saved adapter, or the usual one, since notes from Python may lack it."""
    separator = record["notes"].get("label_separator")
    return separator if isinstance(separator, str) and separator else SEPARATOR


def names_in(examples: Dataset, separator: str, source: str) -> tuple[str, ...]:
    """Return the sorted names of all labels, or those of a ClassLabel in its order."""
    feature = examples.features["label"]
    if isinstance(getattr(feature, "feature", None), ClassLabel):
        names = tuple(feature.feature.names)
    else:
        names = tuple(sorted({name for labels in names_of_rows(examples, separator, source) for name in labels}))
    if not names:
        raise UsageError(f"{source}: no row has a label; training needs at least one label")
    for name in names:
        if separator in name:
            raise UsageError(
                f"{source}: the label {quoted(name)} holds {quoted(separator)}, by which predictions join the names; "
                "--label_separator names another separator"
            )
    if isinstance(feature, Value) and not any(separator in text_of(cell) for cell in examples["label"]):
        each = f"each cell is one label ({len(names)}: {listed(names)})"
        print(f"note: {source}: no row holds {quoted(separator)}; {each}; --label_separator names another separator")
    return names


def measured(predictions: np.ndarray, references: np.ndarray) -> dict[str, float]:
    """Return F1 over all decisions (micro), as in run_classification, and its mean over the labels (macro)."""
    predictions, references = (np.asarray(values).astype(np.int64) for values in (predictions, references))
    micro = f1_score(references.ravel(), predictions.ravel(), zero_division=0)
    by_label = [f1_score(*pair, zero_division=0) for pair in zip(references.T, predictions.T)]
    return {"f1_micro": float(micro), "f1_macro": float(np.mean(by_label))}


def joined_names(decisions: np.ndarray, task: Task) -> str:
    """Return the names of the labels that a text has, in the order of the task's labels; empty for none."""
    return task.label_separator.join(name for name, has in zip(task.labels, decisions) if has)


def names_of_rows(examples: Dataset, separator: str, source: str) -> list[list[str]]:
    """Return the names of each row's labels, each once."""
    rows = []
    for row, value in enumerate(named_classes(examples, "label", source), 1):
        is_list = isinstance(value, list)
        if value is None and not isinstance(examples.features["label"], ClassLabel):
            raise UsageError(f"{source}: row {row} has no labels; write an empty list, or remove the row")
        names = [name_of(label) for label in (value if is_list else name_of(value).split(separator))]
        if is_list and "" in names:
            raise UsageError(f"{source}: row {row} has an empty label in its list; correct it or remove the row")
        rows.append(list(filter(None, names)))
    _refuse_zeros_and_ones(rows, source)
    return [list(dict.fromkeys(names)) for names in rows]


def _refuse_zeros_and_ones(rows: list[list[str]], source: str) -> None:
    """Refuse rows with a 0 or 1 for each label, whose place tells the label.

    Names may be 0 and 1 too. Such rows differ in length, or hold each name once and in one order.
    """
    filled = {tuple(row) for row in rows if row}
    values = set().union(*filled)
    if not {value.lower() for value in values} <= _ZERO_OR_ONE or len({len(row) for row in filled}) != 1:
        return
    first = next(filter(None, rows))
    if len(first) > 1 and (len(filled) > 1 or len(values) < len(first)):
        advice = "a 0 or 1 for each label; write the names of the labels that the text has"
        raise UsageError(f"{source}: row {rows.index(first) + 1} has the labels {listed(first)}, {advice}")
