"""Where the data lies: which splits a run uses, which local files they are, and how a folder or a hub id is read."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Optional

from ..errors import UsageError
from .arguments import FILE_FLAGS, DataTrainingArguments
from .tasks import TASKS

if TYPE_CHECKING:  # `datasets` takes a second to import, which a command line with data files need not wait for
    from datasets import Dataset, DatasetBuilder

ROLES = ("train", "evaluation", "prediction")


def splits_by_role(arguments: DataTrainingArguments, wanted: set[str]) -> dict[str, list[str]]:
    """The names of the splits that are used, for each role of ``wanted``; MNLI evaluates and predicts two."""
    task = TASKS[arguments.task_name or "mrpc"]  # any task whose splits have the usual names
    splits = {
        "train": ["train"],
        "evaluation": [split for _, split in task.evaluation],
        "prediction": [split for _, split in task.prediction],
    }
    return {role: splits[role] for role in ROLES if role in wanted}


def files_by_role(arguments: DataTrainingArguments, wanted: set[str]) -> Optional[dict[str, tuple[str, str]]]:
    """Flag and path of the data files, for each role of ``wanted``; None if the data is no files."""
    files = {role: (flag, getattr(arguments, flag)) for role, flag in zip(ROLES, FILE_FLAGS)}
    if not any(path for _, path in files.values()):
        return None
    return {role: file for role, file in files.items() if role in wanted and file[1]}


def used_files(arguments: DataTrainingArguments, wanted: set[str]) -> dict[str, list[Path]]:
    """The local files whose contents are read, for each role of ``wanted``, in the order of reading.

    Nothing is loaded. What comes from the hub has no local files.

    Raises:
        UsageError: for a place that is missing or that lacks a split, as loading would.
    """
    files = files_by_role(arguments, wanted)
    if files is not None:
        return {role: [Path(path)] for role, (_, path) in files.items()}
    splits, place = splits_by_role(arguments, wanted), _place_of(arguments)
    if place.folder is None:
        return {role: [] for role in splits}
    with _refusing(place), _builder_of(place) as builder:
        files = builder.config.data_files or {}
        _check_splits([split for names in splits.values() for split in names], files, place)
        paths = {role: [Path(file) for name in names for file in files[name]] for role, names in splits.items()}
    for _, further in _diagnostics(arguments, wanted, place):
        with suppress(UsageError), _refusing(further), _builder_of(further, "test") as builder:
            paths["prediction"] += map(Path, builder.config.data_files["test"])
    return {role: [path for path in found if path.exists()] for role, found in paths.items()}  # a card may name links


def check_place(arguments: DataTrainingArguments, wanted: set[str]) -> None:
    """Refuse data that cannot be reached or that lacks a split, without reading its rows; of the hub, ask it.

    Raises:
        UsageError: as loading would.
    """
    used_files(arguments, wanted)
    if files_by_role(arguments, wanted) is not None or (place := _place_of(arguments)).folder:
        return
    from datasets import load_dataset_builder

    with _refusing(place):
        load_dataset_builder(place.name, place.config)


def load_splits(arguments: DataTrainingArguments, wanted: set[str]) -> tuple[dict[str, Dataset], dict[str, str]]:
    """What a folder or a hub id holds: splits by name, and for messages the flag and place each came from.

    Raises:
        UsageError: for a place that cannot be loaded or that lacks a split.
    """
    place = _place_of(arguments)
    needed = [split for names in splits_by_role(arguments, wanted).values() for split in names]
    found = _load(place, needed, arguments.overwrite_cache)
    sources = {split: f"{place}, split {split}" for split in needed}
    for name, further in _diagnostics(arguments, wanted, place):
        try:
            found[f"test_{further.config}"] = _load(further, ["test"], arguments.overwrite_cache)["test"]
            sources[f"test_{further.config}"] = f"{further}, split test"
        except UsageError as error:  # a data set without them is complete
            print(f"note: {name}.tsv is not written: {error}")
    return found, sources


def _diagnostics(arguments: DataTrainingArguments, wanted: set[str], place: _Place) -> list[tuple[str, _Place]]:
    """File names and configurations of further prediction sets, which the data set may lack."""
    task = TASKS.get(arguments.task_name or "")
    if task is None or "prediction" not in wanted:
        return []
    return [(name, replace(place, config=config)) for name, config in task.diagnostics]


def _load(place: _Place, splits: list[str], anew: bool) -> dict[str, Dataset]:
    with _refusing(place):
        if place.folder:
            return {split: _read_split(place, split) for split in splits}
        found = _load_from_hub(place, anew)
        _check_splits(splits, found, place)
        return {split: found[split] for split in splits}


@dataclass(frozen=True)
class _Place:
    """A local ``folder``, or else the hub id ``name``; as a string, what messages call it."""

    flag: str
    name: str
    config: Optional[str]
    folder: Optional[Path]

    def __str__(self) -> str:
        return f"{self.flag} {self.name}" + (f" ({self.config})" if self.config else "")


def _place_of(arguments: DataTrainingArguments) -> _Place:
    """Raises UsageError for what is neither a folder nor a hub id."""
    name, config, flag = (
        (arguments.glue_path, arguments.task_name, "--glue_path")
        if arguments.task_name
        else (arguments.dataset_name, arguments.dataset_config_name, "--dataset_name")
    )
    if not name:
        raise UsageError(f"{flag} is empty; name a data set's folder or hub id, or leave it out")
    path = Path(name).expanduser()
    place = _Place(flag, name, config, path.resolve() if path.is_dir() else None)
    if path.exists() and not (place.folder and any(path.iterdir())):
        raise UsageError(f"{place} is a file or an empty folder; name a data set's folder or hub id")
    # Of the hub is "name" or "owner/name", and what says so; anything else was meant as a path.
    of_hub = name.startswith(("hf://", "buckets/")) or (name[0] not in "./~" and len(path.parts) <= 2)
    if not (path.exists() or of_hub):
        raise UsageError(f"{place} does not exist; name a data set's folder or hub id")
    return place


@contextmanager
def _builder_of(place: _Place, split: Optional[str] = None) -> Iterator[DatasetBuilder]:
    """How `datasets` would read a folder; of one split only, if it is named.

    The cache lasts as long as the block. The usual one knows a folder by the last part of its name and by its card:
    another folder of that name, or changed files in this one, would give what was read first, and so would a damaged
    file there.
    """
    from datasets import load_dataset_builder

    logging.getLogger("huggingface_hub.repocard").setLevel(logging.ERROR)  # a card without a header is no news
    with tempfile.TemporaryDirectory(prefix="tensorized_adapters_") as cache:
        # The whole path, since some names ("csv", "text") are the library's own readers.
        builder = load_dataset_builder(str(place.folder), place.config, cache_dir=cache)
        if split is not None:
            files = builder.config.data_files or {}
            _check_splits([split], files, place)
            builder.config.data_files = {split: files[split]}
        yield builder


def _read_split(place: _Place, split: str) -> Dataset:
    """One split, in memory. Each is read by itself: a test set may lack the column of labels."""
    from datasets import concatenate_datasets

    from .readers import read_file

    with _builder_of(place, split) as builder:
        if _is_plain_table(builder):  # pandas would drop rows, and take the words "None" and "NA" for missing values
            paths = map(Path, builder.config.data_files[split])
            return concatenate_datasets([read_file(str(path), f"{place}, {path.name}") for path in paths])
        empty = [path.name for path in map(Path, builder.config.data_files[split]) if _is_empty(path)]
        if empty:
            raise UsageError(f"{place}, {empty[0]} is empty")
        said = (builder.info.splits or {}).get(split)
        said = said and said.num_examples
        builder.download_and_prepare(verification_mode="no_checks")  # of all splits that the card counts
        rows = builder.info.splits[split].num_examples
        if not rows:
            raise UsageError(f"{place}, split {split} has no rows")
        if said not in (None, rows):
            raise UsageError(f"{place}, split {split} has {rows} rows, its README.md says {said}; mend either")
        return _whole(builder.as_dataset(split=split, in_memory=True))


def _is_empty(path: Path) -> bool:
    return path.is_file() and not path.stat().st_size


def _is_plain_table(builder: DatasetBuilder) -> bool:
    """CSV or TSV files of the folder itself, about which its card says nothing but their names."""
    from datasets import BuilderConfig

    files = [Path(file) for names in builder.config.data_files.values() for file in names]
    kinds = {path.suffix for path in files}
    if kinds not in ({".csv"}, {".tsv"}) or builder.info.features or not all(path.is_file() for path in files):
        return False
    plain = type(builder.config)(sep="," if kinds == {".csv"} else "\t")
    own = {field.name for field in fields(BuilderConfig)}  # name, version, files
    return all(getattr(builder.config, f.name) == getattr(plain, f.name) for f in fields(plain) if f.name not in own)


def _load_from_hub(place: _Place, anew: bool) -> dict[str, Dataset]:
    from datasets import DownloadMode, load_dataset
    from datasets.packaged_modules import _PACKAGED_DATASETS_MODULES

    if place.name in _PACKAGED_DATASETS_MODULES:  # it would take what lies in the current folder
        raise UsageError(f"{place} is a file format, no data set; name a folder or hub id, or give --train_file")
    found = load_dataset(place.name, place.config, download_mode=DownloadMode.REUSE_CACHE_IF_EXISTS if anew else None)
    return {split: _whole(examples) for split, examples in found.items()}


def _whole(examples: Dataset) -> Dataset:
    """Damaged values would show no earlier than they are read; raises ArrowInvalid."""
    examples.data.validate(full=True)
    return examples


def _check_splits(needed: list[str], found: dict, place: _Place) -> None:
    missing = [split for split in needed if split not in found]
    if missing:
        raise UsageError(f"{place} has no split {missing[0]!r}; it has {', '.join(map(str, found))}")


def quieten_datasets() -> None:
    """No progress bars, and no log: what `datasets` has to say reaches the user through our errors."""
    from datasets.utils.logging import CRITICAL, disable_progress_bar, set_verbosity

    disable_progress_bar()
    set_verbosity(CRITICAL)


@contextmanager
def _refusing(place: _Place) -> Iterator[None]:
    """Whatever `datasets` raises becomes one line, and all it says."""
    import pyarrow
    from datasets.exceptions import DatasetGenerationError

    quieten_datasets()
    try:
        yield
    except (UsageError, MemoryError):
        raise
    except Exception as error:  # of a dozen types; each means that the place or its content is at fault
        if isinstance(error, DatasetGenerationError) and error.__cause__:
            error = error.__cause__
        text = " ".join(str(error).split())[:300] or type(error).__name__
        if place.folder is None:
            text = f"it is no folder here, and of the hub: {text}"
            # Of a cached file that is not whole, or gone.
            if isinstance(error, pyarrow.ArrowException) or type(error) in (OSError, FileNotFoundError):
                text += "; --overwrite_cache makes its cached files anew"
        raise UsageError(f"{place} cannot be loaded: {text}") from None
