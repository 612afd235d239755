"""Keeps rows that a saved adapter was trained on out of the part that ``--validation_fraction`` holds out."""

import filecmp
import os
from pathlib import Path
from typing import Any, Optional

from ..data.arguments import DataTrainingArguments
from ..runtime.files import sha256_of


def name_of_data(data: DataTrainingArguments) -> str:
    """Return the name of the GLUE task, else that of the data set or the training file."""
    return data.task_name or data.dataset_name or data.train_file or "files"


def notes_of_held_out(data: DataTrainingArguments) -> dict[str, Any]:
    """Return notes for a saved adapter, which tell the rows that it was not trained on together with its seed."""
    if not data.validation_fraction:
        return {}
    notes = {"validation_fraction": data.validation_fraction, "train_file": data.train_file}
    notes["train_sha256"] = _checksum(data)
    return {name: value for name, value in notes.items() if value}


def flaw_of_held_out(data: DataTrainingArguments, saved: dict[str, Any], seed: int) -> Optional[str]:
    """Return a message if this run holds out other rows of the data of a saved adapter than its training did."""
    drawn, fraction = (data.validation_fraction, seed), saved["notes"].get("validation_fraction")
    before = fraction, saved["notes"].get("seed")
    if fraction is None:
        return None
    checksum = _checksum(data)  # once, since the file may be large
    if _has_changed(data, saved["notes"], checksum):
        return (
            f"--train_file {data.train_file} has changed since --adapter_path was trained, so --validation_fraction "
            "would hold out rows that were trained on; give --validation_file instead"
        )
    if drawn == before or not _may_be_same(data, saved["notes"], checksum):
        return None
    there, here = (f"--validation_fraction {part} and --seed {seed}" for part, seed in (before, drawn))
    return f"{here} hold out rows that --adapter_path was trained on: it was trained with {there}; give the same"


def note_of_held_out(data: DataTrainingArguments, saved: dict[str, Any]) -> Optional[str]:
    """Return a message if a saved adapter may have been trained on the rows that this run holds out."""
    if saved["notes"].get("validation_fraction") is not None or not _may_be_same(data, saved["notes"], None):
        return None
    return (
        "--adapter_path does not say which rows its training left out; it may have been trained on those that "
        "--validation_fraction holds out"
    )


def _checksum(data: DataTrainingArguments) -> Optional[str]:
    """Return the sha256 of the training file, or None if there is none or it cannot be read."""
    try:
        return sha256_of(Path(data.train_file)) if data.train_file else None
    except (OSError, ValueError):  # refused where it is read; ValueError for a path with a null byte
        return None


def _has_changed(data: DataTrainingArguments, notes: dict[str, Any], now: Optional[str]) -> bool:
    """Return whether the training file is the one that a saved adapter's notes name, with other contents. If the named
    file is not here, one of its name counts as it. ``now`` is the checksum of the training file."""
    before, checksum = notes.get("train_file"), notes.get("train_sha256")
    if not isinstance(before, str) or not isinstance(checksum, str) or now in (None, checksum):
        return False
    if os.path.exists(before):
        return os.path.samefile(before, data.train_file)
    return os.path.basename(before) == os.path.basename(data.train_file)


def _may_be_same(data: DataTrainingArguments, notes: dict[str, Any], checksum: Optional[str]) -> bool:
    """Return whether the training data of a saved adapter has the contents of this run's, or only the name if either
    is not here."""
    if checksum is not None and checksum == notes.get("train_sha256"):
        return True
    before, now = notes.get("train_file") or notes.get("task"), data.train_file or name_of_data(data)
    if not isinstance(before, str):
        return True  # notes from Python may lack it
    if not (os.path.exists(before) and os.path.exists(now)):
        return os.path.basename(before) == os.path.basename(now)
    are_files = os.path.isfile(before) and os.path.isfile(now)
    return filecmp.cmp(before, now, shallow=False) if are_files else os.path.samefile(before, now)
