"""Several files of a folder that are one split: those of other columns are refused, and a note names the others.

`datasets` takes every file whose name has the word of a split in it, such as ``test.csv`` and ``test-notes.csv``.
"""

import re
from collections.abc import Sequence

from datasets import Dataset

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


def check_columns(parts: dict[str, Dataset], source: str) -> None:
    """Refuse files of other columns, by name. JSON lines may lack some, as one of their rows may."""
    widest = max(parts, key=lambda name: len(parts[name].column_names))
    every = set(parts[widest].column_names)
    for name, part in parts.items():
        lacks_some = ending_of(name) in (".json", ".jsonl") and every.issuperset(part.column_names)
        if set(part.column_names) != every and not lacks_some:
            found = f"{widest} has the columns {listed(parts[widest].column_names)}, and {name} has"
            advice = f"move a file away that does not belong there, or name those of the split {_BY_CARD}"
            raise UsageError(f"{source}: {found} {listed(part.column_names)}; {advice}")
