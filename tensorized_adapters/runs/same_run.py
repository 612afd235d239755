"""What makes two runs the same: the arguments that can change a result, and the contents of what they name."""

import functools
import hashlib
import json
import math
import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

from transformers import PretrainedConfig, TrainingArguments

from ..arguments.flags import TRAIN_METRIC_SAMPLES, Arguments
from ..backbone.default_rates import rate_factor
from ..config import LATER, LAYER_NORM_AND_HEAD_RATIO, METHOD_FIELDS, TABLE, AdapterConfig
from ..data.arguments import FILE_FLAGS
from ..data.sources import ROLES, used_files
from ..errors import UsageError
from ..runtime.distributed import count
from ..runtime.files import sha256_of

_PLACES = ("model", "config", "tokenizer")

# Arguments that cannot change the result: a second start may differ in them. Prefixes end in "_".
_WITHOUT_EFFECT = (
    "output_dir overwrite_output_dir resume_from_checkpoint cache_dir token overwrite_cache report_to "
    "run_name project disable_tqdm debug skip_memory_metrics log_ logging_ trackio_ hub_ push_to_hub "
    "dataloader_num_workers dataloader_pin_memory dataloader_persistent_workers dataloader_prefetch_factor ddp_ "
    "prefix_cache_dir measure_contribution preprocessing_num_workers "
    "save_on_each_node save_total_limit eval_accumulation_steps torch_empty_cache_steps local_rank _n_gpu cpu_threads"
).split()

# What the state of an optimizer and its schedule brings along: a checkpoint trains on under its own.
_OF_THE_STATE = (
    "learning_rate layer_norm_learning_rate head_learning_rate weight_decay adam_beta1 adam_beta2 "
    "adam_epsilon optim_args lr_scheduler_type diff_final_learning_rate diff_gate_learning_rate"
).split()

# What the examples of a step are counted from.
_BATCH = ("processes", "per_device_train_batch_size", "gradient_accumulation_steps")

# What a model's folder is read for; what else lies there does not count.
_MODEL_FILES = ("*.safetensors", "*.bin", "*.index.json", "config.json", "*.py")

_TOKENIZER_FILES = ("*token*.json", "vocab*", "merges.txt", "*.model")


def used_roles(training: TrainingArguments) -> set[str]:
    """The parts of the data that a run uses."""
    return {role for role, flag in zip(ROLES, ("do_train", "do_eval", "do_predict")) if getattr(training, flag)}


def input_hashes(arguments: Arguments) -> dict[str, str]:
    """sha256 of what a run reads from this machine, by role: the data of each part, the model, config and tokenizer.

    Data sets and models of the hub are known by their names and revisions alone. A file that is a role by itself has
    the plain hash of its contents.
    """
    model = arguments.model
    try:
        files = used_files(arguments.data, used_roles(arguments.training))
    except UsageError:  # which loading them will say; a sweep plans such a trial all the same, and goes on without it
        files = {}
    hashes = {role: _of_all(paths) for role, paths in files.items() if paths}
    for role, place in zip(_PLACES, (model.model_name_or_path, model.config_name, model.tokenizer_name)):
        if place and Path(place).is_dir():
            files = {file for pattern in (*_MODEL_FILES, *_TOKENIZER_FILES) for file in Path(place).glob(pattern)}
            hashes[role] = _of_all(sorted(file for file in files if file.is_file()), named=True)
    return hashes


def effective_arguments(arguments: dict[str, Any]) -> dict[str, Any]:
    """Those of a record's or a start's arguments that can change the result; of earlier records as today's say it.

    Raises:
        UsageError: for a record's that somebody else made.
    """
    try:
        return _effective(arguments)
    except (TypeError, AttributeError, ValueError, RecursionError):
        raise UsageError("its arguments are not those of a run of this program") from None


def _effective(arguments: dict[str, Any]) -> dict[str, Any]:
    plain = json.loads(json.dumps(arguments, default=str))
    owned = METHOD_FIELDS.get(plain.get("method"), ())
    plain = {name: value for name, value in LATER.items() if name in owned} | plain
    if plain.get("bf16") or plain.get("bf16_full_eval"):
        plain["use_cpu"] = False  # set where there is no GPU: the same command is the same run on any machine
    plain.setdefault("max_train_metric_samples", TRAIN_METRIC_SAMPLES)
    plain.setdefault("new_head", False)
    plain.setdefault("do_regression", False)
    if not plain.get("shuffle_train_dataset"):
        plain.pop("shuffle_train_dataset", None)  # earlier records do not have it; they took the first rows
    if plain.get("processes") == 1:
        del plain["processes"]  # which earlier records do not tell
    if hashes := plain.get("input_sha256"):  # once by the files' names, then by their flags
        for role, flag in zip(ROLES, FILE_FLAGS):
            for name in (flag, Path(plain.get(flag) or "").name):
                if name in hashes and role not in hashes:
                    hashes[role] = hashes[name]
        plain["input_sha256"] = {role: value for role, value in hashes.items() if role in (*ROLES, *_PLACES)}
    return {
        name: value
        for name, value in plain.items()
        if not any(name == skip or (skip.endswith("_") and name.startswith(skip)) for skip in _WITHOUT_EFFECT)
    }


def differences(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """What tells two runs' arguments apart, each in words; empty if both give the same result.

    Contents count as changed where both know them: earlier records hold the hashes of data files alone. Another number
    of processes gives the same result, to rounding, if each step has as many examples, or nothing is trained.
    """
    before, now = effective_arguments(before), effective_arguments(now)
    lines = []
    if before.get("processes") != now.get("processes"):
        there, here = _batch(before), _batch(now)
        same = there == here or not now.get("do_train", True)
        lines = [] if same else [f"{there} examples a step there, {here} now, in all processes together"]
        skip = (*_BATCH, "use_cpu")  # which is set for several processes where there is no GPU
        before, now = ({k: v for k, v in arguments.items() if k not in skip} for arguments in (before, now))
    hashes = [arguments.pop("input_sha256", None) or {} for arguments in (before, now)]
    lines += _changes(before, now, sorted(before.keys() | now.keys()))
    changed = [role for role in (*ROLES, *_PLACES) if role in hashes[0] and role in hashes[1]]
    return lines + [f"other contents of the {role} files" for role in changed if hashes[0][role] != hashes[1][role]]


def contradictions(checkpoint: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """The arguments that a resumed run would not obey, since they are in the state of the checkpoint's optimizer."""
    return _changes(effective_arguments(checkpoint), effective_arguments(now), _OF_THE_STATE)


def _batch(arguments: dict[str, Any]) -> int:
    """How many examples a step has, in all processes together."""
    try:
        return math.prod(int(arguments.get(name, 1)) for name in _BATCH)
    except (TypeError, ValueError):
        raise UsageError("its arguments are not those of a run of this program") from None


def _changes(before: dict[str, Any], now: dict[str, Any], names: list[str]) -> list[str]:
    odd = (name for name in names if before.get(name) != now.get(name))
    return [f"--{name} {before.get(name)} there, {now.get(name)} now" for name in odd]


def _of_all(files: list[Path], named: bool = False) -> str:
    """One file's own hash, or that of the hashes of several, with their names where those matter."""
    hashes = [_hash(os.fspath(file), *_stamp(file)) for file in files]
    if len(files) == 1 and not named:
        return hashes[0]
    names = [file.name if named else "" for file in files]
    return hashlib.sha256("".join(f"{name} {value}\n" for name, value in zip(names, hashes)).encode()).hexdigest()


def _stamp(file: Path) -> tuple[int, int, int]:
    state = file.stat()
    return state.st_ino, state.st_size, state.st_mtime_ns


@functools.lru_cache(maxsize=4096)
def _hash(path: str, *stamp: int) -> str:
    """A sweep asks for the same files for every trial."""
    return sha256_of(Path(path))


def fit_rates_to_model(arguments: Arguments, model_config: PretrainedConfig) -> None:
    """Make the learning rates that were not given smaller for a model above MiniLM's size, in place.

    Rates that were chosen at BERT-base's size stay: those of the published start, and those that the table excepts.
    """
    config, run, factor = arguments.adapter, arguments.run, rate_factor(model_config)
    entry = TABLE[config.method]
    if factor == 1.0 or not config.calibrated or entry.shrinks == "none":
        return
    if entry.shrinks == "all" and "learning_rate" not in arguments.given:
        arguments.training.learning_rate = factor * entry.learning_rate
    ratio = LAYER_NORM_AND_HEAD_RATIO * factor
    if run.head_learning_rate is None:
        run.head_learning_rate = ratio * arguments.training.learning_rate
    if run.layer_norm_learning_rate is None and config.trains_layer_norm:
        run.layer_norm_learning_rate = ratio * arguments.training.learning_rate


def resolve_rates(arguments: Arguments, config: AdapterConfig) -> dict[str, float]:
    """The learning rate of each parameter group, explicit flags first."""
    ratio = LAYER_NORM_AND_HEAD_RATIO if config.calibrated else 1.0
    rate, run = arguments.training.learning_rate, arguments.run
    rates = {"adapters": rate, "layer_norm": run.layer_norm_learning_rate, "head": run.head_learning_rate}
    if TABLE[config.method].changes_backbone:
        rates["backbone"] = rate
    return {group: ratio * rate if value is None else value for group, value in rates.items()}


def resolved_arguments(arguments: Arguments) -> dict[str, Any]:
    """Every argument with its value, flat, for the record; ``run_folder`` says which make two runs the same."""
    data, training, config = arguments.data, arguments.training, arguments.adapter
    groups = (asdict(arguments.model), asdict(data), config.to_dict(), asdict(arguments.run), training.to_dict())
    resolved = {name: value for group in groups for name, value in group.items() if "token" not in name.split("_")}
    resolved["head_start"] = arguments.run.head_start or ("label_prior" if config.calibrated else "random")
    resolved["learning_rates"] = resolve_rates(arguments, config)
    resolved["input_sha256"] = input_hashes(arguments)
    resolved["shuffle_train_dataset"] = data.shuffles
    resolved["processes"] = count()
    if arguments.saved:
        resolved["adapter_sha256"] = arguments.saved["weights_sha256"]
    # One place has several spellings; hub ids, which are no paths, stay as they are.
    for name in ("model_name_or_path", "glue_path", "dataset_name", "adapter_path", *FILE_FLAGS):
        if resolved.get(name) and Path(resolved[name]).exists():
            resolved[name] = str(Path(resolved[name]).resolve())
    return resolved
