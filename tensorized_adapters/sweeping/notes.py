"""A trial's note, logs/NAME.json: what its run.json cannot tell, namely how its starts ended and their time.

Only the standard library is imported, for trials read and write them on other machines too.
"""

import errno
import json
import math
import os
import secrets
import tempfile
from pathlib import Path
from typing import Any, Optional

NO_ROOM_ERRORS = (errno.ENOSPC, errno.EDQUOT)
_ROOM_BYTES = 2**20
_BLANK = {"start": "", "state": "", "reason": "", "last_lines": [], "failures": 0, "seconds": 0.0}


def read_note(path: Path) -> dict[str, Any]:
    """``start`` (the sweep's that the rest is about), ``state`` (waiting, running, finished or failed), ``reason`` (of
    a wait or a failure), ``last_lines`` of a failure, ``failures`` and ``seconds`` over all starts; blank where there
    is no such note."""
    return _read(path)[0]


def is_damaged(path: Path) -> bool:
    """Whether there is a note that does not say all that a note says."""
    return _read(path)[1]


def write_note(path: Path, note: dict[str, Any]) -> None:
    """Beside and renamed: a kill leaves the old note or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.{secrets.token_hex(8)}.aside")
    try:
        aside.write_text(json.dumps(note, indent=2) + "\n")
        os.replace(aside, path)
    finally:
        aside.unlink(missing_ok=True)


def disk_is_full(folder: Path) -> Optional[str]:
    """How it shows that the folder has no room for a small file, or None."""
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(bytes(_ROOM_BYTES))
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        return error.strerror if error.errno in NO_ROOM_ERRORS else None
    return None


def _read(path: Path) -> tuple[dict[str, Any], bool]:
    if not path.exists():
        return dict(_BLANK), False
    try:
        note = json.loads(path.read_bytes()) if path.is_file() else None  # a pipe would never end
        whole = {name: note[name] for name, blank in _BLANK.items() if _is_like(note[name], blank)}
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return dict(_BLANK), True
    return _BLANK | whole, whole.keys() != _BLANK.keys()


def _is_like(value: Any, blank: Any) -> bool:
    if type(value) is not type(blank):
        return False
    if isinstance(value, list):
        return all(isinstance(line, str) for line in value)
    return isinstance(value, str) or 0 <= value < math.inf
