"""Loads the data of a run from the hub, a local folder or files, and checks it."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Optional

import numpy as np
from datasets import ClassLabel, Dataset
from sklearn.model_selection import train_test_split

from ..config import MULTI_LABEL
from ..errors import UsageError, listed, quoted
from .arguments import DataTrainingArguments
from .columns import Columns, choose_columns, note_columns, with_usual_label
from .label_names import lookalikes, names_of_classes
from .labels import check_labels, check_variety, encode_labels, label_sets, names_or_scores, saved_label_names
from .locations import quieten_datasets
from .multi_label import names_in, separator_of
from .sources import load_splits
from .tasks import TASKS, Task, other_task
from .texts import text_of
from .trained_texts import check_held_out, note_repeated

_Change = Callable[[Dataset], Dataset]
# What the examples of a split are used for, the word for it in messages, and the flag that limits them.
_ROLES = {
    "train": ("train", "training", "max_train_samples"),
    "validation": ("evaluation", "evaluated", "max_eval_samples"),
    "test": ("prediction", "predicted", "max_predict_samples"),
}


@dataclass
class Data:
    """Checked examples with text columns or, once tokenised, token ids, and, except in test sets, ``label``.

    A label is a class id, a score, or 0 and 1 for each name. ``label`` names its column in the source. ``evaluation``
    maps a suffix of metric names ("" or "_mm") to a set, and ``prediction`` the name of a submission file.
    """

    task: Task
    label: str
    train: Optional[Dataset]
    evaluation: dict[str, Dataset]
    prediction: dict[str, Dataset]

    @property
    def notes(self) -> dict[str, Any]:
        """Return notes for a saved adapter, so that predictions read the same columns in the same way."""
        notes = {"texts": list(self.task.texts), "label": self.label}
        notes |= {"text_column_delimiter": self.task.delimiter, "label_separator": self.task.label_separator}
        return {name: value for name, value in notes.items() if value is not None}

    def mapped(self, change_train: _Change, change_others: Optional[_Change] = None) -> "Data":
        """Apply a function to the training set, and the same or another one to the other sets."""
        change_others = change_others or change_train
        return replace(
            self,
            train=None if self.train is None else change_train(self.train),
            evaluation={suffix: change_others(examples) for suffix, examples in self.evaluation.items()},
            prediction={name: change_others(examples) for name, examples in self.prediction.items()},
        )


def load_data(
    arguments: DataTrainingArguments,
    wanted: set[str],
    saved: Optional[dict[str, Any]] = None,
    seed: int = 42,
    new_head: bool = False,
) -> Data:
    """Load and check what is ``wanted`` of "train", "evaluation" and "prediction".

    Args:
        saved: the config record of a saved adapter, whose labels the data must have.
        seed: draws the order of a shuffled training set, and the part that is held out.
        new_head: whether the saved adapter gets a new head. Then the data may have other columns and labels.

    Raises:
        UsageError: if data is missing, empty, unlabelled, of one class or inconsistent, naming the file or flag, or if
            texts that the saved adapter was trained on would be held out.
    """
    quieten_datasets()
    fixed = None if new_head else saved  # the record whose columns and labels the data must have
    named = TASKS.get(arguments.task_name or "")
    raw, sources = load_splits(arguments, wanted)
    first = next(iter(raw))  # the training set, if it is used
    columns = choose_columns(arguments, named, fixed, raw[first], sources[first])
    raw = {
        split: with_usual_label(examples, columns, sources[split], is_test=split.startswith("test"))
        for split, examples in raw.items()
    }
    labelled = {split: examples for split, examples in raw.items() if not split.startswith("test")}
    task = named or _other_task(columns, labelled or raw, sources, arguments, fixed)
    note_columns(columns, task, sources[first])
    if named and fixed and (saved_label_names(fixed) != task.labels or fixed["problem_type"] == MULTI_LABEL):
        raise UsageError(
            f"--adapter_path was trained for the labels {saved_label_names(fixed)}, --task_name "
            f"{arguments.task_name} has {task.labels}"
        )
    raw |= {split: encode_labels(examples, task, sources[split], bool(named)) for split, examples in labelled.items()}
    if arguments.validation_fraction is not None and "train" in raw:
        raw, sources = _hold_out(raw, sources, task, arguments.validation_fraction, seed)
        if saved is not None:
            check_held_out(raw[task.evaluation[0][1]], raw["train"], columns.texts, saved["notes"], new_head)
    check_labels(raw, task, sources)
    raw = _cut(raw, sources, wanted, arguments, seed)
    if arguments.max_train_samples and "train" in raw:
        check_variety(raw["train"], task, f"{sources['train']}, cut by --max_train_samples,")
    benchmark = named and not arguments.files and arguments.validation_fraction is None  # its sets stay as they are
    for split, examples in raw.items():
        _check_texts(examples, columns.texts, sources[split])
        if not benchmark and split.startswith("validation") and "train" in raw:
            note_repeated(examples, raw["train"], columns.texts, sources[split])
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
    """Return the task of other data, whose labels are those of the saved adapter, else those of the training set."""
    trained = None if saved is None else saved_label_names(saved)
    if arguments.do_regression:
        if trained is not None:
            raise UsageError(f"--do_regression contradicts --adapter_path, which has the classes {listed(trained)}")
        return other_task(columns.texts, None, columns.delimiter)
    split = "train" if "train" in labelled else next(iter(labelled))
    examples, source = labelled[split], sources[split]
    separator = separator_of(examples, arguments.label_separator, saved, source)
    if saved is not None:
        labels = trained
    elif separator is not None:
        labels = names_in(examples, separator, source)
    elif isinstance(feature := examples.features["label"], ClassLabel):
        labels = names_of_classes(feature.names, source)
    else:
        labels = names_or_scores(examples["label"][:], source)
        if labels is None and not columns.guessed:  # else note_columns says it
            decimals = f"the labels in {quoted(columns.label)} are decimals and are taken for scores"
            print(f"note: {source}: {decimals}; classes are written without a point")
    if saved is None and (alike := lookalikes(labels or ())):
        print(f"note: {source}: the classes {alike[0]} and {alike[1]} look alike and are two")
    return other_task(columns.texts, labels, columns.delimiter, separator)


def _check_texts(examples: Dataset, names: tuple[str, ...], source: str) -> None:
    """Print how many rows have an empty text; raise UsageError if all texts of all rows are empty."""
    empty = {name: sum(not text_of(text).strip() for text in examples[name]) for name in names}
    if min(empty.values()) == len(examples):
        lacking = " and ".join(map(quoted, names))
        advice = "correct the file, or --text_columns names others"
        raise UsageError(f"{source}: every row has an empty {lacking}; {advice}")
    for name, count in empty.items():
        if count:
            print(f"note: {source}: {count} of {len(examples)} rows have an empty {quoted(name)}")


def _hold_out(
    raw: dict[str, Dataset], sources: dict[str, str], task: Task, fraction: float, seed: int
) -> tuple[dict[str, Dataset], dict[str, str]]:
    """Return the sets and their sources, with a part of the training set as the evaluation set.

    Both parts keep the order of the rows. Classes keep their shares in both parts, if there are enough examples. Rows
    with a label that the other part would lack are trained on, so a class with a single example is never held out.
    """
    examples, source = raw["train"], f"{sources['train']}, --validation_fraction {fraction}"
    count = round(len(examples) * fraction)
    if not 0 < count < len(examples):
        flaw = f"of the {len(examples)} training examples leaves one part empty"
        raise UsageError(f"{source} {flaw}; give another fraction")
    labels = None if task.labels is None or task.multi_label else examples["label"][:]
    how = "whatever their labels" if labels is None else "stratified by label"
    rows, counts = np.arange(len(examples)), Counter(labels or ())
    alone = {row for row, label in enumerate(labels or ()) if counts[label] == 1}
    try:
        shared = [row for row in rows if row not in alone]
        strata = labels and [labels[row] for row in shared]
        parts = train_test_split(shared, test_size=count, random_state=seed, stratify=strata)
    except ValueError:  # fewer examples in a part than there are classes
        alone.clear()
        parts = train_test_split(rows, test_size=count, random_state=seed)
        how = "not stratified, since some labels have too few examples"
    held = set(parts[1])
    kept = set(rows) - held
    if task.labels is not None:
        sets = label_sets(examples, task)
        known = set().union(*(sets[row] for row in kept))
        back = {row for row in held if sets[row] - known}
        kept, held, alone = kept | back, held - back, alone | back
    if alone:
        how += f", without {len(alone):,} whose labels the others lack"
    if not held:
        raise UsageError(f"{source}: every drawn example has a label that the others lack; merge rare labels")
    print(
        f"note: {len(held):,} of {len(examples):,} training examples are the evaluation set and are not trained on "
        f"(--validation_fraction {fraction}); they are drawn by --seed {seed}, {how}"
    )
    kept, held = (examples.select(sorted(part)) for part in (kept, held))
    evaluation = task.evaluation[0][1]
    return raw | {"train": kept, evaluation: held}, sources | {evaluation: source}


def _cut(
    raw: dict[str, Dataset], sources: dict[str, str], wanted: set[str], arguments: DataTrainingArguments, seed: int
) -> dict[str, Dataset]:
    """Return the splits that this run uses, with at most ``max_*_samples`` examples."""
    used = {}
    for split, examples in raw.items():
        role, doing, flag = _ROLES[split.split("_")[0]]
        if role not in wanted:
            continue
        total, is_train = len(examples), role == "train"
        count = min(getattr(arguments, flag) or total, total)
        is_held_out = role == "evaluation" and arguments.validation_fraction is not None
        is_drawn = arguments.shuffles if is_train else is_held_out and count < total  # the file may be sorted by label
        rows = np.random.default_rng(seed).permutation(total)[:count] if is_drawn else np.arange(count)
        first = f"{count:,} of {total:,} {doing} examples"
        if is_train and is_drawn:
            drawn = f"{first}, drawn" if count < total else "the training set is shuffled"
            print(f"note: {drawn} by --seed {seed}; --shuffle_train_dataset False keeps the order of the rows")
        elif count < total and not is_train:
            which = f"{first}, drawn by --seed {seed}" if is_drawn else f"the first {first}"
            print(f"note: {sources[split]}: {which} (--{flag})")
        used[split] = examples.select(rows if is_train else np.sort(rows))
    return used
