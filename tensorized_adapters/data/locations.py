"""Finds a data set by its folder or hub id, reads it without stale caches, and refuses a bad one in one line."""

import logging
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Optional

import pyarrow
from datasets import BuilderConfig, Dataset, DatasetBuilder, DownloadMode
from datasets.exceptions import DatasetGenerationError
from datasets.packaged_modules import _PACKAGED_DATASETS_MODULES
from datasets.utils.logging import CRITICAL, disable_progress_bar, set_verbosity

from ..errors import UsageError, reason_of
from .arguments import DataTrainingArguments
from .builders import builder_of, names_files
from .glue_server_files import FOLDERS
from .named_splits import files_named
from .readers import format_of
from .tables import note_joined, read_file, read_files

# Formats that our reader reads, and the separator of columns that `datasets` sets for them by itself.
_USUAL_SEPARATORS = {"csv": ",", "tsv": "\t", "jsonl": None}
# What a card may say about a file that our reader reads: the separator of columns, and their types.
_FOR_OUR_READER = {"sep", "delimiter", "features"}


@dataclass(frozen=True)
class DatasetLocation:
    """A local ``folder``, or else the hub id ``name``; messages name it by ``str``."""

    flag: str
    name: str
    config: Optional[str]
    folder: Optional[Path]

    def official_file(self, split: str) -> Optional[Path]:
        """Return the file of a split in a folder of GLUE's own TSV files; raise UsageError if it is missing."""
        if self.folder is None or self.flag != "--glue_path":
            return None
        of_task = self.folder / FOLDERS.get(self.config, self.config.upper())
        if not of_task.is_dir() or names_files(self.folder):
            return None  # the card gives the layout of the hub
        path = of_task / f"{'diagnostic' if self.config == 'ax' else split.replace('validation', 'dev')}.tsv"
        if not path.is_file():
            raise UsageError(f"{self} has no file {path.relative_to(self.folder)}")
        return path

    def __str__(self) -> str:
        return f"{self.flag} {self.name}" + (f" ({self.config})" if self.config else "")


def location_of(arguments: DataTrainingArguments) -> DatasetLocation:
    """Find the data set of the flags; raise UsageError if it is neither a folder nor a hub id."""
    name, config, flag = arguments.dataset_name, arguments.dataset_config_name, "--dataset_name"
    if arguments.task_name:
        name, config, flag = arguments.glue_path, arguments.task_name, "--glue_path"
    path = Path(os.path.expanduser(name))  # Path.expanduser raises RuntimeError for an unknown user
    location = DatasetLocation(flag, name, config, path.resolve() if path.is_dir() else None)
    if path.exists() and not (location.folder and any(path.iterdir())):
        raise UsageError(f"{location} is a file or an empty folder; name a data set's folder or hub id")
    # A hub id is "name" or "owner/name", or has a prefix of the hub; anything else was meant as a path.
    of_hub = name.startswith(("hf://", "buckets/")) or (name[0] not in "./~" and len(path.parts) <= 2)
    if not (path.exists() or of_hub):
        raise UsageError(f"{location} does not exist; name a data set's folder or hub id")
    return location


@contextmanager
def _builder_of(location: DatasetLocation, split: str) -> Iterator[DatasetBuilder]:
    """Yield the builder with which `datasets` would read a split of a folder.

    Its cache is removed after the block. The usual cache identifies a folder by the last part of its name and by its
    card: it would return old data for another folder of that name, for changed files, and for a damaged file.
    """
    logging.getLogger("huggingface_hub.repocard").setLevel(logging.ERROR)  # it warns of a card without a header
    with tempfile.TemporaryDirectory(prefix="tensorized_adapters_") as cache:
        # The full path, since some names ("csv", "text") are the library's own readers.
        builder = builder_of(str(location.folder), location.config, cache)
        files = builder.config.data_files or {}
        by_name = split not in files and not names_files(location.folder)
        if by_name and (named := files_named(split, location.folder, str(location))):
            builder = builder_of(str(location.folder), location.config, cache, {split: named})
            files = builder.config.data_files
        _check_splits([split], files, location)
        builder.config.data_files = {split: files[split]}
        yield builder


def files_of(location: DatasetLocation, splits: list[str]) -> dict[str, list[Path]]:
    """Return the files of each split of a folder, without reading them. Raise UsageError if a split is missing, and if
    a file belongs to two of them though no card says so."""
    found: dict[str, list[Path]] = {}
    with refusing(location):
        for split in splits:
            if official := location.official_file(split):
                found[split] = [official]
            else:
                with _builder_of(location, split) as builder:
                    found[split] = [Path(file) for file in builder.config.data_files[split]]
    split_of: dict[Path, str] = {}
    for split, path in ((split, path) for split, paths in found.items() for path in paths):
        if split_of.setdefault(path, split) != split and not names_files(location.folder):
            flaw = f"{path.name} belongs to the splits {split_of[path]} and {split}"
            advice = "--train_split_name and the like name others, or README.md the files of each split (data_files)"
            raise UsageError(f"{location}: {flaw}; {advice}")
    return found


def read_splits(location: DatasetLocation, splits: list[str], anew: bool) -> dict[str, Dataset]:
    """Read splits of a folder into memory, or those of the hub, ``anew`` or from the cache of `datasets`."""
    with refusing(location):
        if location.folder:
            return {split: _read_split(location, split) for split in splits}
        if location.name in _PACKAGED_DATASETS_MODULES:  # it would read files of the current folder
            raise UsageError(f"{location} is a file format, no data set; give a folder, a hub id or --train_file")
        builder = builder_of(location.name, location.config)
        builder.download_and_prepare(download_mode=DownloadMode.REUSE_CACHE_IF_EXISTS if anew else None)
        available = builder.as_dataset()
        _check_splits(splits, available, location)
        return {split: _validated(available[split]) for split in splits}


def _read_split(location: DatasetLocation, split: str) -> Dataset:
    """Read one split of a folder by itself, since a test set may lack the column of labels."""
    if path := location.official_file(split):
        return read_file(str(path), f"{location}, {path.name}", location.config)
    with _builder_of(location, split) as builder:
        paths = [Path(file) for file in builder.config.data_files[split]]
        names = [os.path.relpath(path, location.folder) if path.is_file() else path.name for path in paths]
        note_joined(names, f"{location}, split {split}")
        in_card = getattr((builder.info.splits or {}).get(split), "num_examples", None)
        for path in paths:  # `datasets` passes over an empty JSON file
            if path.is_file() and not path.stat().st_size:
                raise UsageError(f"{location}, {path.name} is empty")
        # pandas drops blank rows and takes a surplus field for an index, and pyarrow makes dates of texts.
        if _has_plain_files(builder):
            files, sep = dict(zip(names, map(str, paths))), _separator_of_card(builder)
            examples = read_files(files, str(location), builder.info.features or {}, sep)
        else:
            builder.download_and_prepare(verification_mode="no_checks")  # the split's number is checked below
            examples = _validated(builder.as_dataset(split=split, in_memory=True))
        if not len(examples):
            raise UsageError(f"{location}, split {split} has no rows")
        if in_card not in (None, len(examples)):
            found = f"has {len(examples)} rows, its README.md says {in_card}"
            raise UsageError(f"{location}, split {split} {found}; correct either")
        return examples


def _has_plain_files(builder: DatasetBuilder) -> bool:
    """Return whether our reader can be used: local CSV, TSV or JSON files, about which the card says nothing but their
    names, a separator of one character and the types of columns."""
    files = [Path(file) for names in builder.config.data_files.values() for file in names]
    formats = {format_of(path.name) if path.is_file() else None for path in files}  # a card may name links
    names_missing = getattr(builder, "words_for_missing_by_card", False)
    if names_missing or len(formats) > 1 or not formats <= _USUAL_SEPARATORS.keys():
        return False
    plain, options = type(builder.config)(), {field.name for field in fields(builder.config)}
    options -= {field.name for field in fields(BuilderConfig)} | _FOR_OUR_READER  # name, version, files
    same = all(getattr(builder.config, name) == getattr(plain, name) for name in options)
    return same and len(_separator_of_card(builder) or ",") == 1


def _separator_of_card(builder: DatasetBuilder) -> Optional[str]:
    """Return the separator that the card gives for CSV or TSV files, None if it is the usual one of the ending."""
    sep = getattr(builder.config, "sep", None)
    file = next(iter(builder.config.data_files.values()))[0]
    return None if sep == _USUAL_SEPARATORS[format_of(Path(file).name)] else sep


def _validated(examples: Dataset) -> Dataset:
    """Return the examples; raise ArrowInvalid if a value is not valid, which would only be noticed in training."""
    examples.data.validate(full=True)
    return examples


def _check_splits(needed: list[str], available: dict, location: DatasetLocation) -> None:
    if missing := [split for split in needed if split not in available]:
        flags = "; --train_split_name and the like name others" if location.flag == "--dataset_name" else ""
        raise UsageError(f"{location} has no split {missing[0]!r}; it has {', '.join(map(str, available))}{flags}")


def quieten_datasets() -> None:
    """Disable progress bars and log of `datasets`, whose messages reach the user through our errors."""
    disable_progress_bar()
    set_verbosity(CRITICAL)


@contextmanager
def refusing(location: DatasetLocation) -> Iterator[None]:
    """Turn every error of `datasets` within the block into one line, a UsageError."""
    quieten_datasets()
    try:
        yield
    except (UsageError, MemoryError):
        raise
    except Exception as error:  # any of a dozen types means that the data set is at fault
        if isinstance(error, DatasetGenerationError) and error.__cause__:
            error = error.__cause__
        text = reason_of(error, 300)
        if location.folder is not None and "same data file format" in text:
            text = "files named as splits have other formats, such as CSV and the eval_predictions.tsv of a run in "
            text += "a folder below; move some away, or name those of each split in README.md (data_files)"
        if location.folder is None:
            text = f"it is no folder here, and of the hub: {text}"
            # These types mean that a cached file is incomplete or missing.
            if isinstance(error, pyarrow.ArrowException) or type(error) in (OSError, FileNotFoundError):
                text += "; --overwrite_cache makes its cached files anew"
        raise UsageError(f"{location} cannot be loaded: {text}") from None
