"""The order of the examples, in training and in evaluation."""

from collections.abc import Iterator
from typing import Optional

import pyarrow.compute
import torch
from datasets import Dataset
from torch.utils.data import Sampler


def lengths_of(examples: Dataset) -> list[int]:
    """The number of token ids of each example, without making Python lists of them."""
    return pyarrow.compute.list_value_length(examples.with_format("arrow")[:]["input_ids"]).to_pylist()


def longest_first(examples: Dataset) -> list[int]:
    """Indices by falling length: batches of evaluation that need next to no padding."""
    lengths = lengths_of(examples)
    return sorted(range(len(lengths)), key=lambda i: -lengths[i])


class FixedSampler(Sampler[int]):
    """The given indices, in their order."""

    def __init__(self, order: list[int]):
        self.order = order

    def __len__(self) -> int:
        return len(self.order)

    def __iter__(self) -> Iterator[int]:
        return iter(self.order)


class EpochSampler(Sampler[int]):
    """A shuffle that depends on (seed, epoch) alone, so that a resumed run sees the same order in any epoch.

    With ``lengths``, indices are shuffled, cut into runs of 50 batches, and sorted by length within each run: batches
    of similar lengths in random composition, the batch of the longest examples first so that memory runs out at once
    or not at all.
    """

    def __init__(self, size: int, seed: int, batch_size: int, lengths: Optional[list[int]] = None):
        self.size, self.seed, self.batch_size, self.lengths = size, seed, batch_size, lengths
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        return self.size

    def __iter__(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + self.epoch)
        order = torch.randperm(self.size, generator=generator).tolist()
        if self.lengths is None:
            return iter(order)
        window = 50 * self.batch_size
        runs = [sorted(order[i : i + window], key=lambda n: -self.lengths[n]) for i in range(0, self.size, window)]
        batches = [run[i : i + self.batch_size] for run in runs for i in range(0, len(run), self.batch_size)]
        full = [batch for batch in batches if len(batch) == self.batch_size]
        rest = [batch for batch in batches if len(batch) < self.batch_size]  # one at most, and it stays last
        shuffled = [full[i] for i in torch.randperm(len(full), generator=generator).tolist()]
        if shuffled:
            longest = max(range(len(shuffled)), key=lambda i: self.lengths[shuffled[i][0]])
            shuffled[0], shuffled[longest] = shuffled[longest], shuffled[0]
        return (index for batch in shuffled + rest for index in batch)
