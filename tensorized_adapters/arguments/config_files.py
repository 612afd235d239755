"""Flags from a JSON file (a run) or a YAML file (a sweep)."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import yaml

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


_SWITCHES = ("dry_run", "no_report")  # flags without a value

_MOST_BYTES = 2**20

_MOST_VALUES = 10_000  # of one flag; aliases of aliases can stand for billions


def flags_of_yaml(path: str) -> list[str]:
    """``{"ranks": [2, 4], "num_train_epochs": 3}`` as the flags it stands for.

    Raises:
        UsageError: in one line, if it cannot be read, or holds anything else than names and plain values or lists.
    """
    values = _loaded(path)
    if not isinstance(values, dict):
        raise UsageError(f"{path} must hold flag names and values")
    argv = []
    for name, value in values.items():
        if not isinstance(name, str) or not name:
            raise UsageError(f"{path}: {quoted(name)} is not a flag's name")
        if name in _SWITCHES:
            if not isinstance(value, bool):
                raise UsageError(f"{path}: {name} must be true or false")
            argv += [f"--{name}"] * value
        elif value is not None:
            told = _told(value, f"{path}: {quoted(name)}")
            # With "=" where a value would look like a flag.
            argv += [f"--{name}={told}"] if told.startswith("-") else [f"--{name}", told]
    return argv


def _loaded(path: str) -> Any:
    try:
        if Path(path).exists() and not Path(path).is_file():
            raise UsageError(f"{path} is not a file")
        with open(path, "rb") as file:
            content = file.read(_MOST_BYTES + 1)
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from None
    except ValueError as error:  # of a NUL character in the name
        raise UsageError(f"{path} cannot be read: {error}") from None
    if len(content) > _MOST_BYTES:
        raise UsageError(f"{path} is larger than a grid's file can be ({_MOST_BYTES:,} bytes)")
    try:
        return yaml.load(content, _Loader)
    except RecursionError:
        raise UsageError(f"{path} is nested too deeply") from None
    # The constructors of numbers, dates and booleans raise what they like.
    except (yaml.YAMLError, ValueError, LookupError, AttributeError, TypeError, ArithmeticError) as error:
        raise UsageError(f"{path} is not valid YAML: {error}") from None


class _Loader(yaml.SafeLoader):
    """Safe, and refuses a key that stands twice, of which one would be taken silently."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key, _ in node.value:
            if key.tag == "tag:yaml.org,2002:str" and key.value in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"{quoted(key.value)} stands twice", key.start_mark
                )
            if key.tag == "tag:yaml.org,2002:str":
                seen.add(key.value)
        return super().construct_mapping(node, deep)


def _told(value: Any, where: str) -> str:
    """A value as the command line has it."""
    left, waiting = _MOST_VALUES, [value]
    while waiting:
        part = waiting.pop()
        left -= 1 if not isinstance(part, (dict, list)) else max(1, len(part))
        if left < 0:
            raise UsageError(f"{where} holds more than {_MOST_VALUES:,} values")
        if isinstance(part, dict):
            waiting += part.values()
        elif isinstance(part, list):
            waiting += part
    try:
        if isinstance(value, dict):
            return json.dumps(value, default=str)
        if isinstance(value, list) and not any(isinstance(part, (dict, list, set)) or part is None for part in value):
            return ",".join(map(str, value))
        if not isinstance(value, (list, set)):
            return str(value)
    except (ValueError, TypeError, RecursionError):
        pass
    raise UsageError(f"{where} must be a value, or a list of values")
