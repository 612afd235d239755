"""What a sweep's folder holds before anything is written there: a sweep, nothing, or something foreign."""

import json
import math
from pathlib import Path
from typing import Any, Optional

from .. import PROGRAM
from ..errors import UsageError
from . import LEDGER_FILE, LOGS, REPORT, TRIALS

RAY = ".ray"  # Tune's own state, of no use afterwards
KIND = f"{PROGRAM} sweep"
_OURS = {LEDGER_FILE, TRIALS, LOGS, REPORT, RAY}
_KINDS = {"state": str, "method": str, "task": str, "seed": int, "words": list, "reason": str, "last_lines": list}


def read_folder(folder: Path) -> tuple[dict[str, dict[str, Any]], dict[str, float], Optional[str]]:
    """The trials of sweep.json, the times of its last start that ran any, and a line if it is damaged.

    Raises:
        UsageError: if the folder holds something that is not a sweep.
    """
    if not folder.exists():
        return {}, {}, None
    if not folder.is_dir():
        raise UsageError(f"--output_dir {folder} is a file; name a folder")
    if (folder / TRIALS).exists() and not (folder / TRIALS).is_dir():
        raise UsageError(f"--output_dir {folder} holds something that is not a sweep ({TRIALS} is a file)")
    try:
        names = sorted(entry.name for entry in folder.iterdir())
    except OSError as error:
        raise UsageError(f"--output_dir {folder} cannot be read: {error.strerror}") from None
    record = _json_of(folder / LEDGER_FILE)
    known = record.get("program") == KIND
    if not known:  # lost, damaged, or the sweep was killed before its first line
        foreign = [name for name in names if name not in _OURS and not name.startswith(f".{LEDGER_FILE}.")]
        if names and (foreign or TRIALS not in names):
            odd = (foreign or names)[0]
            raise UsageError(f"--output_dir {folder} holds something that is not a sweep ({odd}); name another folder")
    trials, timing = (value if isinstance(value, dict) else {} for value in map(record.get, ("trials", "timing")))
    whole = {name: entry for name, entry in trials.items() if _is_entry(entry)}
    damaged = LEDGER_FILE in names and not (known and isinstance(record.get("trials"), dict) and whole == trials)
    line = f"{folder / LEDGER_FILE} is damaged; it is written anew from the trials' own files" if damaged else None
    return whole, {name: value for name, value in timing.items() if _is_number(value)}, line


def _json_of(path: Path) -> dict[str, Any]:
    """Empty where there is no such file, or no dict in it."""
    try:
        value = json.loads(path.read_bytes()) if path.is_file() else None  # a pipe would never end
    except (OSError, ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _is_entry(entry: Any) -> bool:
    return (
        isinstance(entry, dict)
        and all(type(entry.get(name)) is kind for name, kind in _KINDS.items())
        and all(isinstance(word, str) for word in (*entry["words"], *entry["last_lines"]))
        and isinstance(entry.get("score"), (dict, type(None)))
        and all(map(_is_number, (entry["score"] or {}).values()))
        and _is_number(entry.get("seconds"))
    )


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and abs(value) < math.inf
