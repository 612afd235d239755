"""A sweep's YAML file as the flags it stands for."""

import json
from pathlib import Path
from typing import Any

import yaml

from tensorized_adapters.errors import UsageError, quoted

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
