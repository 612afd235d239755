"""Refuses settings that an AdapterConfig cannot hold, each with a message that names the flag."""

import json
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from .errors import UsageError, quoted
from .method_table import METHODS

PROJECTION_TYPES = ("cp", "tucker", "tt", "tr", "matrix")
INITS = ("calibrated", "published")
SITES = ("both", "attention", "ffn")
SPLITS = ("separate", "interleaved")
SCOPES = ("site", "model")
PLACEMENTS = ("sequential", "parallel", "weights")
BITFIT_TERMS = ("all", "query_and_intermediate")

# Field -> lowest value, bound above, whether the lowest value is allowed.
_RANGES = {
    "lora_dropout": (0, 1, True),
    "adapter_scale": (0, float("inf"), False),
    "diff_sparsity": (0, 1, False),
    "diff_final_fraction": (0, 1, False),
    "diff_l0_penalty": (0, float("inf"), True),
    "diff_gate_learning_rate": (0, float("inf"), True),
    "diff_final_learning_rate": (0, float("inf"), True),
}


def flaws_of_settings(config: Any) -> Iterator[str]:
    """Yield a message for each setting of an AdapterConfig that is out of range, or that excludes another. config.py
    imports this file, so its class is not named in the types here."""
    method, projection_type = config.method, config.adapter_projection_type
    formats = f"--adapter_projection_type {{{','.join(PROJECTION_TYPES)}}}"
    if method is None:
        yield (
            f"no method chosen: give {formats} for tensorized adapters, or --method {{{','.join(METHODS[1:])}}} for a "
            "baseline"
        )
    yield from flaws_of_choice("method", method, METHODS)
    if method != "tensorized" and projection_type is not None:
        yield f"--adapter_projection_type does not belong to --method {method}; leave one of them out"
    if method == "tensorized" and projection_type is None:
        yield f"--method tensorized needs {formats}"
    if method == "tensorized":
        yield from flaws_of_choice("adapter_projection_type", projection_type, PROJECTION_TYPES)
    for each in fields(config):
        name, value = each.name, getattr(config, each.name)
        if isinstance(each.default, bool):
            if not isinstance(value, bool):
                yield f"--{name} must be True or False, got {quoted(value)}"
        elif isinstance(each.default, int):
            if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= 10**6:
                yield f"--{name} must be an integer of at least 1 and at most 10**6, got {quoted(value)}"
        elif isinstance(each.default, str) and get_origin(each.type) is Literal:
            yield from flaws_of_choice(name, value, get_args(each.type))
        elif name in _RANGES and not (name == "adapter_scale" and value is None):
            low, high, includes_low = _RANGES[name]
            integer = isinstance(value, int) and not isinstance(value, bool) and value < 2**53
            above = (integer or isinstance(value, float)) and (low <= value if includes_low else low < value)
            if not (above and value < high):
                range_ = f"{'at least' if includes_low else 'above'} {low} and below {high:g}"
                yield f"--{name} must be a number {range_}, got {quoted(value)}"
    if method == "peft" and not (isinstance(config.peft_type, str) and config.peft_type):
        yield "--method peft needs --peft_type, such as vera, fourierft, loha, lokr, boft or oft"
    if config.tensor_split == "interleaved" and projection_type == "matrix":
        yield "--tensor_split interleaved needs modes to interleave, and matrix has none; leave it out"
    targets = config.lora_targets
    if method == "tensorized" and targets is not None and config.adapter_placement != "weights":
        yield "--lora_targets belongs to --adapter_placement weights; leave one of them out"
    if targets is not None and not (isinstance(targets, str) and all(name.strip() for name in targets.split(","))):
        yield f"--lora_targets {quoted(targets)} must be names of linear layers, such as query,value"
    if config.adapter_layers is not None:
        parse_layers(config.adapter_layers)


def flaws_of_choice(name: str, value: str, choices: tuple[str, ...]) -> Iterator[str]:
    if value not in choices:
        yield f"--{name} must be one of {', '.join(choices)}, got {quoted(value)}"


def unused_fields(placement: str) -> set[str]:
    """Return fields of tensorized adapters that have no effect with this ``--adapter_placement``."""
    return {"adapter_size", "if_adapter_like", "adapter_sites"} if placement == "weights" else {"lora_targets"}


def parse_layers(text: str) -> tuple[int, ...]:
    """Return the indices, ascending from 0, that a text such as ``"6-11"`` or ``"0,2,8-11"`` stands for. Raise
    UsageError if it cannot be read."""
    found: set[int] = set()
    for part in text.split(",") if isinstance(text, str) else ("",):
        match = re.fullmatch(r"\s*(\d{1,4})(?:\s*-\s*(\d{1,4}))?\s*", part)
        if not match or int(match[2] or match[1]) < int(match[1]):
            raise UsageError(f"--adapter_layers {quoted(text)} is not like 6-11 or 0,2,8-11")
        found |= set(range(int(match[1]), int(match[2] or match[1]) + 1))
    return tuple(sorted(found))


def strict_json(content: str | bytes) -> Any:
    """Return the value of JSON that a user wrote.

    Raises:
        ValueError: if it is not JSON, if an object has a key twice, of which Python's reader takes the last without a
            message, or if it holds NaN, Infinity or half of a surrogate pair.
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


def canonical_json(value: Any) -> str:
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
