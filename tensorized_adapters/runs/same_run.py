"""Compares runs: the arguments that can change a result, and the contents of the files that they name."""

import functools
import hashlib
import json
import math
from dataclasses import asdict
from pathlib import Path
from typing import Any

from transformers import TrainingArguments

from ..arguments.flags import Arguments
from ..arguments.rates import resolve_rates
from ..data.arguments import FILE_FLAGS
from ..data.sources import ROLES, used_files
from ..errors import UsageError
from ..runtime.distributed import world_size
from ..runtime.files import sha256_of

_MODEL_ROLES = ("model", "config", "tokenizer")

# Arguments that cannot change the result, so a second start may have other values. ``started_from`` can change it, but
# is known only after the checkpoint is chosen; reports compare it.
_WITHOUT_EFFECT = (
    "output_dir overwrite_output_dir resume_from_checkpoint started_from cache_dir token overwrite_cache report_to "
    "run_name project disable_tqdm debug skip_memory_metrics push_to_hub "
    "dataloader_num_workers dataloader_pin_memory dataloader_persistent_workers dataloader_prefetch_factor "
    "prefix_cache_dir measure_contribution preprocessing_num_workers "
    "save_on_each_node save_total_limit eval_accumulation_steps torch_empty_cache_steps local_rank _n_gpu cpu_threads"
).split()
_PREFIXES_WITHOUT_EFFECT = ("log_", "logging_", "trackio_", "hub_", "ddp_")

# Arguments in the state of the optimizer and its schedule, which a checkpoint restores.
_IN_OPTIMIZER_STATE = (
    "learning_rate layer_norm_learning_rate head_learning_rate weight_decay adam_beta1 adam_beta2 "
    "adam_epsilon optim optim_args fp16 lr_scheduler_type diff_final_learning_rate diff_gate_learning_rate"
).split()

# The number of examples of a step is the product of these.
_BATCH = ("processes", "per_device_train_batch_size", "gradient_accumulation_steps")

# The files that are read from a model's folder. Others do not count.
_MODEL_FILES = ("*.safetensors", "*.bin", "*.index.json", "config.json", "*.py")
_MODEL_FILES += ("*token*.json", "vocab*", "merges.txt", "*.model")


def used_roles(training: TrainingArguments) -> set[str]:
    """Return the parts of the data that a run uses."""
    return {role for role, flag in zip(ROLES, ("do_train", "do_eval", "do_predict")) if getattr(training, flag)}


def input_hashes(arguments: Arguments) -> dict[str, str]:
    """Return the sha256 of the local files that a run reads, by role: parts of the data, model, config, tokenizer."""
    model = arguments.model
    try:
        files = used_files(arguments.data, used_roles(arguments.training))
    except UsageError:  # loading the files reports it later
        files = {}
    hashes = {role: _of_all(paths) for role, paths in files.items() if paths}
    for role, path in zip(_MODEL_ROLES, (model.model_name_or_path, model.config_name, model.tokenizer_name)):
        if path and Path(path).is_dir():
            files = {file for pattern in _MODEL_FILES for file in Path(path).glob(pattern)}
            hashes[role] = _of_all(sorted(file for file in files if file.is_file()), named=True)
    return hashes


def effective_arguments(arguments: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments of a record or a start that can change the result, as JSON holds them."""
    plain = json.loads(json.dumps(arguments, default=str))
    if plain.get("bf16") or plain.get("bf16_full_eval"):
        plain["use_cpu"] = False  # it depends on the machine, not on the command
    return {
        name: value
        for name, value in plain.items()
        if name not in _WITHOUT_EFFECT and not name.startswith(_PREFIXES_WITHOUT_EFFECT)
    }


def differences(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """Return the differences between two runs' arguments, each as a text; none if both give the same result.

    Contents are compared if both have hashes. Another number of processes gives the same result, up to rounding, if a
    step has equally many examples or nothing is trained.
    """
    before, now = effective_arguments(before), effective_arguments(now)
    lines = []
    if before.get("processes") != now.get("processes"):
        there, here = _batch(before), _batch(now)
        same = there == here or not now.get("do_train", True)
        lines = [] if same else [f"{there} examples a step there, {here} now, in all processes together"]
        skip = (*_BATCH, "use_cpu")  # several processes without a GPU have use_cpu set, and one has not
        before, now = ({k: v for k, v in arguments.items() if k not in skip} for arguments in (before, now))
    hashes = [arguments.pop("input_sha256", None) or {} for arguments in (before, now)]
    lines += _changes(before, now, sorted(before.keys() | now.keys()))
    changed = [role for role in (*ROLES, *_MODEL_ROLES) if role in hashes[0] and role in hashes[1]]
    return lines + [f"other contents of the {role} files" for role in changed if hashes[0][role] != hashes[1][role]]


def contradictions(checkpoint: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """Return the arguments that a resumed run would ignore, as the optimizer's state has their earlier values."""
    return _changes(effective_arguments(checkpoint), effective_arguments(now), _IN_OPTIMIZER_STATE)


def _batch(arguments: dict[str, Any]) -> int:
    """Return the number of examples of a step, in all processes together."""
    return math.prod(arguments.get(name, 1) for name in _BATCH)


def _changes(before: dict[str, Any], now: dict[str, Any], names: list[str]) -> list[str]:
    """Return a text about each of the named arguments that differs."""
    changed = (name for name in names if before.get(name) != now.get(name))
    return [f"--{name} {before.get(name)} there, {now.get(name)} now" for name in changed]


def _of_all(files: list[Path], named: bool = False) -> str:
    """Return the hash of one file, or of the hashes of several files, with their names if ``named``."""
    states = [file.stat() for file in files]
    hashes = [_hash(file, state.st_ino, state.st_size, state.st_mtime_ns) for file, state in zip(files, states)]
    if len(files) == 1 and not named:
        return hashes[0]
    names = [file.name if named else "" for file in files]
    return hashlib.sha256("".join(f"{name} {value}\n" for name, value in zip(names, hashes)).encode()).hexdigest()


@functools.lru_cache(maxsize=4096)
def _hash(file: Path, *stamp: int) -> str:
    """Return a file's hash. It is cached, because a sweep asks for the same files for every trial."""
    return sha256_of(file)


def resolved_arguments(arguments: Arguments) -> dict[str, Any]:
    """Return every argument with its value, in one dictionary, for the record."""
    data, training, config = arguments.data, arguments.training, arguments.adapter
    groups = (asdict(arguments.model), asdict(data), config.to_dict(), asdict(arguments.run), training.to_dict())
    resolved = {name: value for group in groups for name, value in group.items() if "token" not in name.split("_")}
    resolved["head_start"] = arguments.run.head_start or ("label_prior" if config.calibrated else "random")
    resolved["learning_rates"] = resolve_rates(arguments)
    resolved["input_sha256"] = input_hashes(arguments)
    resolved["shuffle_train_dataset"] = data.shuffles
    resolved["processes"] = world_size()
    if arguments.saved:
        resolved["adapter_sha256"] = arguments.saved["weights_sha256"]
    # One path can be written in several ways. Hub ids are not paths and stay as they are.
    models = ("model_name_or_path", "config_name", "tokenizer_name", "adapter_path")
    for name in (*models, "glue_path", "dataset_name", *FILE_FLAGS):
        if resolved.get(name) and Path(resolved[name]).exists():
            resolved[name] = str(Path(resolved[name]).resolve())
    return resolved
