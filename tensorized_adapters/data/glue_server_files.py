"""Reads the TSV files of GLUE's own server, and gives their columns the names that they have on the hub."""

from collections.abc import Collection, Iterable, Iterator
from typing import Optional, TextIO

from datasets import Dataset

# Other folders are named by their task in capitals. The diagnostic set, which MNLI predicts too, has a single file.
FOLDERS = {"cola": "CoLA", "sst2": "SST-2", "stsb": "STS-B", "ax": "diagnostic"}
_COLUMNS = {
    "ax": {"sentence1": "premise", "sentence2": "hypothesis"},
    "mnli": {"sentence1": "premise", "sentence2": "hypothesis", "gold_label": "label"},
    "mrpc": {"#1 String": "sentence1", "#2 String": "sentence2", "Quality": "label"},
    "qqp": {"is_duplicate": "label"},
    "stsb": {"score": "label"},
}
_COLA = ("source", "label", "judgement", "sentence")


def with_header(lines: Iterable[str], task: str, source: str, notes: Optional[TextIO] = None) -> Iterator[str]:
    """Yield the lines of a TSV file. CoLA's training and development sets lack a header, which is added, with a note
    on the stream ``notes`` (standard output if None)."""
    lines = iter(lines)
    first = next(lines, "")
    fields = first.rstrip("\r\n").split("\t")
    if task == "cola" and len(fields) == len(_COLA) and fields[1].strip() in ("0", "1"):
        print(f"note: {source} is read in GLUE's own layout, without a header: {', '.join(_COLA)}", file=notes)
        yield "\t".join(_COLA) + "\n"
    yield first
    yield from lines


def with_usual_names(examples: Dataset, task: str, source: str) -> Dataset:
    """Give the columns of GLUE's own files the hub's names, unless the file already has one of these."""
    names = usual_names(examples.column_names, task)
    if names:
        print(f"note: {renamed(names, source)}")
    return examples.rename_columns(names)


def usual_names(present: Collection[str], task: str) -> dict[str, str]:
    """Return the hub's names of the columns, by their names in GLUE's own files. Return none if a column already has
    a name of the hub."""
    given = _COLUMNS.get(task, {})
    return {} if set(given.values()) & set(present) else {old: new for old, new in given.items() if old in present}


def renamed(names: dict[str, str], source: str) -> str:
    """Return the note about columns that have GLUE's own names."""
    return f"{source} is read in GLUE's own layout: {', '.join(f'{new} from {old!r}' for old, new in names.items())}"
