"""Cross-entropy with a weight for each class."""

from collections.abc import Mapping, Sequence

import torch
from accelerate import Accelerator
from torch import Tensor
from torch.nn.functional import cross_entropy


class WeightedLoss:
    """torch's ``CrossEntropyLoss(weight=, label_smoothing=)`` over the examples of a step: the weighted losses are
    divided by the sum of the weights of these examples, over all batches and processes.

    Args:
        weights: of the classes.
        smoothing: ``--label_smoothing_factor``.
        accelerator: sums over the processes.
    """

    def __init__(self, weights: Sequence[float], smoothing: float, accelerator: Accelerator):
        self._weights = torch.tensor(weights, dtype=torch.float32, device=accelerator.device)
        self._smoothing, self._accelerator = smoothing, accelerator

    def __call__(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return the loss of a batch, divided by the sum of its own weights."""
        return cross_entropy(logits.float(), labels, weight=self._weights, label_smoothing=self._smoothing)

    def shares(self, batches: Sequence[Mapping[str, Tensor]], counts: Sequence[int]) -> list[Tensor]:
        """Return the factors for the losses of this process's batches of a step. The Trainer divides the products by
        the number of batches and averages over the processes. The host reads no number, so it does not wait for a GPU.

        Args:
            counts: how many examples of each batch are this process's own. A batch without own examples has a foreign
                one.
        """
        labels = [batch["labels"].to(self._weights.device) for batch in batches]
        own = torch.stack([self._weights[ids].sum() * (count > 0) for ids, count in zip(labels, counts, strict=True)])
        total = self._accelerator.reduce(own.sum(), reduction="sum")
        return list(own * (self._accelerator.num_processes * len(own)) / total)
