"""The flags in groups: those of Hugging Face's run_glue and TrainingArguments, and ours."""

from dataclasses import dataclass
from typing import Any, Literal, Optional

from transformers import PretrainedConfig, TrainingArguments
from transformers.training_args import OptimizerNames

from ..backbone.arguments import ModelArguments
from ..config import PUBLISHED_LEARNING_RATE, TABLE, AdapterConfig, setting
from ..data.arguments import DataTrainingArguments
from ..data.metric_names import CLASS_METRICS, SCORE_METRICS
from .old_flags import renamed

_RATIO = (
    "Default: 2.5 x --learning_rate, less for larger models (BERT-base: 1.25e-3 by default, and 3.1e-4 for "
    "LayerNorms beside dense adapters); with --adapter_init published 1 x."
)


@dataclass
class RunArguments:
    """Flags that Hugging Face's run_glue does not have."""

    _argument_group_name = "run arguments"

    adapter_path: Optional[str] = setting(
        None,
        "A saved adapter to evaluate, predict with or train further: an adapter/ folder, or owner/name or "
        "owner/name@revision on the Hugging Face hub. It brings the method's settings.",
    )
    new_head: bool = setting(
        False,
        "Draw a new head for an --adapter_path of another task, also for another number of labels or for "
        "scores. Its adapters, LayerNorms and other trained parameters of the base model are kept.",
    )
    head_start: Optional[Literal["label_prior", "random"]] = setting(
        None,
        "Start of the classifier's bias: 'label_prior', the labels' mean or log frequency (default), or "
        "'random', as published (default with --adapter_init published).",
    )
    layer_norm_learning_rate: Optional[float] = setting(None, _RATIO)
    head_learning_rate: Optional[float] = setting(None, _RATIO)
    target_params: Optional[int] = setting(
        None,
        "Take the largest rank whose adapters have at most this many parameters, instead of --tensorized_layer_rank.",
    )
    cache_frozen_prefix: bool = setting(
        False,
        "Compute the layers below the lowest trained one once per example, without dropout, and read "
        "their output from a file in later epochs and runs. Needs --adapter_layers or --lora_targets.",
    )
    prefix_cache_dir: str = setting(
        "~/.cache/tensorized_adapters", "The folder for the files of --cache_frozen_prefix."
    )
    max_train_metric_samples: int = setting(
        2000,
        "Compute metrics of the training set, such as train_accuracy, on at most this many of its "
        "examples, which the seed draws.",
    )
    metric_name: Optional[str] = setting(
        None,
        "Metrics instead of the task's own, separated by commas; the first one is the primary metric. "
        f"For classes: {', '.join(CLASS_METRICS)}. For scores: {', '.join(SCORE_METRICS)}.",
    )
    class_weights: Optional[str] = setting(
        None,
        "Weigh each training example in the loss by its class: 'balanced' (examples / (classes x examples of the "
        "class), as scikit-learn's), 'sqrt' (its square root), or a weight for each class as NAME=W,OTHER=W.",
    )
    early_stopping_patience: Optional[int] = setting(
        None,
        "Stop after this many evaluations in a row without a better --metric_for_best_model ('loss' if not "
        "given). The best model is loaded at the end, unless --load_best_model_at_end False.",
    )
    early_stopping_threshold: Optional[float] = setting(
        None, "By how much the metric must improve to count as better for --early_stopping_patience."
    )
    measure_contribution: bool = setting(
        False,
        "Measure what the adapters contribute: loss and metric before the first step, after training, and "
        "after training without the adapters' updates. The training does not change.",
    )
    overwrite_output_dir: bool = setting(
        False, "Start anew: remove the files that this program wrote to --output_dir, and no others."
    )
    cpu_threads: Optional[int] = setting(
        None, "Threads that compute on CPU (default: all cores). Equal counts give equal bits."
    )


@dataclass
class GlueTrainingArguments(TrainingArguments):
    """TrainingArguments with this program's defaults, which docs/training.md lists."""

    _argument_group_name = "training arguments"

    output_dir: Optional[str] = setting(
        "trainer_output", "The run's folder. The same command again goes on there, or shows the results."
    )
    learning_rate: float = setting(
        TABLE["tensorized"].learning_rate,
        "Rate of the adapters in the units of a dense layer: one value suits every format and rank. "
        f"With --adapter_init published it is the rate of everything, by default {PUBLISHED_LEARNING_RATE:g}. "
        "Defaults by method, which shrink for models larger than MiniLM (BERT-base: half; not tensorized, dense, "
        "diff_pruning and full): "
        + ", ".join(f"{name} {entry.learning_rate:g}" for name, entry in TABLE.items())
        + ".",
    )
    optim: OptimizerNames | str = setting(
        TrainingArguments.optim,
        "The optimizer. Default for tensorized and dense adapters on models larger than MiniLM: adafactor, "
        "unless a flag --adam_... or --adapter_init published is given.",
    )
    warmup_steps: float = setting(
        0.1, "Steps of linear warm-up, or a fraction below 1 of all. With --adapter_init published: 0."
    )
    per_device_eval_batch_size: int = setting(64, "Batch size of evaluation and prediction.")
    train_sampling_strategy: str = setting(
        "group_by_length",
        "Order of the training examples: group_by_length (random batches of similar lengths), random, or "
        "sequential. It depends only on the seed and the epoch.",
    )
    eval_strategy: str = setting(
        "no", "When to evaluate: no, steps or epoch (default with --do_train --do_eval: epoch)."
    )
    logging_steps: float = setting(
        0.05,
        "Steps from one printed training loss to the next, or a fraction of all steps below 1 (default: "
        "twenty losses a run).",
    )
    disable_tqdm: Optional[bool] = setting(
        None, "No progress bars (default: bars on a terminal, plain lines in a log)."
    )
    save_strategy: str = setting("epoch", "When to save: no, steps, epoch or best.")
    # TrainingArguments takes these two with a Python warning.
    gradient_checkpointing: bool = renamed("activation_checkpointing")
    gradient_checkpointing_kwargs: str = renamed("activation_checkpointing_kwargs")
    save_total_limit: Optional[int] = setting(
        2, "Checkpoints to keep. --load_best_model_at_end always keeps the best one."
    )


@dataclass(frozen=True)
class Arguments:
    """All groups of arguments, checked together and complete."""

    model: ModelArguments
    data: DataTrainingArguments
    adapter: AdapterConfig
    saved: Optional[dict[str, Any]]  # the config record of ``run.adapter_path``
    run: RunArguments
    training: GlueTrainingArguments
    given: dict[str, Any]  # the flags of the command line and of the JSON file, without defaults
    notes: tuple[str, ...]  # messages for the user
    model_config: Optional[PretrainedConfig] = None  # the pre-trained model's, set by parse_arguments
