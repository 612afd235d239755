"""Reads JSON that a user wrote, without guesses: equal keys, NaN and broken characters are refused."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

from .errors import UsageError, quoted


def strict_json(content: str | bytes) -> Any:
    """Return the value of JSON that a user wrote.

    Raises:
        ValueError: if it is not JSON, if an object has a key twice (Python's reader would silently take the last one),
            or if it holds NaN, Infinity or half of a surrogate pair.
    """

    def refuse_constant(constant: str) -> None:
        raise ValueError(f"{constant} is not a number in JSON")

    def refuse_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        for name, count in Counter(name for name, _ in pairs).items():
            if count > 1:
                raise ValueError(f"{quoted(name)} is there {count} times")
        return dict(pairs)

    values = json.loads(content, parse_constant=refuse_constant, object_pairs_hook=refuse_duplicates)
    json.dumps(values, ensure_ascii=False).encode()  # fails for half of a surrogate pair
    return values


def canonical_peft_config(value: Any) -> str:
    """Return the settings as JSON with sorted keys, so that equal settings are equal texts.

    Args:
        value: a dictionary, the text of a JSON object, or a path to a file that holds one.

    Raises:
        UsageError: for anything else.
    """
    where = "--peft_config"
    try:
        if isinstance(value, str) and not value.lstrip().startswith("{"):
            where = f"--peft_config {quoted(value)}"
            path = Path(value)
            if not path.is_file():
                raise UsageError(f"{where} is neither a JSON object nor a file; give '{{\"r\": 8}}' or a path")
            if path.stat().st_size > 2**20:
                raise UsageError(f"{where} is larger than 1 MiB; name a JSON file of PEFT's settings")
            value = path.read_text(encoding="utf-8")
        values = strict_json(value) if isinstance(value, str) else value
        if not isinstance(values, dict) or not all(isinstance(key, str) for key in values):
            raise UsageError(f"{where} must be a JSON object of PEFT's settings, such as '{{\"r\": 8}}'")
        return json.dumps(values, sort_keys=True, allow_nan=False)
    except UsageError:
        raise
    except OSError as error:
        raise UsageError(f"{where} cannot be read: {error.strerror}") from None
    except (TypeError, ValueError, RecursionError) as error:
        raise UsageError(f"{where} is not JSON: {error}") from None
