"""What is refused at the door: flags out of range, flags that exclude each other, files that cannot be read."""

from pathlib import Path
from typing import Any

import torch

from ..config import METHOD_FIELDS
from ..data.arguments import FILE_FLAGS
from ..errors import UsageError, need
from ..runtime.distributed import count, local_count
from .flags import Arguments
from .trainer_fields import check_ranges, check_trainer_flags

# Of the flags that are not TrainingArguments': what their values must be, and whether one is.
RANGES = (
    (
        "max_seq_length max_train_samples max_eval_samples max_predict_samples target_params max_train_metric_samples",
        "above 0",
        lambda value: value > 0,
    ),
    ("cpu_threads", "above 0 and at most 1024", lambda value: 0 < value <= 1024),
    (
        "layer_norm_learning_rate head_learning_rate",
        "at least 0",
        lambda value: 0 <= value,
    ),
)
_MAY_BE_EMPTY = ("debug", "fsdp", "logging_dir")


def check_values(given: dict[str, Any]) -> None:
    """Flags that were given, each for itself; raises UsageError."""
    for name, value in given.items():
        if isinstance(value, str) and "\0" in value:
            raise UsageError(f"--{name} holds a NUL character")
        if (value == "" or value == [""]) and name not in _MAY_BE_EMPTY:
            raise UsageError(f"--{name} is empty; give it a value or leave it out")
    check_trainer_flags(given)
    check_ranges(given, RANGES)


def check_together(arguments: Arguments) -> None:
    """What only shows between flags, and the data files; raises UsageError."""
    data, training = arguments.data, arguments.training
    if not arguments.model.model_name_or_path:
        raise UsageError("--model_name_or_path is missing: a model folder or hub id, for example bert-base-cased")
    if not (training.do_train or training.do_eval or training.do_predict):
        raise UsageError("nothing to do: give --do_train, --do_eval or --do_predict")
    if not training.do_train and not arguments.run.adapter_path:
        raise UsageError("evaluating an untrained adapter tells nothing: give --do_train, or --adapter_path FOLDER")
    if arguments.run.new_head and not training.do_train:
        raise UsageError("--new_head draws a head that has to be trained: give --do_train, or leave it out")
    if training.push_to_hub and not training.do_train:
        raise UsageError("--push_to_hub uploads what a run has trained: give --do_train, or leave it out")
    if count() > 1 and training.world_size != count():
        raise UsageError(
            f"{count()} processes were started, and the Trainer knows of {training.world_size}: use torchrun"
        )
    if training.device.type == "cuda" and (local := local_count()) > (gpus := torch.cuda.device_count()):
        raise UsageError(f"{local} processes were started on a machine with {gpus} GPU(s); each needs one of its own")
    if count() > 1 and "accelerator_config" in arguments.given:
        raise UsageError("--accelerator_config is for one process: how several share batches is settled; leave it out")
    if training.report_to:
        from transformers.integrations import get_available_reporting_integrations

        absent = sorted(set(training.report_to) - set(get_available_reporting_integrations()))
        if absent:
            raise UsageError(f"--report_to {absent[0]} is not installed here; install it or leave the flag out")
    if training.save_strategy == "best" and not training.metric_for_best_model:
        raise UsageError("--save_strategy best needs --metric_for_best_model")
    if "prefix_cache_dir" in arguments.given and not (
        arguments.run.cache_frozen_prefix and arguments.run.prefix_cache_dir
    ):
        raise UsageError("--prefix_cache_dir names the folder of --cache_frozen_prefix; give both or neither")
    if arguments.adapter.method in ("lora", "ia3", "peft"):
        need("peft", "lora", f"--method {arguments.adapter.method}")
    owned = METHOD_FIELDS[arguments.adapter.method]
    if arguments.run.cache_frozen_prefix and not {"adapter_layers", "lora_targets"} & set(owned):
        method = arguments.adapter.method
        raise UsageError(
            f"--cache_frozen_prefix needs --adapter_layers, and --method {method} cannot choose layers; leave it out"
        )
    if arguments.run.measure_contribution and (arguments.run.adapter_path or not training.do_train):
        raise UsageError(
            "--measure_contribution compares a training's end with its start from an untrained adapter: it needs "
            "--do_train and no --adapter_path; leave it out"
        )
    if data.task_name and data.dataset_name:
        raise UsageError("--task_name and --dataset_name exclude each other")
    if any(getattr(data, name) for name in FILE_FLAGS):
        if data.dataset_name:
            raise UsageError("--dataset_name and data files exclude each other")
        for action, name in zip(("do_train", "do_eval", "do_predict"), FILE_FLAGS):
            if getattr(training, action) and not getattr(data, name):
                raise UsageError(f"--{action} needs --{name} when data comes from files")
            if getattr(data, name):
                _check_file(name, getattr(data, name))
    elif not (data.task_name or data.dataset_name):
        raise UsageError("no data: give --task_name, --dataset_name, or --train_file and --validation_file")


def _check_file(name: str, value: str) -> None:
    path = Path(value)
    if path.suffix not in (".csv", ".tsv", ".json", ".jsonl"):
        raise UsageError(f"--{name} {value} must end in .csv, .tsv, .json or .jsonl")
    try:
        if path.exists() and not path.is_file():  # before it is opened: a pipe would wait, a device may never end
            raise UsageError(f"--{name} {value} is no regular file; write the data to one")
        with open(path, "rb") as file:
            empty = not file.read(4096).strip()
    except OSError as error:
        raise UsageError(f"--{name} {value} cannot be read: {error.strerror}") from None
    if empty:
        raise UsageError(f"--{name} {value} is empty")
