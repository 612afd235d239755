"""Refuses flags that are out of range or exclude each other, and data files that cannot be read."""

from collections.abc import Iterator
from pathlib import Path

import torch

from ..config import METHOD_FIELDS
from ..data.arguments import FILE_ENDINGS, FILE_FLAGS, ending_of
from ..data.class_weights import check_class_weights
from ..data.tasks import TASKS
from ..errors import need
from ..runtime.distributed import local_world_size, world_size
from .flags import Arguments
from .selection import NEEDS_EVALUATIONS


def flaws_of_arguments(arguments: Arguments) -> Iterator[str]:
    """Yield a message for each refused combination of flags, processes and packages, and each unreadable data file.
    Missing packages and --class_weights raise UsageError."""
    model, data, run, training = arguments.model, arguments.data, arguments.run, arguments.training
    half = training.bf16 or training.fp16
    files = data.files
    method = arguments.adapter.method
    if not model.model_name_or_path:
        yield "--model_name_or_path is missing: a model folder or hub id, for example bert-base-cased"
    if model.attn_implementation == "flash_attention_2" and not half:
        yield "--attn_implementation flash_attention_2 computes in half precision alone: give --bf16 or --fp16 too"
    if not (training.do_train or training.do_eval or training.do_predict):
        yield "nothing to do: give --do_train, --do_eval or --do_predict"
    if not training.do_train and not run.adapter_path:
        yield "an untrained adapter has nothing to evaluate: give --do_train, or --adapter_path FOLDER"
    if run.overwrite_output_dir and (value := training.resume_from_checkpoint) and value.lower() == "true":
        yield (
            f"--overwrite_output_dir would remove the checkpoint that --resume_from_checkpoint {value} means; leave "
            "one of them out"
        )
    if world_size() > 1 and "accelerator_config" in arguments.given:
        yield (
            "--accelerator_config works with one process only, since this program divides the batches among several; "
            "leave it out"
        )
    if run.cache_frozen_prefix and not {"adapter_layers", "lora_targets"} & set(METHOD_FIELDS[method]):
        yield f"--cache_frozen_prefix needs --adapter_layers, and --method {method} cannot choose layers; leave it out"
    if not (data.task_name or data.dataset_name or files):
        yield "no data: give --task_name, --dataset_name, or --train_file and --validation_file"
    if training.save_strategy == "best" and not training.metric_for_best_model:
        yield "--save_strategy best needs --metric_for_best_model"
    if "metric_for_best_model" in arguments.given and training.do_train and training.eval_strategy == "no":
        yield f"--metric_for_best_model {NEEDS_EVALUATIONS}"
    if run.class_weights is not None:
        check_class_weights(run.class_weights, TASKS.get(data.task_name or ""))
    if world_size() > 1 and training.world_size != world_size():
        seen = f"the Trainer sees {training.world_size}"
        yield f"{world_size()} processes were started, but {seen}; start them with torchrun"
    if training.device.type == "cuda" and (local := local_world_size()) > (gpus := torch.cuda.device_count()):
        yield f"{local} processes were started on a machine with {gpus} GPU(s); each needs one of its own"
    if training.report_to:
        from transformers.integrations import get_available_reporting_integrations  # it looks at a dozen packages

        for absent in sorted(set(training.report_to) - set(get_available_reporting_integrations())):
            yield f"--report_to {absent} is not installed here; install it or leave the flag out"
    if method in ("lora", "ia3", "peft"):
        need("peft", "lora", f"--method {method}")
    for action, name in zip(("do_train", "do_eval", "do_predict"), FILE_FLAGS):
        needed = "train_file" if name == "validation_file" and data.validation_fraction else name
        if files and getattr(training, action) and needed not in files:
            held_out = " or --validation_fraction" if needed == "validation_file" else ""
            yield f"when data comes from files, --{action} needs --{needed}{held_out}"
        if name in files:
            yield from _flaws_of_file(f"--{name} {files[name]}", Path(files[name]))


def _flaws_of_file(flag: str, path: Path) -> Iterator[str]:
    if ending_of(path.name) not in FILE_ENDINGS:
        yield f"{flag} must end in .csv, .tsv, .json or .jsonl, or in one of these and .gz"
    try:
        if path.exists() and not path.is_file():  # opening a pipe would wait, and a device may never end
            yield f"{flag} is no regular file; write the data to one"
        with open(path, "rb") as file:
            if not file.read(4096).strip():
                yield f"{flag} is empty"
    except OSError as error:
        yield f"{flag} cannot be read: {error.strerror}"
