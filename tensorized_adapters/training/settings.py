"""The TrainingArguments of a run with the values that AdapterTrainer needs."""

import copy
from typing import Any

import torch
from transformers import TrainingArguments
from transformers.optimization import Adafactor

from ..method_table import TABLE
from .adafactor import UnfactoredAdafactor


def with_our_values(given: TrainingArguments) -> TrainingArguments:
    """Return a copy of the arguments with the settings that this Trainer needs."""
    args = copy.copy(given)
    # We replace three parts of the Trainer: its grouping by length also shuffles evaluation and does not resume to the
    # same bits, its drop_last leaves out evaluated examples, and its rotation removes foreign files.
    args.train_sampling_strategy, args.dataloader_drop_last, args.save_total_limit = "sequential", False, None
    args.push_to_hub = False  # the Trainer would upload all of the run's folder
    args.logging_nan_inf_filter = False  # it would hide a loss of NaN
    args.save_on_each_node = False  # rank 0 writes for all machines
    # A given "warning" is replaced too: it is the default of the Trainer, and looks like it.
    if args.log_level_replica == TrainingArguments.log_level_replica:
        args.log_level_replica = "passive"  # or processes besides rank 0 would print the warnings of Transformers
    if args.ddp_find_unused_parameters is None:
        args.ddp_find_unused_parameters = False  # every trained parameter is used
    if args.ddp_broadcast_buffers is None:
        args.ddp_broadcast_buffers = False  # buffers are constants
    if args.dataloader_pin_memory:  # copy batches to the GPU while it computes
        args.accelerator_config = copy.copy(args.accelerator_config)
        args.accelerator_config.non_blocking = True
    return args


def optimizer_of(args: TrainingArguments, chosen: tuple[type, dict[str, Any]], method: str) -> tuple[type, dict]:
    """Return the class and the options of the optimizer, where the Trainer's choice for ``--optim`` is not ours.

    For PyTorch's AdamW the Trainer ignores ``--optim_args``: with amsgrad (Reddi et al., 2018) the second moment in
    the denominator never falls. Its Adafactor saves memory where the backbone is trained; elsewhere ours is faster.
    """
    optimizer_class, options = chosen
    if optimizer_class is torch.optim.AdamW:
        options = options | {"amsgrad": args.optim_args == "amsgrad=True"}
    elif optimizer_class is Adafactor and not TABLE[method].changes_backbone:
        return UnfactoredAdafactor, {}
    return optimizer_class, options
