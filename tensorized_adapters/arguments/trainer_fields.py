"""The values that each field of transformers' TrainingArguments may have here.

A test fails if a newer version of transformers has a field that is in none of the tables.
"""

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Optional

import torch
from transformers import TrainingArguments

from ..config import flaws_of_choice
from ..errors import quoted
from ..runtime.files import read_json
from ..runtime.sockets import check_sockets_of_workers

# Each entry has the names of flags, of whichever group, a description of their valid values, and a test of a value.
RANGES: tuple[tuple[str, str, Callable[[Any], bool]], ...] = (
    (
        "per_device_train_batch_size per_device_eval_batch_size gradient_accumulation_steps save_total_limit "
        "save_steps eval_steps logging_steps eval_accumulation_steps dataloader_prefetch_factor "
        "torch_empty_cache_steps ddp_bucket_cap_mb ddp_timeout max_seq_length max_train_samples max_eval_samples "
        "max_predict_samples target_params max_train_metric_samples early_stopping_patience",
        "above 0",
        lambda value: value > 0,
    ),
    ("max_steps", "above 0, or -1 to train for --num_train_epochs", lambda value: value > 0 or value == -1),
    ("num_train_epochs", "above 0 and below 1e9", lambda value: 0 < value < 1e9),
    (
        "learning_rate layer_norm_learning_rate head_learning_rate weight_decay warmup_steps max_grad_norm "
        "adam_epsilon neftune_noise_alpha eval_delay early_stopping_threshold",
        "at least 0",
        lambda value: 0 <= value,
    ),
    ("cpu_threads", "above 0 and at most 1024", lambda value: 0 < value <= 1024),
    ("dataloader_num_workers", "at least 0 and at most 256", lambda value: 0 <= value <= 256),
    ("preprocessing_num_workers", "above 0 and at most 256", lambda value: 0 < value <= 256),
    ("seed data_seed", "at least 0 and below 2**32", lambda value: 0 <= value < 2**32),
    ("label_smoothing_factor adam_beta1 adam_beta2", "at least 0 and below 1", lambda value: 0 <= value < 1),
    ("validation_fraction", "between 0 and 1", lambda value: 0 < value < 1),
    ("local_rank", "0 or -1: torchrun gives each process its own", lambda value: value in (-1, 0)),
)
# Flags, of whichever group, and the one without which they have no meaning.
NEEDS = (
    ("dataloader_persistent_workers dataloader_prefetch_factor", "dataloader_num_workers"),
    ("dataloader_multiprocessing_context", "dataloader_num_workers"),
    ("new_head push_to_hub class_weights measure_contribution", "do_train"),
    ("new_head", "adapter_path"),
    ("early_stopping_threshold", "early_stopping_patience"),
    ("prefix_cache_dir", "cache_frozen_prefix"),
)
# Pairs of flags of which only one can be given, and the reason where it is not plain.
EXCLUSIVE = (
    ("task_name", "dataset_name"),
    ("dataset_name", "train_file"),
    ("dataset_name", "validation_file"),
    ("dataset_name", "test_file"),
    ("do_regression", "label_separator"),
    ("validation_fraction", "validation_file"),
    ("validation_fraction", "validation_split_name"),
    ("target_params", "tensorized_layer_rank"),
    ("target_params", "adapter_path", "its rank is fixed"),
    ("measure_contribution", "adapter_path", "the measurement begins with an untrained adapter"),
    ("neftune_noise_alpha", "cache_frozen_prefix", "the cache computes embeddings once, without noise"),
    ("fp16", "bf16"),
    ("fp16_full_eval", "bf16_full_eval"),
)
_MOST = 2**31  # larger counts overflow in the libraries
_LARGER = ("seed", "data_seed")  # they have a range of their own
_MAY_BE_EMPTY = ("debug", "fsdp")
_TRUE = ("1", "true", "yes", "on", "y", "t")  # as Accelerate reads variables

# The choices that argparse does not know.
CHOICES = {
    "eval_strategy": ("no", "steps", "epoch"),
    "save_strategy": ("no", "steps", "epoch", "best"),
    "train_sampling_strategy": ("group_by_length", "random", "sequential"),
    "include_for_metrics": ("inputs", "loss"),
    "length_column_name": ("length",),  # the column that this program makes
    "hub_strategy": ("end",),  # the adapter is uploaded once
    "torch_compile_mode": ("default", "reduce-overhead", "max-autotune", "max-autotune-no-cudagraphs"),
}
_ADAMW = ("adamw_torch", "adamw_torch_fused")  # PyTorch's own
OF_ADAM = ("adam_beta1", "adam_beta2", "adam_epsilon")
JSON_OBJECTS = ("lr_scheduler_kwargs", "activation_checkpointing_kwargs", "gradient_checkpointing_kwargs")

_DATA_PARALLEL = (
    "the trained part fits on one device, and torchrun --nproc_per_node trains on several by plain data parallel"
)
_ALL_PREDICTIONS = "metrics need all predictions of an evaluation"
_EXACT = "a resumed run could not equal an uninterrupted one"
_JIT_CHECKPOINT = (
    "its checkpoints have no manifest and would never count as complete; after SIGTERM the same command resumes from "
    "the newest complete checkpoint anyway"
)
# Reasons, and the flags that are refused for them.
_REASONS = {
    _DATA_PARALLEL: "deepspeed fsdp fsdp_config parallelism_config",
    _ALL_PREDICTIONS: "batch_eval_metrics prediction_loss_only label_names",
    _EXACT: "save_only_model ignore_data_skip auto_find_batch_size",
    "it has no kernels for these models": "use_liger_kernel liger_kernel_config",
    "the optimizer's groups are those of the --method": "optim_target_modules",
    _JIT_CHECKPOINT: "enable_jit_checkpoint",
    "its checks cannot read the boolean masks of these models": "debug",
    "--push_to_hub uploads the adapter once, when the run is over": "hub_always_push",
}
UNSUPPORTED = {name: reason for reason, names in _REASONS.items() for name in names.split()}
ALWAYS_ON = {
    "eval_do_concat_batches": _ALL_PREDICTIONS,
    "dataloader_in_order": _EXACT,
    "remove_unused_columns": "the order of examples and the model's inputs are this program's",
}


def flaws_of_variables(given: dict[str, Any]) -> Iterator[str]:
    """Yield a message for each variable of accelerate launch that acts like a flag and is not in the record."""
    for way in ("FSDP", "DEEPSPEED", "MEGATRON_LM", "PARALLELISM_CONFIG"):  # to divide a model among processes
        name = f"ACCELERATE_USE_{way}"
        if (value := os.environ.get(name, "")).lower() in _TRUE:
            yield f"{name} is {quoted(value)}, which is not supported: unset it, or launch with torchrun"
    precision = os.environ.get("ACCELERATE_MIXED_PRECISION", "no").lower()
    if precision != "no" and not (given.get("bf16") or given.get("fp16")):
        advice = f"give --{precision}, or unset it" if precision in ("bf16", "fp16") else "unset it"
        yield f"ACCELERATE_MIXED_PRECISION is {quoted(precision)} and no precision is given: {advice}"
    backend = os.environ.get("ACCELERATE_DYNAMO_BACKEND", "no").lower()
    if backend != "no" and not any(given.get(f"torch_compile{part}") for part in ("", "_backend", "_mode")):
        advice = "give --torch_compile True, or unset it"
        yield f"ACCELERATE_DYNAMO_BACKEND is {quoted(backend)} and nothing is to be compiled: {advice}"


def flaws_of_values(given: dict[str, Any]) -> Iterator[str]:
    """Yield a message, which names the flag, for each value that TrainingArguments or the Trainer would refuse without
    a flag's name, late, or not at all."""
    for name, value in given.items():
        if isinstance(value, str) and "\0" in value:
            yield f"--{name} holds a NUL character"
        if (value == "" or value == [""]) and name not in _MAY_BE_EMPTY:
            yield f"--{name} is empty; give it a value or leave it out"
        if isinstance(value, float) and not abs(value) < float("inf"):
            yield f"--{name} must be a finite number, got {value}"
        if isinstance(value, int) and not abs(value) < _MOST and name not in _LARGER:
            yield f"--{name} must be below 2**31, got {quoted(value)}"
    for name, reason in UNSUPPORTED.items():
        if given.get(name):
            yield f"--{name} is not supported: {reason}; leave it out"
    for name, reason in ALWAYS_ON.items():
        if given.get(name) is False:
            yield f"--{name} False is not supported: {reason}; leave it out"
    for name in JSON_OBJECTS:
        if name in given and not _is_json_object(given[name]):
            yield f"""--{name} must be a JSON object such as '{{"name": 1}}', got {quoted(given[name])}"""
    for half in ("fp16", "fp16_full_eval"):
        if given.get(half) and (given.get("use_cpu") or not torch.accelerator.is_available()):
            yield f"--{half} needs a GPU; on CPU --{half.replace('fp', 'bf')} computes in bfloat16, or leave it out"
    for one, other, *reasons in EXCLUSIVE:
        if given.get(one) and given.get(other):
            because = "".join(f": {reason}" for reason in reasons)
            yield f"--{one} and --{other} exclude each other{because}; leave one of them out"
    yield from _flaws_of_optim_args(given.get("optim_args"), given.get("optim", _ADAMW[0]))
    for name in (*OF_ADAM, "optim_args") if given.get("optim") == "adafactor" else ():
        default = getattr(TrainingArguments, name)
        if given.get(name, default) != default:
            yield f"--{name} has no effect with --optim adafactor; leave one of them out"
    for names, range_, holds in RANGES:
        for name in names.split():
            if name in given and not holds(given[name]):
                yield f"--{name} must be {range_}, got {quoted(given[name])}"
    for names, needed in NEEDS:
        for name in names.split():
            if given.get(name, False) is not False and not given.get(needed):
                yield f"--{name} needs --{needed}: give both, or leave it out"
    for name, choices in CHOICES.items():
        values = given.get(name, [])
        for value in values if isinstance(values, list) else [values]:
            yield from flaws_of_choice(name, value, choices)
    if "torch_compile_backend" in given:
        from accelerate.utils import DynamoBackend  # it imports slowly

        backends = tuple(backend.value.lower() for backend in DynamoBackend if backend.value != "NO")
        yield from flaws_of_choice("torch_compile_backend", given["torch_compile_backend"].lower(), backends)
    if "accelerator_config" in given:
        yield from _flaws_of_accelerator_config(str(given["accelerator_config"]))
    for flag, alone in (("dataloader_num_workers", 0), ("preprocessing_num_workers", 1)):
        if given.get(flag, alone) > alone:
            check_sockets_of_workers(flag)


def _flaws_of_optim_args(value: Optional[str], optimizer: str) -> Iterator[str]:
    if value is None:
        return
    if not all(part.count("=") == 1 for part in value.split(",")):
        yield f"--optim_args must be like name=1,other=2, got {quoted(value)}"
    elif optimizer in _ADAMW and value not in ("amsgrad=True", "amsgrad=False"):
        yield (
            f"--optim_args of PyTorch's AdamW is amsgrad=True or amsgrad=False, got {quoted(value)}; its betas and "
            "epsilon are --adam_beta1, --adam_beta2 and --adam_epsilon"
        )


def _is_json_object(value: Any) -> bool:
    try:
        return isinstance(value if isinstance(value, dict) else json.loads(value), dict)
    except (ValueError, RecursionError):
        return False


def _flaws_of_accelerator_config(value: str) -> Iterator[str]:
    from transformers.trainer_pt_utils import AcceleratorConfig

    try:
        AcceleratorConfig(**(json.loads(value) if value.startswith("{") else read_json(Path(value))))
    except Exception as error:
        flag = f"--accelerator_config {quoted(value)}"
        yield f"{flag} is neither a JSON object of its settings nor a file of one: {error}"
