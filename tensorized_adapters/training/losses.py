"""The loss of every step, without waiting for the device at any of them."""

import math

import torch
from accelerate.utils import reduce
from torch import Tensor
from transformers import TrainerCallback

from ..errors import RunFailed
from ..runtime.distributed import raised_by_all

ADVICE = "try a lower --learning_rate; checkpoints that were saved before are kept"


class StepLosses(TrainerCallback):
    """Keeps losses and gradient norms on the device, and reads them when the Trainer logs, evaluates or saves. Reading
    a number makes the host wait for the device.

    Attributes:
        values: the loss of every step that was read, including those before a resume.
        norms: the gradient's norm of these steps. Empty with ``--fp16``. Checkpoints of earlier versions have none.
    """

    def __init__(self):
        self.values: list[float] = []
        self.norms: list[float] = []
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
        """Add the norm of a step's gradient."""
        self._norms.append(norm)

    def mean(self) -> float:
        """Return the mean over all steps."""
        return sum(self.values) / len(self.values)

    def read(self) -> None:
        """Fetch what was added since the last time.

        Raises:
            RunFailed: if a loss or a norm is not finite, naming the first step of one.
        """
        losses, norms = _fetched(self._losses, over_processes=True), _fetched(self._norms)
        self._losses, self._norms = [], []
        for i, loss in enumerate(losses):
            for what, number in (("loss", loss), ("gradient", norms[i] if norms else 0.0)):
                if not math.isfinite(number):
                    where = f"the {what} is {number} at step {len(self.values) + 1}"
                    raise raised_by_all(RunFailed(f"{where}; {ADVICE}"))
            self.values.append(loss)
        self.norms += norms

    def on_step_end(self, args, state, control, **kwargs) -> None:
        if control.should_log or control.should_evaluate or control.should_save:
            self.read()

    def on_epoch_end(self, args, state, control, **kwargs) -> None:
        self.read()


def _fetched(numbers: list[Tensor], over_processes: bool = False) -> list[float]:
    """Return the losses as means over all processes, and the norms, which are the same in each process."""
    if not numbers:
        return []
    values = torch.stack(numbers)
    return (reduce(values, reduction="mean") if over_processes else values).tolist()
