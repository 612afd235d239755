"""Reads texts with several labels, from lists or by a separator, encodes each label as 0 or 1, and measures F1."""

from typing import Any, Optional

import numpy as np
from datasets import ClassLabel, Dataset, List, Value
from sklearn.metrics import f1_score

from ..config import MULTI_LABEL
from ..errors import UsageError, listed, quoted
from .label_names import find_name, name_of, names_of_classes, shown_beside
from .tasks import Task
from .texts import text_of

SEPARATOR = ";"  # joins the names in predictions, unless --label_separator is given
_ZERO_OR_ONE = {"0", "1", "0.0", "1.0", "true", "false"}  # in lower case


def is_list_of_labels(feature: Any) -> bool:
    """Return whether each row of a column holds a list of names or numbers."""
    return isinstance(getattr(feature, "feature", None), (Value, ClassLabel))


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
        lists = "the labels are lists, so that a text may have several"
        print(f"note: {source}: {lists}; predictions join them by {SEPARATOR!r}, or by --label_separator")
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
        names = names_of_classes(feature.feature.names, source)
    else:
        names = tuple(sorted({name for labels in _label_sets(examples, separator, source) for name in labels}))
    if not names:
        raise UsageError(f"{source}: no row has a label; training needs at least one label")
    another = "--label_separator names another separator"
    for name in names:
        if separator in name:
            flaw = f"the label {quoted(name)} holds {quoted(separator)}, by which predictions join the names"
            raise UsageError(f"{source}: {flaw}; {another}")
    if isinstance(feature, Value) and not any(separator in text_of(cell) for cell in examples["label"]):
        each = f"each cell is one label ({len(names)}: {listed(names)})"
        print(f"note: {source}: no row holds {quoted(separator)}; {each}; {another}")
    return names


def encode_label_sets(examples: Dataset, task: Task, source: str) -> Dataset:
    """Encode ``label`` as a list of 0.0 and 1.0 for the task's labels; raise UsageError for an unknown one."""
    ids = {name: i for i, name in enumerate(task.labels)}
    encoded = np.zeros((len(examples), len(ids)), dtype=np.float32)
    for row, labels in enumerate(_label_sets(examples, task.label_separator, source)):
        for name in labels:
            code = find_name(name, ids)
            if code is None:
                flaw = f"row {row + 1} has the label {shown_beside(name, task.labels)}"
                raise UsageError(f"{source}: {flaw}; expected some of {listed(task.labels)}")
            encoded[row, code] = 1.0
    return examples.remove_columns("label").add_column("label", encoded.tolist(), feature=List(Value("float32")))


def measured(predictions: np.ndarray, references: np.ndarray) -> dict[str, float]:
    """Return F1 over all decisions (micro), as in run_classification, and its mean over the labels (macro)."""
    # f1_score(average="micro") would take the column of a single label for two classes.
    predictions, references = (np.asarray(values).astype(np.int64) for values in (predictions, references))
    micro = f1_score(references.ravel(), predictions.ravel(), zero_division=0)
    by_label = [f1_score(*pair, zero_division=0) for pair in zip(references.T, predictions.T)]
    return {"f1_micro": float(micro), "f1_macro": float(np.mean(by_label))}


def joined_names(decisions: np.ndarray, task: Task) -> str:
    """Return the names of the labels that a text has, in the order of the task's labels; empty for none."""
    return task.label_separator.join(name for name, has in zip(task.labels, decisions) if has)


def _label_sets(examples: Dataset, separator: str, source: str) -> list[list[str]]:
    """Return the names of each row's labels, each once; raise UsageError naming a row that is refused."""
    feature = examples.features["label"]
    is_list = is_list_of_labels(feature)
    kind = feature.feature if is_list else feature
    written = []
    for row, value in enumerate(examples["label"], 1):
        if value is None:
            raise UsageError(f"{source}: row {row} has no labels; write an empty list, or remove the row")
        values = value if is_list else [value]
        if isinstance(kind, ClassLabel):
            values = [class_name(number, kind, row, source) for number in values]
        if not is_list:
            values = [part for part in name_of(values[0]).split(separator) if part.strip()]
        written.append(tuple(map(name_of, values)))
        if "" in written[-1]:
            raise UsageError(f"{source}: row {row} has an empty label in its list; correct it or remove the row")
    _refuse_zeros_and_ones(written, source)
    return [list(dict.fromkeys(names)) for names in written]


def class_name(number: Optional[int], feature: ClassLabel, row: int, source: str) -> str:
    """Return the name of a class, and nothing for a missing one; refuse a number that no class has."""
    if number is None:
        return ""
    if not 0 <= number < feature.num_classes:
        raise UsageError(f"{source}: row {row} has the label {number}; expected some of {listed(feature.names)}")
    return feature.int2str(number)


def _refuse_zeros_and_ones(rows: list[tuple[str, ...]], source: str) -> None:
    """Refuse rows such as (0, 1, 1), where each place stands for a label, and 1 means that the text has it.

    Labels may also be called 0 and 1. Then rows differ in length, or all hold the same names, each once and in one
    order.
    """
    filled = {row for row in rows if row}
    values = set().union(*filled)
    if not {value.lower() for value in values} <= _ZERO_OR_ONE or len(set(map(len, filled))) != 1:
        return
    first = next(filter(None, rows))
    if len(first) > 1 and (len(filled) > 1 or len(values) < len(first)):
        advice = "a 0 or 1 for each label; write the names of the labels that the text has"
        raise UsageError(f"{source}: row {rows.index(first) + 1} has the labels {listed(first)}, {advice}")
