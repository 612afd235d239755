"""From checked flags to a Trainer that is ready: everything that can be refused is refused here, in one line."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from transformers import (
    DataCollatorWithPadding,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    TrainingArguments,
    default_data_collator,
    set_seed,
)

from ..architectures import skeleton
from ..data.arguments import FILE_FLAGS, DataTrainingArguments
from ..data.loading import Data, load_data
from ..data.tasks import Task
from ..errors import UsageError
from ..methods.registry import method_of
from ..methods.tensorized import rank_within
from ..training.diff_trainer import DiffPruningTrainer
from ..training.prefix import FrozenPrefix
from ..training.dropout import use_cheap_dropout
from ..training.trainer import AdapterTrainer
from .flags import Arguments
from .measure import metric_function
from .pretrained import EncodedData, build_model, check_tokenizer, encoded, load_config, load_tokenizer
from .run_folder import is_ours


def settle_rank(arguments: Arguments) -> None:
    """Turn ``--target_params`` into a rank, in place, and add a note on it; without the flag, do nothing.

    Raises:
        UsageError: if no rank is small enough, or the model's configuration cannot be loaded.
    """
    if arguments.run.target_params is not None:
        model_config = load_config(arguments.model)
        rank, note = rank_within(arguments.adapter, skeleton(model_config), arguments.run.target_params)
        arguments.adapter = replace(arguments.adapter, tensorized_layer_rank=rank)
        arguments.notes.append(note)


def prepare(arguments: Arguments, resolved: dict[str, Any]) -> tuple[AdapterTrainer, EncodedData, Data]:
    """Configuration, tokenizer, data, weights and Trainer, the cheap ones first.

    Raises:
        UsageError: for whatever one of them refuses.
    """
    config, training = arguments.adapter, arguments.training
    model_config = load_config(arguments.model)
    method_of(config).check(skeleton(model_config))
    tokenizer = load_tokenizer(arguments.model, model_config)
    actions = {"train": training.do_train, "evaluation": training.do_eval, "prediction": training.do_predict}
    data = load_data(arguments.data, {part for part, wanted in actions.items() if wanted}, arguments.saved)
    check_tokenizer(tokenizer, data, arguments.data)
    _check_training(arguments, data)
    set_seed(training.seed)
    model = build_model(arguments, model_config, config, data, resolved["head_start"])
    use_cheap_dropout(model)
    sets = encoded(data, tokenizer, model_config, arguments.data)
    name = arguments.data.task_name or arguments.data.dataset_name or arguments.data.train_file or "files"
    notes = {"task": name, "texts": list(data.task.texts), "seed": training.seed}
    rates = resolved["learning_rates"]
    try:
        trainer = new_trainer(model, training, arguments.data, tokenizer, sets, data.task, rates, notes)
        if arguments.run.cache_frozen_prefix:
            if tokenizer.padding_side != "right":  # positions, and so the states, would depend on the batch
                raise UsageError("--cache_frozen_prefix needs a tokenizer that pads on the right")
            autocast = torch.bfloat16 if training.bf16 else torch.float16 if training.fp16 else None
            trainer.use_prefix(FrozenPrefix(model, Path(arguments.run.prefix_cache_dir).expanduser(), autocast))
        if training.do_train:
            trainer.check_optimizer_and_schedule()
    except (ValueError, TypeError, KeyError, ImportError, AttributeError, OSError) as error:
        raise UsageError(f"refused by the Trainer: {str(error) or type(error).__name__}") from None
    return trainer, sets, data


def new_trainer(
    model: PreTrainedModel,
    training: TrainingArguments,
    data: DataTrainingArguments,
    tokenizer: PreTrainedTokenizerBase,
    sets: EncodedData,
    task: Task,
    rates: dict[str, float],
    notes: dict[str, Any],
) -> AdapterTrainer:
    """The Trainer for one run: padding to each batch's longest example unless asked otherwise, the task's metrics."""
    if data.pad_to_max_length:
        collator = default_data_collator
    else:
        collator = DataCollatorWithPadding(tokenizer, pad_to_multiple_of=8 if training.fp16 or training.bf16 else None)
    kind = DiffPruningTrainer if model.adaptation.config.method == "diff_pruning" else AdapterTrainer
    return kind(
        model=model,
        args=training,
        train_dataset=sets.train,
        eval_dataset=next(iter(sets.evaluation.values()), None),
        compute_metrics=metric_function(task),
        data_collator=collator,
        processing_class=tokenizer,
        rates=rates,
        notes=notes,
    )


def check_inputs_survive(folder: Path, arguments: Arguments) -> None:
    """``--overwrite_output_dir`` must not remove what this very run starts from; raises UsageError."""
    if not arguments.run.overwrite_output_dir:
        return
    inputs = {
        "resume_from_checkpoint": arguments.training.resume_from_checkpoint,
        "adapter_path": arguments.run.adapter_path,
        "model_name_or_path": arguments.model.model_name_or_path,
        **{name: getattr(arguments.data, name) for name in FILE_FLAGS},
    }
    root = folder.resolve()
    for name, value in inputs.items():
        place = Path(value).resolve() if value else root
        below = place.relative_to(root).parts if place.is_relative_to(root) else ()
        if (below and is_ours(below[0])) or (name == "adapter_path" and value and place == root):
            raise UsageError(f"--overwrite_output_dir would remove --{name} {value}; name another --output_dir")


def _check_training(arguments: Arguments, data: Data) -> None:
    """What the Trainer would find out about the data only after an epoch."""
    training, task = arguments.training, data.task
    metrics = {"loss", *task.metrics, *(("combined_score",) if len(task.metrics) > 1 else ())}
    metric = training.metric_for_best_model
    if metric is not None and metric.removeprefix("eval_") not in metrics:
        raise UsageError(f"--metric_for_best_model {metric} is unknown here; known: {', '.join(sorted(metrics))}")
    if task.labels is None and training.label_smoothing_factor:
        raise UsageError("--label_smoothing_factor is for classes, and these labels are scores; leave it out")
    if training.dataloader_drop_last and data.train and len(data.train) < training.train_batch_size:
        raise UsageError("--dataloader_drop_last leaves no batch: the training set is smaller than one")
