"""Reads the TSV files of GLUE's own server, and gives their columns the names that they have on the hub."""

from collections.abc import Iterable, Iterator

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


def with_header(lines: Iterable[str], task: str, source: str) -> Iterator[str]:
    """Yield the lines of a TSV file. CoLA's training and development sets lack a header, which is added."""
    lines = iter(lines)
    first = next(lines, "")
    fields = first.rstrip("\r\n").split("\t")
    if task == "cola" and len(fields) == len(_COLA) and fields[1].strip() in ("0", "1"):
        print(f"note: {source} is read in GLUE's own layout, without a header: {', '.join(_COLA)}")
        yield "\t".join(_COLA) + "\n"
    yield first
    yield from lines


def with_usual_names(examples: Dataset, task: str, source: str) -> Dataset:
    """Give the columns of GLUE's own files the hub's names, unless the file already has one of these."""
    given = _COLUMNS.get(task, {})
    present = {old: new for old, new in given.items() if old in examples.column_names}
    if not present or set(given.values()) & set(examples.column_names):
        return examples
    print(f"note: {source} is read in GLUE's own layout: {', '.join(f'{b} from {a!r}' for a, b in present.items())}")
    return examples.rename_columns(present)
