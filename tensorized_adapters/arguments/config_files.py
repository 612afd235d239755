"""Flags from a JSON file (a run) or a YAML file (a sweep)."""

import csv
import io
import itertools
import json
from collections import Counter
from collections.abc import Collection
from pathlib import Path
from typing import Any

import yaml

from ..errors import UsageError, quoted
from ..runtime.files import content_of
from ..strict_json import strict_json

_MOST_BYTES = 2**20  # all flags with long values take a few thousand
_MOST_PARTS = 10_000  # the most pieces of one flag's JSON, since nested YAML aliases can expand to billions
_SWITCHES = ("dry_run", "no_report", "fresh_processes")  # flags of a sweep without a value


def flags_of_file(path: str, of_several_words: Collection[str] = ()) -> list[str]:
    """Return the words of a command line for a JSON or YAML file such as ``{"task_name": "mrpc", "do_train": true}``.

    Flags ``of_several_words`` take a list as one word for each value; other lists are joined by commas. Raise
    UsageError if the file cannot be read, names a flag twice, or holds a value that no flag can have.
    """
    is_json = path.endswith(".json")
    argv = []
    for name, value in _mapping_in(path, is_json).items():
        if not isinstance(name, str) or not name:
            raise UsageError(f"{path}: {quoted(name)} is not a flag's name")
        if name in _SWITCHES and not is_json:
            if not isinstance(value, bool):
                raise UsageError(f"{path}: {name} must be true or false")
            argv += [f"--{name}"] * value
        elif value is None or (is_json and value == []):
            continue
        elif isinstance(value, list) and name in of_several_words:
            argv += [f"--{name}", *map(str, value)]
        else:  # with "=", since a value may start with a dash
            argv.append(f"--{name}={_text_of(value, f'{path}: {quoted(name)}')}")
    return argv


def _mapping_in(path: str, is_json: bool) -> dict[Any, Any]:
    content = content_of(Path(path), _MOST_BYTES)
    try:
        values = strict_json(content) if is_json else yaml.load(content, _Loader)
    except RecursionError:
        raise UsageError(f"{path} is nested too deeply") from None
    # YAML's constructors of numbers, dates and booleans raise errors of many types.
    except (yaml.YAMLError, ValueError, LookupError, AttributeError, TypeError, ArithmeticError) as error:
        raise UsageError(f"{path} is not valid {'JSON' if is_json else 'YAML'}: {error}") from None
    if not isinstance(values, dict):
        raise UsageError(f"{path} must hold flag names and values")
    return values


class _Loader(yaml.SafeLoader):
    """Refuses a key that is there twice. PyYAML would take the later one without a message."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        texts = [key for key, _ in node.value if key.tag == "tag:yaml.org,2002:str"]
        counts = Counter(key.value for key in texts)
        if twice := next((key for key in texts if counts[key.value] > 1), None):
            raise yaml.constructor.ConstructorError(
                None, None, f"{quoted(twice.value)} is there twice", twice.start_mark
            )
        return super().construct_mapping(node, deep)


def _text_of(value: Any, where: str) -> str:
    """Return a value as one word. A mapping is written as JSON, and a list as a line of CSV."""
    try:
        if isinstance(value, dict):
            parts = list(itertools.islice(json.JSONEncoder(default=str).iterencode(value), _MOST_PARTS))
            if len(parts) < _MOST_PARTS:
                return "".join(parts)
        elif isinstance(value, list):
            if not any(isinstance(part, (dict, list, set)) or part is None for part in value):
                text = io.StringIO()
                csv.writer(text, lineterminator="").writerow(value)
                return text.getvalue()
        elif not isinstance(value, set):
            return str(value)
    except (ValueError, TypeError, RecursionError, csv.Error):
        pass
    raise UsageError(f"{where} must be a value, or a list of values")
