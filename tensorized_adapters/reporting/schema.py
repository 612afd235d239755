"""Reads and checks run records one by one, so that a damaged record does not keep the others out of a report."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .. import PROGRAM
from ..config import METHODS, PROJECTION_TYPES
from ..data.arguments import FILE_FLAGS
from ..errors import UsageError, printable, quoted
from ..runtime.files import content_of

LONGEST_NAME = 80
_LARGEST_RECORD = 2**28  # bytes: the loss of ten million steps

_Rules = dict[str, tuple[Callable[[Any], bool], str]]


def read_record(path: Path) -> dict[str, Any]:
    """A run record that holds what a report needs, its texts without what does not print, with its ``path``.

    Raises:
        UsageError: for anything else, with the reason.
    """
    try:
        record = _printable(json.loads(content_of(path, _LARGEST_RECORD)))
    except UsageError:
        raise
    except ValueError:
        raise UsageError("it is not JSON") from None
    except RecursionError:
        raise UsageError("it is nested too deeply") from None
    if not isinstance(record, dict) or record.get("program") != PROGRAM:
        raise UsageError("it is not a run record of this program")
    _check(record, _ANY)
    if record["status"] == "finished":
        _check(record, _FINISHED)
        arguments = record["arguments"]
        _check(arguments, _ARGUMENTS, "arguments.")
        _check(arguments, _TENSORIZED if arguments["method"] == "tensorized" else {}, "arguments.")
    for name in ("method", "task", "primary_metric"):
        record[name] = shortened(record[name])
    return record | {"path": path}


def is_number(value: Any) -> bool:
    """Whether it is finite, and of a size that can be added up and drawn."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < 1e12


def shortened(text: str) -> str:
    """At most LONGEST_NAME characters of a name, the first and the last of them."""
    half = LONGEST_NAME // 2 - 2
    return text if len(text) <= LONGEST_NAME else f"{text[:half]}...{text[-half:]}"


def _printable(value: Any) -> Any:
    if isinstance(value, str):
        return printable(value)
    if isinstance(value, list):
        return [_printable(entry) for entry in value]
    if isinstance(value, dict):
        return {printable(name): _printable(entry) for name, entry in value.items()}
    return value


def _is(*kinds: type) -> Callable[[Any], bool]:
    return lambda value: type(value) in kinds


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value < 10**15


def _is_git(value: Any) -> bool:
    if not isinstance(value, dict):
        return value is None
    return type(value.get("clean")) is bool and isinstance(value.get("commit"), (str, type(None)))


def _is_machine(value: Any) -> bool:
    return isinstance(value, dict) and isinstance(value.get("gpu"), (str, type(None)))


def _are_counts(value: Any) -> bool:
    whole = isinstance(value, dict) and all(map(_is_count, value.values()))
    return whole and 0 < value.get("trained", 0) and 0 < value.get("model", 0)


def _are_losses(value: Any) -> bool:
    return value is None or (isinstance(value, list) and all(map(is_number, value)))


def _are_evaluations(value: Any) -> bool:
    """Their metrics may be no numbers, as a score that is not defined; they are left out one by one."""
    if value is None:
        return True
    entries = isinstance(value, list) and all(isinstance(entry, dict) for entry in value)
    return entries and all(is_number(entry.get("step", 0)) for entry in value)


def _are_names(value: Any) -> bool:
    return value is None or (isinstance(value, list) and all(isinstance(entry, str) for entry in value))


def _are_measures(value: Any) -> bool:
    """Numbers by name at any depth, or None."""
    return value is None or is_number(value) or (isinstance(value, dict) and all(map(_are_measures, value.values())))


_TEXT_OR_NONE = (_is(str, type(None)), "a text")
_ANY: _Rules = {
    "arguments": (_is(dict), "arguments by name"),
    "status": (_is(str), "a text"),
    "reason": _TEXT_OR_NONE,
    "seed": (lambda value: type(value) is int and abs(value) < 2**63, "a whole number"),
    "primary_metric": (_is(str), "a metric's name"),
    "method": (_is(str), "a method's name"),
    "task": (_is(str), "a task's name"),
}
_FINISHED: _Rules = {
    "metrics": (_is(dict), "metrics by name"),
    "parameters": (_are_counts, "positive counts with 'trained' and 'model'"),
    "command": (_is(str), "a text"),
    "versions": (_is(dict), "versions by name"),
    "version": _TEXT_OR_NONE,
    "machine": (_is_machine, "a machine with the name of its GPU"),
    "git": (_is_git, "a commit, and whether it is clean"),
    "history": (_are_evaluations, "evaluations with their steps"),
    "step_losses": (_are_losses, "finite numbers"),
    "contribution": (lambda value: _are_measures(value) and not is_number(value), "losses and scores by name"),
    "one_class": (lambda value: value is None or isinstance(value, dict), "classes by set"),
    "collapsed_at_step": (lambda value: value is None or _is_count(value), "a step"),
    "given": (_are_names, "names of flags"),
    "adapter_bytes": (lambda value: value is None or _is_count(value), "a size in bytes"),
}
_ARGUMENTS: _Rules = {
    "method": (lambda value: value in METHODS, f"one of {', '.join(METHODS)}"),
    "input_sha256": (_is(dict, type(None)), "hashes by file"),
    **{name: _TEXT_OR_NONE for name in FILE_FLAGS},
}
_TENSORIZED: _Rules = {
    "adapter_projection_type": (lambda value: value in PROJECTION_TYPES, f"one of {', '.join(PROJECTION_TYPES)}"),
    "tensorized_layer_rank": (lambda value: type(value) is int and 1 <= value <= 10**6, "a rank"),
}


def _check(values: dict[str, Any], rules: _Rules, prefix: str = "") -> None:
    for name, (holds, what) in rules.items():
        if not holds(values.get(name)):
            raise UsageError(f"'{prefix}{name}' must be {what}, and is {quoted(values.get(name))}")
