"""The order of the examples, in training and in evaluation, by their column ``length``."""

from collections.abc import Iterator
from typing import Optional

import torch
from torch.utils.data import Dataset, Sampler, SequentialSampler
from transformers import TrainingArguments


def train_sampler(args: TrainingArguments, examples: Dataset, batch_size: int) -> Sampler[int]:
    """Return the order of the training examples, in steps of ``batch_size``."""
    size, drop_last = len(examples), args.dataloader_drop_last
    if args.train_sampling_strategy == "sequential":
        return SequentialSampler(range(size - size % batch_size if drop_last else size))
    lengths = examples["length"][:] if args.train_sampling_strategy == "group_by_length" else None
    return EpochSampler(size, args.seed if args.data_seed is None else args.data_seed, batch_size, lengths, drop_last)


class EpochSampler(Sampler[int]):
    """Shuffles by (seed, epoch) alone, so that a resumed run sees the same order in any epoch.

    With ``lengths``, indices are shuffled, cut into stretches of 50 batches, and sorted by length within each: batches
    of similar lengths in random composition, the batch of the longest examples first so that memory runs out at once
    or not at all. With ``drop_last`` an incomplete last batch is left out.
    """

    def __init__(
        self, size: int, seed: int, batch_size: int, lengths: Optional[list[int]] = None, drop_last: bool = False
    ):
        self.size, self.seed, self.batch_size, self.lengths = size, seed, batch_size, lengths
        self.count = size - size % batch_size if drop_last else size
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch. Accelerate's data loader calls this at the start of each epoch."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + self.epoch)
        order = torch.randperm(self.size, generator=generator).tolist()
        if self.lengths is None:
            return iter(order[: self.count])
        window = 50 * self.batch_size
        stretches = [
            sorted(order[i : i + window], key=lambda n: -self.lengths[n]) for i in range(0, self.size, window)
        ]
        batches = [
            stretch[i : i + self.batch_size] for stretch in stretches for i in range(0, len(stretch), self.batch_size)
        ]
        full = [batch for batch in batches if len(batch) == self.batch_size]
        rest = [batch for batch in batches if len(batch) < self.batch_size]  # there is at most one, and it stays last
        shuffled = [full[i] for i in torch.randperm(len(full), generator=generator).tolist()]
        if shuffled:
            longest = max(range(len(shuffled)), key=lambda i: self.lengths[shuffled[i][0]])
            shuffled[0], shuffled[longest] = shuffled[longest], shuffled[0]
        return iter([index for batch in shuffled + rest for index in batch][: self.count])
