"""The record behind a figure of compression: small, without this machine's folders, and read from anywhere.

    program, kind, version, versions (of packages), task, metric, samples (of the evaluation), epochs (of training on)
    adapter     method, parameters and weights_sha256 of the dense adapter
    arguments   data, model and training, as the runs had them; absolute paths keep two parts
    dense       score, and score_after_training: as trained, and after the further epoch
    points      format, rank, parameters, down_error and up_error (means over sites), and the same scores

What is not measured yet is missing.
"""

import json
import math
from pathlib import Path
from typing import Any, Optional

from tensorized_adapters import PROGRAM
from tensorized_adapters.config import PROJECTION_TYPES
from tensorized_adapters.errors import UsageError, printable, quoted, shortened
from tensorized_adapters.reporting.results import number
from tensorized_adapters.runtime.files import content_of

RECORD_FILE = "compression.json"
KIND = "compression"
MEASURED = ("score", "score_after_training")
_LARGEST = 2**20  # bytes; a point takes two hundred
_MOST_POINTS = 1000
_NUMBERS = ("down_error", "up_error", *MEASURED)


def read_record(path: Path) -> dict[str, Any]:
    """Return a record that can be drawn.

    Raises:
        UsageError: for anything else, with the reason.
    """
    try:
        record = json.loads(content_of(path, _LARGEST))
    except UsageError:
        raise
    except (ValueError, RecursionError):
        raise UsageError(f"{path} is not JSON; name a {RECORD_FILE}") from None
    if flaw := _flaw(record):
        raise UsageError(f"{path} is not a record of --figure: {flaw}; name a {RECORD_FILE}")
    return record | {name: shortened(printable(record[name])) for name in ("task", "metric")}


def point_of(record: dict[str, Any], projection_type: str, rank: int) -> Optional[dict[str, Any]]:
    """Return the point of a format at a rank, or None."""
    wanted = (projection_type, rank)
    return next((point for point in record["points"] if (point["format"], point["rank"]) == wanted), None)


def _flaw(record: Any) -> Optional[str]:
    """Return the first reason why the record cannot be drawn."""
    if not isinstance(record, dict) or (record.get("program"), record.get("kind")) != (PROGRAM, KIND):
        return f"its 'kind' is not {KIND!r}"
    for name in ("task", "metric"):
        if not isinstance(record.get(name), str):
            return f"'{name}' must be a name, and is {quoted(record.get(name))}"
    if not _is_count(record.get("epochs")) or not _is_count(record.get("samples")):
        return "'epochs' and 'samples' must be integers"
    points, dense = record.get("points"), record.get("dense")
    if not isinstance(points, list) or not all(isinstance(point, dict) for point in [dense, *points]):
        return "'dense' must be an object, and 'points' a list of them"
    if len(points) > _MOST_POINTS:
        return f"it has {len(points):,} points, and at most {_MOST_POINTS:,} are drawn"
    for point in points:
        if point.get("format") not in PROJECTION_TYPES:
            return f"a point's 'format' must be one of {', '.join(PROJECTION_TYPES)}"
        if not _is_count(point.get("rank"), 10**6):
            return f"a point's 'rank' must be an integer of at least 1, and is {quoted(point.get('rank'))}"
    for point in [dense, *points]:
        for name in _NUMBERS:
            if name in point and math.isnan(number(point, name)):
                return f"'{name}' must be a number, and is {quoted(point[name])}"
    return None


def _is_count(value: Any, most: int = 10**12) -> bool:
    return type(value) is int and 1 <= value <= most
