"""Loads the data of a run from the hub, a local folder or files, and checks it."""

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
from .held_out import hold_out
from .labels import check_labels, check_scores, check_variety, encode_labels, label_names, saved_label_names
from .locations import quieten_datasets
from .multi_label import MULTI_LABEL, names_in, separator_of
from .readers import read_file
from .sources import files_by_role, load_splits, splits_by_role
from .tasks import TASKS, Task, other_task


@dataclass
class Data:
    """Checked examples, with the text columns and ``label``: a class id, a score, or 0 and 1 for each
    label. Test sets have no labels.

    Attributes:
        label: the name of the labels' column in the source.
        evaluation: by the suffix of the metric names.
        prediction: by the name of the submission file.
    """

    task: Task
    label: str
    train: Optional[Dataset]
    evaluation: dict[str, Dataset]
    prediction: dict[str, Dataset]

    @property
    def notes(self) -> dict[str, Any]:
        """Return notes for a saved adapter, so that predictions read the same columns in the same way."""
        notes: dict[str, Any] = {"texts": list(self.task.texts), "label": self.label}
        if self.task.delimiter is not None:
            notes["text_column_delimiter"] = self.task.delimiter
        if self.task.multi_label:
            notes["label_separator"] = self.task.label_separator
        return notes


def load_data(
    arguments: DataTrainingArguments, wanted: set[str], saved: Optional[dict[str, Any]] = None, seed: int = 42
) -> Data:
    """Load and check what is ``wanted`` of "train", "evaluation" and "prediction".

    Args:
        arguments: the flags; ``max_*_samples`` cut the data after all checks.
        wanted: the parts that this run uses.
        saved: the config record of a saved adapter, whose labels the data must have.
        seed: draws the order of a shuffled training set, and the part that is held out.

    Raises:
        UsageError: if data is missing, empty, unlabelled, of one class or inconsistent, naming the file or flag.
    """
    quieten_datasets()
    named = TASKS.get(arguments.task_name or "")
    raw, sources = _load_raw(arguments, wanted)
    first = next(iter(raw))  # the training set, if it is used
    columns = choose_columns(arguments, named, saved, raw[first], sources[first])
    raw = _with_label(raw, columns, sources)
    labelled = {split: examples for split, examples in raw.items() if not split.startswith("test")}
    task = named or _other_task(columns, labelled or raw, sources, arguments, saved)
    note_columns(columns, task, sources[first])
    if named and saved:
        _check_labels_of_adapter(saved, named, arguments)
    raw |= {split: encode_labels(examples, task, sources[split], bool(named)) for split, examples in labelled.items()}
    if arguments.validation_fraction is not None and "train" in raw:
        raw, sources = hold_out(raw, sources, task, arguments.validation_fraction, seed)
    check_labels(raw, task, sources)
    raw = _used(raw, wanted)
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
        {name: raw[split] for name, split in task.prediction_sets if split in raw},
    )


def _other_task(
    columns: Columns,
    labelled: dict[str, Dataset],
    sources: dict[str, str],
    arguments: DataTrainingArguments,
    saved: Optional[dict[str, Any]],
) -> Task:
    if arguments.do_regression:
        check_scores(saved)
        return other_task(columns.texts, None, columns.delimiter)
    split = "train" if "train" in labelled else next(iter(labelled))
    separator = separator_of(labelled[split], arguments.label_separator, saved, sources[split])
    if separator is not None and saved is None:
        labels = names_in(labelled[split], separator, sources[split])
    else:
        labels = label_names(labelled, sources, saved)
    return other_task(columns.texts, labels, columns.delimiter, separator)


def _used(raw: dict[str, Dataset], wanted: set[str]) -> dict[str, Dataset]:
    """Return the splits that this run uses. Every run makes both parts of the training set."""
    roles = {"train": "train", "validation": "evaluation", "test": "prediction"}
    return {split: examples for split, examples in raw.items() if roles[split.split("_")[0]] in wanted}


def _with_label(raw: dict[str, Dataset], columns: Columns, sources: dict[str, str]) -> dict[str, Dataset]:
    """Return the sets with checked columns and the labels in a column of the usual name. Test sets have none.

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
    if saved_label_names(saved) != task.labels or saved["problem_type"] == MULTI_LABEL:
        raise UsageError(
            f"--adapter_path was trained for the labels {saved_label_names(saved)}, --task_name "
            f"{arguments.task_name} has {task.labels}"
        )


def _cut(raw: dict[str, Dataset], arguments: DataTrainingArguments, seed: int) -> dict[str, Dataset]:
    """Return the sets with at most ``max_*_samples`` examples: drawn for training, else the first ones."""
    limits = {"validation": arguments.max_eval_samples, "test": arguments.max_predict_samples}
    cut = {}
    for split, examples in raw.items():
        limit = limits.get(split.split("_")[0])
        if split == "train":
            examples = _sampled(examples, arguments, seed)
        cut[split] = examples if limit is None else examples.select(range(min(limit, len(examples))))
    return cut


def _sampled(examples: Dataset, arguments: DataTrainingArguments, seed: int) -> Dataset:
    """Return the training set, shuffled and cut as the arguments say, and print a line about it."""
    total, limit = len(examples), arguments.max_train_samples
    count = total if limit is None else min(limit, total)
    if not arguments.shuffles:
        return examples if count == total else examples.select(range(count))
    what = f"{count:,} of {total:,} training examples, drawn" if count < total else "the training set is shuffled"
    print(f"note: {what} by --seed {seed}; --shuffle_train_dataset False keeps the order of the rows")
    order = np.random.default_rng(seed).permutation(total)
    return examples.select(order[:count])


def _load_raw(arguments: DataTrainingArguments, wanted: set[str]) -> tuple[dict[str, Dataset], dict[str, str]]:
    """Return the splits by their usual names, and for messages where each came from."""
    files = files_by_role(arguments, wanted)
    if files is None:
        return load_splits(arguments, wanted)
    # MNLI's second sets come from a data set only; a file is one set, under the first split's name.
    used = {splits[0]: files[role] for role, splits in splits_by_role(arguments, wanted).items() if role in files}
    sources = {split: f"--{flag} {path}" for split, (flag, path) in used.items()}
    return {
        split: read_file(path, sources[split], arguments.task_name or "") for split, (_, path) in used.items()
    }, sources
