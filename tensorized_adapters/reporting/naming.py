"""What tells rows and columns of a report apart: the settings that can change a result, and names made of them."""

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ..config import METHOD_FIELDS
from ..data.sources import ROLES
from ..runs.same_run import effective_arguments
from .schema import shortened

_DATA = (
    "task_name",
    "dataset_name",
    "dataset_config_name",
    "text_columns",
    "label_column",
    "train_file",
    "validation_file",
    "test_file",
    "input_sha256",
)
OF_TASKS = (*_DATA, "metric")
# Settings that one method has, or has a default of its own for.
OF_METHODS = {name for names in METHOD_FIELDS.values() for name in names} | {
    "method",
    "learning_rate",
    "learning_rates",
    "layer_norm_learning_rate",
    "head_learning_rate",
    "warmup_steps",
    "head_start",
}
_MOST_TOLD = 12  # settings in a name
# What follows from settings that are named beside it.
_DERIVED = {"learning_rates": "learning_rate", "head_start": "adapter_init", "input_sha256": "train_file"}
_DERIVED |= {"model_sha256": "model_name_or_path"}


def settings_of(record: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """What a row, and what a column stands for; all but the seed that can change a result is in one of them."""
    arguments = effective_arguments(record["arguments"])
    data = {name: arguments.pop(name, None) for name in _DATA}
    arguments.pop("seed", None)
    hashes = data["input_sha256"] or {}  # of data and, where they are local, of model, config and tokenizer
    data["input_sha256"] = {role: hashes[role] for role in ROLES if role in hashes}
    arguments["model_sha256"] = {role: value for role, value in hashes.items() if role not in ROLES}
    git, machine = record.get("git") or {}, record.get("machine") or {}
    arguments |= {f"{name} version": version for name, version in record.get("versions", {}).items()}
    arguments |= {"version": record.get("version"), "commit": git.get("commit"), "threads": record.get("threads")}
    arguments.setdefault("processes", 1)
    arguments |= {"gpu": machine.get("gpu"), "gpus": machine.get("gpus_used")}
    return arguments, data | {"metric": record["primary_metric"]}


def plain_column(record: dict[str, Any]) -> str:
    """The task; data files that are in its columns are not its data."""
    file = record["arguments"].get("train_file")
    return shortened(f"{Path(file).parent.name}/{Path(file).name} as {record['task']}") if file else record["task"]


def distinct_names(plain: list[str], settings: list[dict[str, Any]], own: Iterable[str]) -> list[str]:
    """Of each run: its plain name, and the settings by which it differs from others; equal for equal settings.

    Those in ``own`` are told only among runs of the same plain name: methods have them of their own, or none.
    """
    keys = [json.dumps(values, sort_keys=True, default=str) for values in settings]
    groups = dict(zip(keys, zip(plain, settings)))
    everywhere = _differing(settings) - set(own)
    names: dict[str, str] = {}
    for key, (of_group, values) in groups.items():
        odd = everywhere | _differing([other for name, other in groups.values() if name == of_group])
        odd -= {derived for derived, source in _DERIVED.items() if source in odd}
        told = [f"{shortened(name.removesuffix(' version'))} {_short(values.get(name))}" for name in sorted(odd)]
        told = told[:_MOST_TOLD] + ([f"{len(told) - _MOST_TOLD} more"] if len(told) > _MOST_TOLD else [])
        name = f"{of_group} [{', '.join(told)}]" if told else of_group
        alike = sum(other == name or other.startswith(f"{name} #") for other in names.values())
        names[key] = f"{name} #{alike + 1}" if alike else name  # long values are told in short
    return [names[key] for key in keys]


def _differing(settings: list[dict[str, Any]]) -> set[str]:
    names = {name for values in settings for name in values}
    return {name for name in names if any(values.get(name) != settings[0].get(name) for values in settings)}


def _short(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, dict):
        return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:8]
    text = str(value)
    return text if len(text) <= 24 else f"...{text[-21:]}" if "/" in text else f"{text[:10]}..."
