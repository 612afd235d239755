"""Names of methods and tasks in a report: a plain name, and the settings that distinguish it from others."""

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from ..config import METHOD_FIELDS
from ..data.arguments import FILE_FLAGS
from ..data.sources import ROLES
from ..errors import shortened
from ..runs.same_run import effective_arguments

_MOST_SETTINGS = 12  # in a name
_DATA = ["task_name", "dataset_name", "dataset_config_name", "text_columns", "label_column"]
_DATA += [*FILE_FLAGS, "input_sha256"]
# These settings of predictions after training change no score.
_PREDICTION_SETTINGS = ("do_predict", "test_file", "test_split_name", "max_predict_samples")
# Settings that only some methods have, or whose defaults differ by method.
METHOD_SETTINGS = set().union(*METHOD_FIELDS.values()) | {"method", "warmup_steps", "head_start"}
METHOD_SETTINGS |= {"learning_rate", "learning_rates", "layer_norm_learning_rate", "head_learning_rate"}
# Settings of the data and of the passes over it, which a grid may choose for each task. Any other one, such as the
# base model, is a setting of the method, because a mean over tasks must not mix methods.
_TASK_SETTINGS = set(
    "num_train_epochs max_steps max_train_samples max_eval_samples max_train_metric_samples shuffle_train_dataset "
    "max_seq_length pad_to_max_length per_device_train_batch_size per_device_eval_batch_size "
    "gradient_accumulation_steps processes eval_strategy eval_steps eval_delay eval_on_start save_strategy save_steps "
    "glue_path train_split_name validation_split_name validation_fraction text_column_delimiter label_separator "
    "do_regression metric_name metric_for_best_model greater_is_better".split()
)
# A derived setting, and the setting it follows from. A name that shows the second leaves the first out.
_DERIVED = {
    "learning_rates": "learning_rate",
    "head_start": "adapter_init",
    "input_sha256": "train_file",
    "model_sha256": "model_name_or_path",
    "started_from_sha256": "started_from",
}


def settings_of(record: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the settings of a method and those of a task. Only these and the seed can change a result."""
    arguments = effective_arguments(record["arguments"])
    for name in _PREDICTION_SETTINGS:
        arguments.pop(name, None)
    data = {name: arguments.pop(name, None) for name in _DATA}
    arguments.pop("seed", None)
    hashes = data["input_sha256"] or {}  # of data, and of model, config and tokenizer if they are local
    data["input_sha256"] = {role: hashes[role] for role in ROLES if role in hashes and role != "prediction"}
    git, machine = record.get("git") or {}, record.get("machine") or {}
    started_from = record["arguments"].get("started_from") or {}
    arguments |= {f"{name} version": version for name, version in (record.get("versions") or {}).items()}
    arguments.setdefault("processes", 1)
    arguments |= {
        "model_sha256": {role: value for role, value in hashes.items() if role not in ROLES},
        "started_from": started_from.get("checkpoint"),
        "started_from_sha256": started_from.get("sha256"),
        "version": record.get("version"),
        "commit": git.get("commit"),
        "threads": record.get("threads"),
        "gpu": machine.get("gpu"),
        "gpus": machine.get("gpus_used"),
    }
    return arguments, data | {"metric": record["primary_metric"]}


def plain_task(record: dict[str, Any]) -> str:
    """Return the task. For a run on a file it is the file's name, and the GLUE task whose columns the file has."""
    file, glue_task = (record["arguments"].get(name) for name in ("train_file", "task_name"))
    if not file:
        return record["task"]
    name = f"{Path(file).parent.name}/{Path(file).name}"
    return shortened(f"{name} as {glue_task}" if glue_task else name)


def moved_to_tasks(
    tasks: Sequence[str], of_methods: Sequence[dict[str, Any]], of_tasks: Sequence[dict[str, Any]]
) -> tuple[list[dict[str, Any]], list[dict[str, Any]], list[str]]:
    """Return the settings of the methods, those of the tasks, and a note for each task.

    Those of ``_TASK_SETTINGS`` that all runs of a task share, such as its number of epochs, are moved to the tasks. As
    settings of the methods they would give each task rows of its own.
    """
    by_task = defaultdict(list)
    for task, settings in zip(tasks, of_methods):
        by_task[task].append(settings)
    moved = _differing(of_methods) & _TASK_SETTINGS
    for settings in by_task.values():
        moved -= _differing(settings)
    notes = []
    for task, (settings, *_) in by_task.items() if moved else ():
        shown = [f"{name} {_short(settings.get(name))}" for name in sorted(moved)]
        notes.append(f"the runs of {task} have {several(shown, _MOST_SETTINGS)}")
    taken = [{name: values.get(name) for name in moved} for values in of_methods]
    kept = [{name: value for name, value in values.items() if name not in moved} for values in of_methods]
    return kept, [task | values for task, values in zip(of_tasks, taken)], notes


def distinct_names(plain: list[str], settings: list[dict[str, Any]], within: Iterable[str]) -> list[str]:
    """Return a name for each run: its plain name and the settings in which it differs from others. Those ``within``
    are compared only among runs of the same plain name, since methods differ in them anyway."""
    keys = [json.dumps(values, sort_keys=True, default=str) for values in settings]
    groups = dict(zip(keys, zip(plain, settings)))
    everywhere = _differing(settings) - set(within)
    names: dict[str, str] = {}
    for key, (of_group, values) in groups.items():
        differing = everywhere | _differing([other for name, other in groups.values() if name == of_group])
        differing -= {derived for derived, source in _DERIVED.items() if source in differing}
        pairs = [(shortened(name.removesuffix(" version")), _short(values.get(name))) for name in sorted(differing)]
        shown = [f"{name} {value}" for name, value in pairs]
        name = f"{of_group} [{several(shown, _MOST_SETTINGS)}]" if shown else of_group
        alike = sum(other == name or other.startswith(f"{name} #") for other in names.values())
        names[key] = f"{name} #{alike + 1}" if alike else name  # long values are shortened and may look alike
    return [names[key] for key in keys]


def several(texts: Iterable[str], most: int = 4) -> str:
    """Return the distinct texts of a list, and how many more there are than ``most``."""
    texts = [*dict.fromkeys(texts)]
    more = f" and {len(texts) - most} more" if len(texts) > most else ""
    return ", ".join(texts[:most]) + more


def _differing(settings: list[dict[str, Any]]) -> set[str]:
    """Return the settings that are not the same everywhere. A switch that a record lacks was off in its version."""
    names = {name for values in settings for name in values}

    def shown(values: dict[str, Any], name: str) -> Any:
        value = values.get(name)
        return None if value is False else value

    return {name for name in names if any(shown(values, name) != shown(settings[0], name) for values in settings)}


def _short(value: Any) -> str:
    """Return a value for a name: at most 24 characters, of a path the last ones, of a dictionary a hash."""
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, dict):
        return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:8]
    text = str(value)
    return text if len(text) <= 24 else f"...{text[-21:]}" if "/" in text else f"{text[:10]}..."
