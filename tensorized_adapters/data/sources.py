"""Chooses the splits that a run reads, and names the local files behind them."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Optional

from ..errors import UsageError
from .arguments import FILE_FLAGS, SPLIT_FLAGS, DataTrainingArguments
from .locations import DatasetLocation, builder_of, check_splits, location_of, read_splits, refusing
from .tasks import TASKS

if TYPE_CHECKING:  # importing `datasets` takes a second, which data files do not need
    from datasets import Dataset

ROLES = ("train", "evaluation", "prediction")


def _roles_to_read(arguments: DataTrainingArguments, wanted: set[str]) -> set[str]:
    """Return the roles whose data is read for those ``wanted``: a held-out part is read as training data."""
    if arguments.validation_fraction is None or "evaluation" not in wanted:
        return wanted
    return wanted - {"evaluation"} | {"train"}


def _splits_by_role(arguments: DataTrainingArguments, wanted: set[str]) -> dict[str, dict[str, str]]:
    """Return the splits that are read for each role, as usual names and names in the data set. MNLI has two a role."""
    task = TASKS[arguments.task_name or "mrpc"]  # any task with the usual names of splits
    splits = {
        "train": ["train"],
        "evaluation": [split for _, split in task.evaluation],
        "prediction": [split for _, split in task.prediction],
    }
    given = dict(zip(("train", "validation", "test"), (getattr(arguments, flag) for flag in SPLIT_FLAGS)))
    read = _roles_to_read(arguments, wanted)
    return {role: {split: given.get(split) or split for split in splits[role]} for role in ROLES if role in read}


def _files_by_role(arguments: DataTrainingArguments, wanted: set[str]) -> Optional[dict[str, tuple[str, str]]]:
    """Return flag and path of the files that are read for each role, or None if the data does not come from files."""
    files, read = arguments.files, _roles_to_read(arguments, wanted)
    if not files:
        return None
    return {role: (flag, files[flag]) for role, flag in zip(ROLES, FILE_FLAGS) if role in read and flag in files}


def used_files(arguments: DataTrainingArguments, wanted: set[str]) -> dict[str, list[Path]]:
    """Return the local files whose contents are read, for each role of ``wanted``, in the order of reading.

    Nothing is loaded. Data of the hub has no local files. A missing folder or split is refused as in loading.
    """
    files = _files_by_role(arguments, wanted)
    if files is not None:
        return {role: [Path(path)] for role, (_, path) in files.items()}
    location = location_of(arguments)
    splits = {role: list(names.values()) for role, names in _splits_by_role(arguments, wanted).items()}
    if location.folder is None:
        return {role: [] for role in splits}
    paths = {role: [location.official_file(name) for name in names] for role, names in splits.items()}
    if None in [path for found in paths.values() for path in found]:
        with refusing(location), builder_of(location) as builder:
            files = builder.config.data_files or {}
            check_splits([split for names in splits.values() for split in names], files, location)
            paths = {role: [Path(file) for name in names for file in files[name]] for role, names in splits.items()}
    for _, further in _diagnostics(arguments, wanted, location):
        with suppress(UsageError), refusing(further):
            if (path := further.official_file("test")) is not None:
                paths["prediction"].append(path)
                continue
            with builder_of(further, "test") as builder:
                paths["prediction"] += map(Path, builder.config.data_files["test"])
    return {role: [path for path in found if path.exists()] for role, found in paths.items()}  # a card may name links


def check_source(arguments: DataTrainingArguments, wanted: set[str]) -> None:
    """Refuse data that cannot be reached or that lacks a split, without reading its rows; the hub is asked."""
    used_files(arguments, wanted)
    if _files_by_role(arguments, wanted) is not None or (location := location_of(arguments)).folder:
        return
    from datasets import load_dataset_builder

    with refusing(location):
        load_dataset_builder(location.name, location.config)


def load_splits(arguments: DataTrainingArguments, wanted: set[str]) -> tuple[dict[str, Dataset], dict[str, str]]:
    """Read the data: the splits by their usual names, and for messages where each came from."""
    by_role = _splits_by_role(arguments, wanted)
    if (files := _files_by_role(arguments, wanted)) is not None:
        from .readers import read_file

        # MNLI's second sets come from a data set only; a file is one set, under the first split's name.
        files = {next(iter(by_role[role])): file for role, file in files.items()}
        sources = {split: f"--{flag} {path}" for split, (flag, path) in files.items()}
        task = arguments.task_name or ""
        return {split: read_file(path, sources[split], task) for split, (_, path) in files.items()}, sources
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
    """Return file names and configurations of further prediction sets, which the data set may lack."""
    task = TASKS.get(arguments.task_name or "")
    if task is None or "prediction" not in wanted:
        return []
    return [(name, replace(location, config=config)) for name, config in task.diagnostics]
