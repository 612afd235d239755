"""Joins the files of a split. Files with different columns are refused, and a note lists those that were joined.

`datasets` takes every file whose name has the word of a split in it, such as ``test.csv`` and ``test-notes.csv``.
"""

import re
from collections.abc import Iterable, Sequence
from itertools import combinations

import pyarrow
from datasets import Dataset
from datasets.table import InMemoryTable

from ..errors import UsageError, listed
from .arguments import ending_of

_SHARD = re.compile(r"(.+)-\d{5}-of-(\d{5})(?:-[0-9a-f]+)?(\..+)")
_BY_CARD = "in README.md (data_files)"


def note_joined(names: Sequence[str], source: str) -> None:
    """Print which files are joined, unless there is one, or they are all shards of one such as x-00000-of-00002."""
    shards = [_SHARD.fullmatch(name) for name in names]
    of_one = all(shards) and len({found.groups() for found in shards}) == 1 and int(shards[0][2]) == len(names)
    if len(names) == 1 or of_one:
        return
    advice = f"to leave one out, move it away, or name the files of the split {_BY_CARD}"
    print(f"note: {source}: {len(names)} files are joined: {listed(names)}; {advice}")


def join(parts: dict[str, Dataset], source: str) -> Dataset:
    """Return the rows of all files, by name, as if one file held them; raise UsageError for files that do not go
    together."""
    _check_columns(parts, source)
    try:
        return _concatenated(parts.values())
    except pyarrow.ArrowException:
        for pair in combinations(parts, 2):
            try:
                _concatenated(parts[name] for name in pair)
            except pyarrow.ArrowException as error:
                flaw = f"{pair[0]} and {pair[1]} cannot be joined: {error}"
                raise UsageError(f"{source}: {flaw}; write values of one kind in a column") from None
        raise


def _concatenated(parts: Iterable[Dataset]) -> Dataset:
    """Return the rows of all parts. Integers beside decimals become decimals, which ``datasets`` would refuse."""
    tables = [part.data.table.replace_schema_metadata() for part in parts]
    return Dataset(InMemoryTable(pyarrow.concat_tables(tables, promote_options="permissive")))


def _check_columns(parts: dict[str, Dataset], source: str) -> None:
    """Refuse files of other columns, by name. JSON lines may lack some, as one of their rows may."""
    widest = max(parts, key=lambda name: len(parts[name].column_names))
    every = set(parts[widest].column_names)
    for name, part in parts.items():
        lacks_some = ending_of(name) in (".json", ".jsonl") and every.issuperset(part.column_names)
        if set(part.column_names) != every and not lacks_some:
            found = f"{widest} has the columns {listed(parts[widest].column_names)}, and {name} has"
            advice = f"move a file away that does not belong there, or name those of the split {_BY_CARD}"
            raise UsageError(f"{source}: {found} {listed(part.column_names)}; {advice}")
