"""Keeps rows that a saved adapter was trained on out of the part that ``--validation_fraction`` holds out."""

import filecmp
import os
from typing import Any, Optional

from ..data.arguments import DataTrainingArguments


def name_of_data(data: DataTrainingArguments) -> str:
    """Return the name of the GLUE task, else that of the data set or the training file."""
    return data.task_name or data.dataset_name or data.train_file or "files"


def notes_of_held_out(data: DataTrainingArguments) -> dict[str, Any]:
    """Return notes for a saved adapter, which tell the rows that it was not trained on together with its seed."""
    notes = {"validation_fraction": data.validation_fraction, "train_file": data.train_file}
    return {name: value for name, value in notes.items() if value} if data.validation_fraction else {}


def flaw_of_held_out(data: DataTrainingArguments, saved: dict[str, Any], seed: int) -> Optional[str]:
    """Return a message if this run holds out other rows of the data of a saved adapter than its training did."""
    drawn, fraction = (data.validation_fraction, seed), saved["notes"].get("validation_fraction")
    before = fraction, saved["notes"].get("seed")
    if fraction is None or drawn == before or not _may_be_same(data, saved["notes"]):
        return None
    there, here = (f"--validation_fraction {part} and --seed {seed}" for part, seed in (before, drawn))
    return f"{here} hold out rows that --adapter_path was trained on: it was trained with {there}; give the same"


def note_of_held_out(data: DataTrainingArguments, saved: dict[str, Any]) -> Optional[str]:
    """Return a message if a saved adapter may have been trained on the rows that this run holds out."""
    if saved["notes"].get("validation_fraction") is not None or not _may_be_same(data, saved["notes"]):
        return None
    return (
        "--adapter_path does not say which rows its training left out; it may have been trained on those that "
        "--validation_fraction holds out"
    )


def _may_be_same(data: DataTrainingArguments, notes: dict[str, Any]) -> bool:
    """Return whether the training data of a saved adapter has the contents of this run's, or only the name if either
    is not here."""
    before, now = notes.get("train_file") or notes.get("task"), data.train_file or name_of_data(data)
    if not isinstance(before, str):
        return True  # notes from Python may lack it
    if not (os.path.exists(before) and os.path.exists(now)):
        return os.path.basename(before) == os.path.basename(now)
    are_files = os.path.isfile(before) and os.path.isfile(now)
    return filecmp.cmp(before, now, shallow=False) if are_files else os.path.samefile(before, now)
