"""A job as a JSON file: one object of flag names and values."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

from ..errors import UsageError, quoted

_LARGEST = 2**20  # bytes; all flags with long values take a few thousand


def flags_of_json(path: str) -> list[str]:
    """``{"task_name": "mrpc", "do_train": true}`` as the flags it stands for.

    Raises:
        UsageError: if it is no such file, names a flag twice, or holds what no flag can mean.
    """
    values = _read(path)
    if not isinstance(values, dict):
        raise UsageError(f"{path} must hold one JSON object of flag names and values")
    return words_of(values)


def words_of(values: dict[str, Any]) -> list[str]:
    """Flags by name, with the values that JSON can hold, as words of a command line."""
    argv = []
    for name, value in values.items():
        if name in ("lora_targets", "adapter_layers") and isinstance(value, list):
            value = ",".join(map(str, value))
        if isinstance(value, list):
            argv += [f"--{name}", *map(str, value)] if value else []
        elif value is not None:  # with "=", since a value may start with a dash
            argv.append(f"--{name}={json.dumps(value) if isinstance(value, dict) else value}")
    return argv


def _read(path: str) -> Any:
    def refused(constant: str) -> None:
        raise ValueError(f"{constant} is no number of JSON's")

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        name, count = max(Counter(name for name, _ in pairs).items(), key=lambda item: item[1], default=("", 0))
        if count > 1:
            raise ValueError(f"{quoted(name)} stands there {count} times")
        return dict(pairs)

    try:
        place = Path(path)
        if place.exists() and not place.is_file():  # a pipe would be waited for, a device never ends
            raise UsageError(f"{path} is not a file; name a JSON file of flag names and values")
        if place.stat().st_size > _LARGEST:
            raise UsageError(f"{path} is larger than 1 MiB; name a JSON file of flag names and values")
        text = place.read_text(encoding="utf-8-sig")
        values = json.loads(text, parse_constant=refused, object_pairs_hook=once)
        json.dumps(values, ensure_ascii=False).encode()  # not so of half a surrogate pair
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from None
    except RecursionError:
        raise UsageError(f"{path} is not valid here: it is nested too deeply") from None
    except UsageError:  # is a ValueError itself
        raise
    except ValueError as error:
        raise UsageError(f"{path} is not valid JSON: {error}") from None
    return values
