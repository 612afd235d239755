"""The loss of every step, without waiting for the device at any of them, and cross-entropy with class weights."""

import math
from collections.abc import Mapping, Sequence

import torch
from accelerate import Accelerator
from accelerate.utils import reduce
from torch import Tensor
from torch.nn.functional import cross_entropy
from transformers import TrainerCallback

from ..errors import RunFailed
from ..runtime.distributed import raised_by_all
from .finite import ADVICE


class StepLosses(TrainerCallback):
    """Keeps losses and gradient norms on the device, and reads them when the Trainer logs, evaluates or saves, since
    the host then waits for the device."""

    def __init__(self):
        self.values: list[float] = []  # the losses of all steps read so far, also before a resume
        self.norms: list[float] = []  # the gradient norms of these steps; empty with --fp16
        self._losses: list[Tensor] = []
        self._norms: list[Tensor] = []
        self._of_step: Tensor | None = None

    def add(self, loss: Tensor, ends_step: bool) -> None:
        """Add the loss of a batch; the losses of one step's batches are summed."""
        self._of_step = loss if self._of_step is None else self._of_step + loss
        if ends_step:
            self._losses.append(self._of_step)
            self._of_step = None

    def add_norm(self, norm: Tensor) -> None:
        self._norms.append(norm)

    def mean(self) -> float:
        return sum(self.values) / len(self.values)

    def read(self) -> None:
        """Fetch what was added. Raise RunFailed, naming the step, if a loss or a norm is not finite."""
        losses = reduce(torch.stack(self._losses), reduction="mean").tolist() if self._losses else []
        norms = torch.stack(self._norms).tolist() if self._norms else []  # the same in every process
        self._losses, self._norms = [], []
        for i, loss in enumerate(losses):
            for name, number in (("loss", loss), ("gradient", norms[i] if norms else 0.0)):
                if not math.isfinite(number):
                    where = f"the {name} is {number} at step {len(self.values) + 1}"
                    raise raised_by_all(RunFailed(f"{where}; {ADVICE}"))
            self.values.append(loss)
        self.norms += norms

    def on_step_end(self, args, state, control, **kwargs) -> None:
        if control.should_log or control.should_evaluate or control.should_save:
            self.read()

    def on_epoch_end(self, args, state, control, **kwargs) -> None:
        self.read()


class WeightedLoss:
    """Computes torch's ``CrossEntropyLoss(weight=, label_smoothing=)`` over the examples of a step. Weighted losses
    are divided by the sum of the weights, over all batches and processes."""

    def __init__(self, weights: Sequence[float], smoothing: float, accelerator: Accelerator):
        self._weights = torch.tensor(weights, dtype=torch.float32, device=accelerator.device)
        self._smoothing, self._accelerator = smoothing, accelerator

    def __call__(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return the weighted mean of the losses of a batch: their weighted sum over the sum of their weights."""
        return cross_entropy(logits.float(), labels, weight=self._weights, label_smoothing=self._smoothing)

    def shares(self, batches: Sequence[Mapping[str, Tensor]], counts: Sequence[int]) -> list[Tensor]:
        """Return a factor for the loss of each of this process's batches in a step.

        ``counts[i]`` examples of batch i belong to this process. A batch without any holds one example of another
        process. The Trainer divides the products by the number of batches and averages over the processes. The host
        reads no number, so it does not wait for a GPU."""
        labels = [batch["labels"].to(self._weights.device) for batch in batches]
        own = torch.stack([self._weights[ids].sum() * (count > 0) for ids, count in zip(labels, counts, strict=True)])
        total = self._accelerator.reduce(own.sum(), reduction="sum")
        return list(own * (self._accelerator.num_processes * len(own)) / total)
