"""What must stand in an adapter's config record: a checksum tells that it was not altered, not that it makes sense."""

import re
from collections.abc import Callable
from typing import Any

from ..config import AdapterConfig
from ..errors import UsageError, quoted
from .fingerprint import PRECISIONS

_SHA256 = re.compile(r"[0-9a-f]{64}")
_SURROGATE = re.compile(r"[\ud800-\udfff]")
_SAMPLE = re.compile(r"([0-9a-f]{8})*")
_PROBLEMS = (None, "regression", "single_label_classification", "multi_label_classification")
_MISSING = object()

_Rule = tuple[Callable[[Any], bool], str]


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_digest(value: Any) -> bool:
    return _is_text(value) and bool(_SHA256.fullmatch(value))


def _are_distinct_texts(values: Any) -> bool:
    """They are also written into files, which hold no half of a surrogate pair, as JSON can."""
    texts = isinstance(values, list) and all(map(_is_text, values)) and len(set(values)) == len(values)
    return texts and not any(map(_SURROGATE.search, values))


def _are_scales(values: Any) -> bool:
    return isinstance(values, list) and all(type(value) in (int, float) and 1e-9 < value < 1e9 for value in values)


def _or_missing(rule: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: value is _MISSING or rule(value)


_RECORD: dict[str, _Rule] = {
    "adapter": (lambda value: isinstance(value, dict), "the method and its settings"),
    "num_labels": (lambda value: type(value) is int and value >= 1, "a whole number of at least 1"),
    "id2label": (lambda value: isinstance(value, dict), "a name for each label"),
    "problem_type": (lambda value: value in _PROBLEMS, f"one of {', '.join(map(str, _PROBLEMS))}"),
    "base_model": (lambda value: isinstance(value, dict), "what tells the base model"),
    "newly_initialized": (_or_missing(_are_distinct_texts), "names of parameters"),
    "notes": (lambda value: isinstance(value, dict), "notes by name"),
    "weights_sha256": (_is_digest, "a sha256"),
    "base_model_name_or_path": (_or_missing(_is_text), "a text"),  # this and the next are for other loaders
    "peft_type": (_or_missing(_is_text), "a text"),
}
_FORMAT_1: dict[str, _Rule] = {"learning_rate_scales": (_are_scales, "positive numbers")}
_BASE_MODEL: dict[str, _Rule] = {
    "name": (_is_text, "a text"),
    "revision": (_or_missing(lambda value: value is None or _is_text(value)), "a text"),
    "model_type": (_or_missing(_is_text), "a text"),
    "tokens": (_or_missing(lambda value: type(value) is int and value >= 1), "a whole number of at least 1"),
    "fingerprint": (_is_digest, "a sha256"),
    "dtype": (_or_missing(lambda value: _is_text(value) and value in PRECISIONS), f"one of {', '.join(PRECISIONS)}"),
    "sample": (_or_missing(lambda value: _is_text(value) and _SAMPLE.fullmatch(value)), "numbers in hexadecimal"),
}
_NOTES: dict[str, _Rule] = {
    # Of the data's columns, which a run that starts from the adapter looks for in its own files.
    "texts": (_or_missing(lambda value: _are_distinct_texts(value) and value), "columns of different names"),
}


def check_record(record: dict[str, Any]) -> None:
    """Refuse a config record that does not describe an adapter; nothing is built or allocated for it.

    Raises:
        UsageError: naming the field and what it must be.
    """
    _check(record, _RECORD | (_FORMAT_1 if record["format_version"] == 1 else {}))
    _check(record["base_model"], _BASE_MODEL, "base_model.")
    if ("dtype" in record["base_model"]) != ("sample" in record["base_model"]):
        raise UsageError("'base_model.dtype' and 'base_model.sample' belong together")
    _check(record["notes"], _NOTES, "notes.")
    names = record["id2label"]  # first counted, since the number of labels is only claimed
    if len(names) != record["num_labels"] or set(names) != set(map(str, range(len(names)))):
        raise UsageError(f"'id2label' must name the {quoted(record['num_labels'])} labels from 0 on")
    if not _are_distinct_texts(list(names.values())):
        raise UsageError("'id2label' must give each label a text of its own")
    if not _is_text(record["adapter"].get("method")):
        raise UsageError("'adapter' must name its method")
    AdapterConfig.from_dict(record["adapter"])


def _check(values: dict[str, Any], rules: dict[str, _Rule], prefix: str = "") -> None:
    for name, (holds, what) in rules.items():
        value = values.get(name, _MISSING)
        if not holds(value):
            told = "it is missing" if value is _MISSING else f"it is {quoted(value)}"
            raise UsageError(f"'{prefix}{name}' must be {what}; {told}")
