"""Raw data: from the hub, a local folder of its layout, or CSV, TSV and JSON-lines files; checked, then tokenised."""

from dataclasses import dataclass
from typing import Any, Optional

import numpy as np
from datasets import Dataset

from ..errors import UsageError
from .arguments import DataTrainingArguments
from .columns import (
    LABEL,
    Columns,
    check_columns,
    choose_columns,
    note_columns,
    note_empty_texts,
    under_the_usual_name,
)
from .labels import check_labels, check_variety, encode_labels, label_names, saved_label_names
from .readers import read_file
from .sources import files_by_role, load_splits, quieten_datasets, splits_by_role
from .tasks import TASKS, Task, other_task


@dataclass
class Data:
    """Checked examples: text columns as strings, ``label`` as class id or float (absent where a test set has none)."""

    task: Task
    label: str  # the name of its column where it was read
    train: Optional[Dataset]
    evaluation: dict[str, Dataset]  # by suffix of the metric names
    prediction: dict[str, Dataset]  # by name of the submission file


def load_data(
    arguments: DataTrainingArguments, wanted: set[str], saved: Optional[dict[str, Any]] = None, seed: int = 42
) -> Data:
    """Load and check what is ``wanted`` of "train", "evaluation" and "prediction".

    Args:
        arguments: where the data is; truncation by ``max_*_samples`` happens after all checks.
        wanted: the parts that this run uses.
        saved: the config record of a saved adapter, to whose labels the data must keep.
        seed: draws the order of a training set that is shuffled.

    Raises:
        UsageError: data that is missing, empty, unlabelled, one-sided or inconsistent, naming the file or flag.
    """
    quieten_datasets()
    named = TASKS.get(arguments.task_name or "")
    raw, sources = _load_raw(arguments, wanted)
    first = next(iter(raw))  # the training set, if it is used
    columns = choose_columns(arguments, named, saved, raw[first], sources[first])
    raw = _with_label(raw, columns, sources)
    labelled = {split: examples for split, examples in raw.items() if not split.startswith("test")}
    task = named or other_task(columns.texts, label_names(labelled or raw, sources, saved))
    if columns.guessed:
        note_columns(columns, task.labels, sources[first])
    if named and saved:
        _check_labels_of_adapter(saved, named, arguments)
    raw |= {split: encode_labels(examples, task, sources[split], bool(named)) for split, examples in labelled.items()}
    check_labels(raw, task, sources)
    raw = _cut(raw, arguments, seed)
    if arguments.max_train_samples:
        check_variety(raw, task, {"train": f"{sources.get('train')}, cut by --max_train_samples,"})
    for split, examples in raw.items():
        note_empty_texts(examples, columns.texts, sources[split])
    return Data(
        task,
        columns.label,
        raw.get("train"),
        {suffix: raw[split] for suffix, split in task.evaluation if split in raw},
        {name: raw[split] for name, split in task.prediction if split in raw},
    )


def _with_label(raw: dict[str, Dataset], columns: Columns, sources: dict[str, str]) -> dict[str, Dataset]:
    """The sets with checked columns and the labels in a column of the usual name; test sets have none.

    GLUE's test labels are not public, and labels in a test file are left to whoever scores the predictions.
    """
    found = {}
    for split, examples in raw.items():
        is_test = split.startswith("test")
        check_columns(examples, columns, sources[split], needs_label=not is_test)
        examples = under_the_usual_name(examples, columns.label)
        found[split] = examples.remove_columns(LABEL) if is_test and LABEL in examples.column_names else examples
    return found


def _check_labels_of_adapter(saved: dict[str, Any], task: Task, arguments: DataTrainingArguments) -> None:
    if saved_label_names(saved) != task.labels:
        raise UsageError(
            f"--adapter_path was trained for the labels {saved_label_names(saved)}, --task_name "
            f"{arguments.task_name} has {task.labels}"
        )


def _cut(raw: dict[str, Dataset], arguments: DataTrainingArguments, seed: int) -> dict[str, Dataset]:
    """The sets with at most ``max_*_samples`` examples: drawn for training, else the first ones."""
    limits = {"validation": arguments.max_eval_samples, "test": arguments.max_predict_samples}
    cut = {}
    for split, examples in raw.items():
        limit = limits.get(split.split("_")[0])
        if split == "train":
            examples = _sampled(examples, arguments, seed)
        cut[split] = examples if limit is None else examples.select(range(min(limit, len(examples))))
    return cut


def _sampled(examples: Dataset, arguments: DataTrainingArguments, seed: int) -> Dataset:
    """The training set, shuffled and cut as the arguments say; a line says so."""
    total, limit = len(examples), arguments.max_train_samples
    count = total if limit is None else min(limit, total)
    if not arguments.shuffles:
        return examples if count == total else examples.select(range(count))
    what = f"{count:,} of {total:,} training examples, drawn" if count < total else "the training set is shuffled"
    print(f"note: {what} by --seed {seed}; --shuffle_train_dataset False keeps the order of the rows")
    order = np.random.default_rng(seed).permutation(total)
    return examples.select(order[:count])


def _load_raw(arguments: DataTrainingArguments, wanted: set[str]) -> tuple[dict[str, Dataset], dict[str, str]]:
    """Splits by name, and for messages the flag and place each came from."""
    files = files_by_role(arguments, wanted)
    if files is None:
        return load_splits(arguments, wanted)
    # Both MNLI sets come from a data set only; a file is one set, under the first split's name.
    used = {splits[0]: files[role] for role, splits in splits_by_role(arguments, wanted).items() if role in files}
    sources = {split: f"--{flag} {path}" for split, (flag, path) in used.items()}
    return {
        split: read_file(path, sources[split], arguments.task_name or "") for split, (_, path) in used.items()
    }, sources
