"""The share of a step's examples that this process computes.

accelerate cuts an epoch into batches and deals them out to the processes. It fills up incomplete last batches with
examples from the epoch's start, which would count twice. So they are cut off again, and each loss is weighted by its
number of examples. The gradient of a step is then that of the mean over all its examples, however these are divided.
"""

import math
from collections.abc import Mapping
from typing import Optional

import torch
from torch import Tensor
from transformers import TrainingArguments


def shares_of_step(step: int, size: int, args: TrainingArguments) -> list[tuple[int, float]]:
    """Return for each batch of a step how many of its examples this process has, and the factor of their mean loss.
    The Trainer then divides the loss by the number of batches and averages over the processes. An epoch has ``size``
    examples."""
    batch_size, processes, accumulated = args.train_batch_size, args.world_size, args.gradient_accumulation_steps
    together = batch_size * processes
    batches = math.ceil(size / together)
    first = step % math.ceil(batches / accumulated) * accumulated
    counts = [min(together, size - i * together) for i in range(first, min(first + accumulated, batches))]
    own = [min(max(count - args.process_index * batch_size, 0), batch_size) for count in counts]
    return [(count, count * processes * len(counts) / sum(counts)) for count in own]


def cut(batch: Mapping[str, Tensor], count: int) -> Mapping[str, Tensor]:
    """Return the first ``count`` examples of a batch, but at least one: a process without examples takes part too."""
    return {name: values[: max(count, 1)] for name, values in batch.items()}


def filled_up(outputs: Optional[Tensor], size: int) -> Optional[Tensor]:
    """Return the outputs of a batch that was cut. Their last row is repeated up to ``size`` rows."""
    if outputs is None or len(outputs) == size:
        return outputs
    return torch.cat([outputs, outputs[-1:].expand(size - len(outputs), *outputs.shape[1:])])
