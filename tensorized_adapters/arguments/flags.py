"""The flags, in groups: Hugging Face's run_glue and TrainingArguments, and what they have no flag for."""

from dataclasses import dataclass, field
from typing import Any, Literal, Optional

from transformers import TrainingArguments

from ..backbone.arguments import ModelArguments
from ..config import PUBLISHED_LEARNING_RATE, TABLE, AdapterConfig
from ..data.arguments import DataTrainingArguments
from ..data.metric_names import OF_CLASSES, OF_SCORES

WARMUP_FRACTION = 0.1

LOGGED_FRACTION = 0.05  # of the steps, from one loss that is told to the next

TRAIN_METRIC_SAMPLES = 2000


@dataclass
class RunArguments:
    """What Hugging Face's run_glue has no flag for."""

    _argument_group_name = "run arguments"

    adapter_path: Optional[str] = field(
        default=None,
        metadata={
            "help": "A saved adapter/ folder to evaluate, predict with or train further, or of the Hugging Face hub "
            "owner/name or owner/name@revision; settings come from it."
        },
    )
    new_head: bool = field(
        default=False,
        metadata={
            "help": "Start from another task's --adapter_path: keep its adapters, LayerNorms and whatever else it "
            "trained of the base model, and draw a new head, also for another number of labels or for scores."
        },
    )
    head_start: Optional[Literal["label_prior", "random"]] = field(
        default=None,
        metadata={
            "help": "Classifier bias at the labels' mean or log frequency ('label_prior', the default), or 'random' "
            "as published (the default with --adapter_init published)."
        },
    )
    layer_norm_learning_rate: Optional[float] = field(
        default=None,
        metadata={"help": "Default: 2.5 x --learning_rate (1.25 x for BERT-base); with --adapter_init published 1 x."},
    )
    head_learning_rate: Optional[float] = field(
        default=None,
        metadata={"help": "Default: 2.5 x --learning_rate (1.25 x for BERT-base); with --adapter_init published 1 x."},
    )
    target_params: Optional[int] = field(
        default=None,
        metadata={
            "help": "Instead of --tensorized_layer_rank: take the largest rank whose adapters have at most this many "
            "parameters."
        },
    )
    cache_frozen_prefix: bool = field(
        default=False,
        metadata={
            "help": "Compute the layers below the lowest trained one once per example, without dropout, and read "
            "their output from a file in every epoch and later run. Needs --adapter_layers."
        },
    )
    prefix_cache_dir: str = field(
        default="~/.cache/tensorized_adapters", metadata={"help": "Where --cache_frozen_prefix keeps its files."}
    )
    max_train_metric_samples: int = field(
        default=TRAIN_METRIC_SAMPLES,
        metadata={
            "help": "Take the training set's own metrics, train_accuracy and the like, on at most this many of its "
            "examples, drawn by the seed."
        },
    )
    metric_name: Optional[str] = field(
        default=None,
        metadata={
            "help": "Metrics instead of the task's own, separated by commas; the first one is the primary metric. "
            f"For classes: {', '.join(OF_CLASSES)}. For scores: {', '.join(OF_SCORES)}."
        },
    )
    class_weights: Optional[str] = field(
        default=None,
        metadata={
            "help": "Weigh each training example in the loss by its class: 'balanced' (one over the class' "
            "frequency), 'sqrt' (its square root), or a weight for each class as NAME=W,OTHER=W."
        },
    )
    early_stopping_patience: Optional[int] = field(
        default=None,
        metadata={
            "help": "Stop after so many evaluations in a row without a better --metric_for_best_model ('loss' if not "
            "given). The best model is loaded at the end, unless --load_best_model_at_end False."
        },
    )
    early_stopping_threshold: Optional[float] = field(
        default=None,
        metadata={"help": "By how much the metric must improve to count as better for --early_stopping_patience."},
    )
    measure_contribution: bool = field(
        default=False,
        metadata={
            "help": "Measure what the adapters account for: losses and scores before the first step, as trained, and "
            "as trained with the adapters' updates left out. Changes nothing of the training."
        },
    )
    overwrite_output_dir: bool = field(
        default=False,
        metadata={"help": "Start anew: remove what this program wrote to --output_dir before, and nothing else."},
    )
    cpu_threads: Optional[int] = field(
        default=None,
        metadata={"help": "Threads of the arithmetic on CPU (default: all cores). Equal counts give equal bits."},
    )


@dataclass
class GlueTrainingArguments(TrainingArguments):
    """TrainingArguments with this program's defaults, which docs/training.md lists."""

    _argument_group_name = "training arguments"

    output_dir: Optional[str] = field(
        default="trainer_output",
        metadata={"help": "Where the run writes; the same command again goes on there, or finds itself done."},
    )
    learning_rate: float = field(
        default=TABLE["tensorized"].learning_rate,
        metadata={
            "help": "Rate of the adapters in the units of a dense layer: the same value serves every format and rank. "
            f"With --adapter_init published it is everything's rate, {PUBLISHED_LEARNING_RATE:g} if not given. "
            "Defaults by method, of which larger models than MiniLM take a part (BERT-base half, but for dense, "
            "diff_pruning and full): "
            + ", ".join(f"{name} {entry.learning_rate:g}" for name, entry in TABLE.items())
            + "."
        },
    )
    warmup_steps: float = field(
        default=WARMUP_FRACTION,
        metadata={"help": "Steps of linear warm-up, or a fraction below 1. With --adapter_init published 0."},
    )
    per_device_eval_batch_size: int = field(default=64, metadata={"help": "Batch size of evaluation and prediction."})
    train_sampling_strategy: str = field(
        default="group_by_length",
        metadata={
            "help": "Order of the training examples: group_by_length (random batches of similar lengths), random, or "
            "sequential. It depends on the seed and the epoch alone."
        },
    )
    eval_strategy: str = field(
        default="no",
        metadata={"help": "When to evaluate: no, steps or epoch; 'epoch' with --do_train --do_eval, if not given."},
    )
    logging_steps: float = field(
        default=LOGGED_FRACTION,
        metadata={
            "help": "Steps from one line with the training loss to the next, or a fraction of all steps below 1: "
            "twenty lines a run, if not given."
        },
    )
    disable_tqdm: Optional[bool] = field(
        default=None,
        metadata={"help": "No progress bars. Without the flag they are for a terminal; a log gets plain lines."},
    )
    save_strategy: str = field(default="epoch", metadata={"help": "When to save: no, steps, epoch or best."})
    save_total_limit: Optional[int] = field(
        default=2, metadata={"help": "Checkpoints to keep, the best one always among them if it is to be loaded."}
    )


@dataclass
class Arguments:
    """All argument groups, validated together."""

    model: ModelArguments
    data: DataTrainingArguments
    adapter: AdapterConfig
    saved: Optional[dict[str, Any]]  # the config record of ``run.adapter_path``
    run: RunArguments
    training: GlueTrainingArguments
    given: dict[str, Any]  # what was on the command line or in the JSON file, as opposed to a default
    notes: list[str]  # lines for the user about flags in an old spelling
