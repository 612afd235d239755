"""Measures how much adapters contribute: loss and metric before training, after it, and without their updates."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Optional

from torch import Tensor, nn
from transformers import Trainer

from ..adaptation.lifecycle import updates_off
from ..adaptation.parameters import trained_parameters
from ..data.tasks import Task
from .evaluation import train_sample


def contribution(trainer: Trainer, task: Task, limit: int, untrained: dict[str, Tensor]) -> dict[str, Any]:
    """Return the measurements of a trained model for the record.

    For ``train`` and ``eval`` they are the ``loss`` and the primary ``metric``, each ``initial``, ``trained`` and
    ``without_adapters``. ``share`` is the part of the decrease of the training loss that is lost without the
    adapters' updates; None if the loss did not decrease.

    ``untrained`` are the values of the trained parameters before training. A resumed run rebuilds the same values from
    its seed. At most ``limit`` training examples are measured.
    """
    examples = {"train": train_sample(trainer.train_dataset, limit, trainer.args.seed)}
    if trainer.eval_dataset is not None:
        examples["eval"] = trainer.eval_dataset
    times = ("initial", "trained", "without_adapters")
    sets = {name: {"loss": dict.fromkeys(times), "metric": dict.fromkeys(times)} for name in examples}

    def measure(time: str) -> None:
        """Measure all sets with the model as it is now."""
        for name, rows in examples.items():
            values = trainer.predict(rows, metric_key_prefix=name).metrics
            sets[name]["loss"][time] = values[f"{name}_loss"]
            sets[name]["metric"][time] = values.get(f"{name}_{task.primary}")

    measure("trained")
    with updates_off(trainer.model):
        measure("without_adapters")
    with _values_set(trained_parameters(trainer.model), untrained):
        measure("initial")
    return {"share": share_of(**sets["train"]["loss"]), **sets}


@contextmanager
def _values_set(parameters: dict[str, nn.Parameter], values: dict[str, Tensor]) -> Iterator[None]:
    """Let the parameters have other values within the block."""
    kept = {name: parameter.data for name, parameter in parameters.items()}
    try:
        for name, parameter in parameters.items():
            parameter.data = values[name].to(parameter)
        yield
    finally:
        for name, parameter in parameters.items():
            parameter.data = kept[name]


def share_of(initial: float, trained: float, without_adapters: float) -> Optional[float]:
    """Return the part of the decrease that is lost ``without_adapters``, or None without a decrease."""
    return (without_adapters - trained) / (initial - trained) if initial > trained else None
