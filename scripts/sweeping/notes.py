"""A trial's note, logs/NAME.json: what its run.json cannot tell, namely how its starts ended and their time.

Only the standard library is imported, for trials read and write them on other machines too.
"""

import json
import os
import secrets
from pathlib import Path
from typing import Any

_BLANK = {"start": "", "state": "", "reason": "", "last_lines": [], "failures": 0, "seconds": 0.0}


def read_note(path: Path) -> dict[str, Any]:
    """``start`` (the sweep's that the rest is about), ``state`` (running, finished or failed), ``reason`` and
    ``last_lines`` of a failure, ``failures`` and ``seconds`` over all starts; blank where there is no such note."""
    try:
        note = json.loads(path.read_bytes())
        return _BLANK | {name: note[name] for name, blank in _BLANK.items() if type(note[name]) is type(blank)}
    except (OSError, ValueError, KeyError, TypeError):
        return dict(_BLANK)


def write_note(path: Path, note: dict[str, Any]) -> None:
    """Beside and renamed: a kill leaves the old note or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.{secrets.token_hex(8)}.aside")
    try:
        aside.write_text(json.dumps(note, indent=2) + "\n")
        os.replace(aside, path)
    finally:
        aside.unlink(missing_ok=True)
