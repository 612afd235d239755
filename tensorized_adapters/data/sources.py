"""Chooses the splits that a run reads, and names the local files behind them."""

from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from datasets import Dataset

from ..errors import UsageError
from .arguments import FILE_FLAGS, SPLIT_FLAGS, DataTrainingArguments
from .builders import builder_of
from .locations import DatasetLocation, files_of, location_of, read_splits, refusing
from .tables import read_file
from .tasks import TASKS

ROLES = ("train", "evaluation", "prediction")
_FLAG_OF = dict(zip(ROLES, FILE_FLAGS))


def _splits_by_role(arguments: DataTrainingArguments, wanted: set[str]) -> dict[str, dict[str, str]]:
    """Return for each role the splits that are read: the name of each in the data set, by its usual name. MNLI has two
    splits for evaluation and two for prediction."""
    task = TASKS[arguments.task_name or "mrpc"]  # any task with the usual names of splits
    splits = {
        "train": ["train"],
        "evaluation": [split for _, split in task.evaluation],
        "prediction": [split for _, split in task.prediction],
    }
    given = dict(zip(("train", "validation", "test"), (getattr(arguments, flag) for flag in SPLIT_FLAGS)))
    if arguments.validation_fraction is not None and "evaluation" in wanted:  # a part of the training data
        wanted = wanted - {"evaluation"} | {"train"}
    return {role: {split: given.get(split) or split for split in splits[role]} for role in ROLES if role in wanted}


def used_files(arguments: DataTrainingArguments, wanted: set[str]) -> dict[str, list[Path]]:
    """Return the local files whose contents are read, for each role of ``wanted``, in the order of reading.

    Nothing is loaded. Data of the hub has no local files. A missing folder or split is refused as in loading.
    """
    by_role = _splits_by_role(arguments, wanted)
    if given := arguments.files:
        return {role: [Path(given[_FLAG_OF[role]])] for role in by_role if _FLAG_OF[role] in given}
    location = location_of(arguments)
    if location.folder is None:
        return {role: [] for role in by_role}
    files = files_of(location, [name for names in by_role.values() for name in names.values()])
    paths = {role: [path for name in names.values() for path in files[name]] for role, names in by_role.items()}
    for _, further in _diagnostics(arguments, wanted, location):
        with suppress(UsageError):
            paths["prediction"] += files_of(further, ["test"])["test"]
    return {role: [path for path in found if path.exists()] for role, found in paths.items()}  # a card may name links


def check_source(arguments: DataTrainingArguments, wanted: set[str]) -> None:
    """Refuse data that cannot be reached or that lacks a split, without reading its rows; the hub is asked."""
    used_files(arguments, wanted)
    if arguments.files or (location := location_of(arguments)).folder:
        return
    with refusing(location):
        builder_of(location.name, location.config)


def load_splits(arguments: DataTrainingArguments, wanted: set[str]) -> tuple[dict[str, Dataset], dict[str, str]]:
    """Read the data: the splits by their usual names, and for messages where each came from."""
    by_role = _splits_by_role(arguments, wanted)
    if given := arguments.files:
        splits, sources = {}, {}
        for role, names in by_role.items():
            if path := given.get(_FLAG_OF[role]):
                split = next(iter(names))  # MNLI's second sets come from a data set only
                sources[split] = f"--{_FLAG_OF[role]} {path}"
                splits[split] = read_file(path, sources[split], arguments.task_name or "")
        return splits, sources
    location = location_of(arguments)
    names = {split: name for names in by_role.values() for split, name in names.items()}
    examples = read_splits(location, list(names.values()), arguments.overwrite_cache)
    sources = {split: f"{location}, split {name}" for split, name in names.items()}
    splits = {split: examples[name] for split, name in names.items()}
    for file, further in _diagnostics(arguments, wanted, location):
        try:
            splits[f"test_{further.config}"] = read_splits(further, ["test"], arguments.overwrite_cache)["test"]
            sources[f"test_{further.config}"] = f"{further}, split test"
        except UsageError as error:  # a data set without them is complete
            print(f"note: {file}.tsv is not written: {error}")
    return splits, sources


def _diagnostics(
    arguments: DataTrainingArguments, wanted: set[str], location: DatasetLocation
) -> list[tuple[str, DatasetLocation]]:
    """Return file name and location of each optional prediction set, such as MNLI's AX."""
    task = TASKS.get(arguments.task_name or "")
    if task is None or "prediction" not in wanted:
        return []
    return [(name, replace(location, config=config)) for name, config in task.diagnostics]
