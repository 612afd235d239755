"""Finds the run records below some paths, and the trials of sweeps without a record."""

import json
import os
from collections.abc import Iterable
from pathlib import Path

from ..errors import UsageError
from ..runs.folder import RECORD_FILE
from ..runtime.files import content_of
from ..sweeping import LEDGER_FILE, TRIALS


def record_files(paths: Iterable[Path]) -> tuple[list[Path], list[str], list[str]]:
    """Return the run.json files, lines on trials without one, and lines on folders that cannot be read."""
    found: dict[str, None] = {}
    missing: list[str] = []
    notes: list[str] = []

    def unreadable(error: OSError) -> None:
        notes.append(f"left out because it cannot be read: {error.filename}: {error.strerror}")

    for path in paths:
        if not path.exists():
            raise UsageError(f"{path} is not there; name run.json files or folders above them")
        if not path.is_dir():
            found[os.path.realpath(path)] = None
        for folder, folders, names in os.walk(path, onerror=unreadable) if path.is_dir() else ():
            folders.sort()
            if RECORD_FILE in names + folders:
                found[os.path.realpath(Path(folder, RECORD_FILE))] = None
            if LEDGER_FILE in names:
                missing += _trials_without_record(Path(folder))
    return [*map(Path, found)], missing, notes


def _trials_without_record(folder: Path) -> list[str]:
    try:
        ledger = json.loads(content_of(folder / LEDGER_FILE))["trials"]
        return [
            f"{entry['task']} {entry['method']} seed {entry['seed']}: {entry['state']}"
            + (f": {entry['reason']}" if entry["reason"] else "")
            for name, entry in ledger.items()
            if not (folder / TRIALS / name / RECORD_FILE).is_file()
        ]
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return [f"{folder / LEDGER_FILE} cannot be read: trials that never ran are not known"]
