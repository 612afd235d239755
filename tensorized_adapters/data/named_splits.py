"""Finds the files by whose names a folder gives a split, and the shards of one file."""

import glob
import re
from pathlib import Path
from typing import Optional

from ..errors import UsageError, listed
from .arguments import FILE_ENDINGS, ending_of

_ENDINGS = {*FILE_ENDINGS, ".parquet"}  # of files that a split can be named by
_SHARD = re.compile(r"(.+)-\d{5}-of-(\d{5})(?:-[0-9a-f]+)?(\..+)")
_USUAL_SPLITS = {"train", "validation", "dev", "test"}


def shard_of(name: str) -> Optional[tuple[str, int, str]]:
    """Return what the shards of one file have in common, such as ("fit", 2, ".csv") of fit-00000-of-00002.csv: name,
    number of shards and ending. Return None for any other file."""
    found = _SHARD.fullmatch(name)
    return (found[1], int(found[2]), found[3]) if found else None


def files_named(split: str, folder: Path, source: str) -> list[str]:
    """Return patterns of the files that are named as a split of a folder.

    These are ``fit.csv``, or shards such as ``fit-00000-of-00002.csv``, or the files in a folder ``fit``. `datasets`
    knows the usual names of splits, and takes all other files for the training set.

    Raises:
        UsageError: if several files or groups of files may be the split.
    """
    if "/" in split or not split.strip("."):
        return []
    beside = [path for path in sorted(folder.iterdir()) if _is_data(path)]
    single = [path for path in beside if path.name.startswith(f"{split}.")]
    shards = [path for path in beside if (shard_of(path.name) or [""])[0] == split]
    own = [path for path in sorted((folder / split).glob("*")) if _is_data(path)]
    found = [*single, *shards, *own]
    stems = [path.name.split(".")[0] for path in found]
    if (
        sum(map(bool, (single, shards, own))) > 1
        or len({shard_of(path.name) for path in shards}) > 1
        or len({ending_of(path.name) for path in found}) > 1
        or len(set(stems)) < len(stems)  # such as x.csv and x.csv.gz
        or (len(own) > 1 and _USUAL_SPLITS.intersection(stems))
    ):
        names = listed([str(path.relative_to(folder)) for path in found])
        advice = "move away what does not belong to it, or name its files in README.md (data_files)"
        raise UsageError(f"{source}: it is not clear which of {names} are the split {split!r}; {advice}")
    return [glob.escape(str(path.relative_to(folder))) for path in found]


def _is_data(path: Path) -> bool:
    return path.is_file() and not path.name.startswith(".") and ending_of(path.name) in _ENDINGS
