"""Measures how much adapters contribute: loss and metric before training, after it, and without their updates."""

from typing import Any, Optional

from transformers import Trainer, TrainerCallback

from ..adaptation.lifecycle import updates_off
from ..adaptation.parameters import trained_parameters
from ..data.tasks import Task
from .evaluation import train_sample

Measures = dict[str, dict[str, float]]  # "train" and "eval": their "loss" and primary "metric"


class Contribution(TrainerCallback):
    """Measures the untrained model at the first step, and the trained model, with and without updates, at the end.

    The untrained parameters are kept in memory. A resumed run measures them again, because every start of a run builds
    the same untrained model from its seed before a checkpoint is loaded. At most ``limit`` training examples are
    measured.
    """

    def __init__(self, trainer: Trainer, task: Task, limit: int):
        self._trainer, self._task, self._limit = trainer, task, limit
        self._start = {name: values.detach().clone() for name, values in trained_parameters(trainer.model).items()}
        self._initial: Measures = {}
        trainer.add_callback(self)

    def on_train_begin(self, args, state, control, **kwargs) -> None:
        """Measure the untrained model here, as the Trainer casts the model if it evaluates before training."""
        parameters = trained_parameters(self._trainer.model)
        resumed = {name: parameter.data for name, parameter in parameters.items()}
        try:
            for name, values in self._start.items():
                parameters[name].data = values.to(parameters[name].device)  # training has moved the model
            self._initial = self._measures()
        finally:
            for name, values in resumed.items():
                parameters[name].data = values

    def measured(self) -> dict[str, Any]:
        """Return the measurements for the record, after training.

        For ``train`` and ``eval`` they are the ``loss`` and the primary ``metric``, each ``initial``, ``trained`` and
        ``without_adapters``. ``share`` is the part of the fall of the training loss that is lost without the adapters'
        updates; None if the loss did not fall.
        """
        measures = {"initial": self._initial, "trained": self._measures()}
        with updates_off(self._trainer.model):
            measures["without_adapters"] = self._measures()
        sets = {
            name: {key: {when: values[name][key] for when, values in measures.items()} for key in ("loss", "metric")}
            for name in self._initial
        }
        return {"share": share_of(**sets["train"]["loss"]), **sets}

    def _measures(self) -> Measures:
        trainer = self._trainer
        sets = {"train": train_sample(trainer.train_dataset, self._limit, trainer.args.seed)}
        if trainer.eval_dataset is not None:
            sets["eval"] = trainer.eval_dataset
        metrics = {name: trainer.predict(examples, metric_key_prefix=name).metrics for name, examples in sets.items()}
        return {
            name: {"loss": values[f"{name}_loss"], "metric": values.get(f"{name}_{self._task.primary}")}
            for name, values in metrics.items()
        }


def share_of(initial: float, trained: float, without_adapters: float) -> Optional[float]:
    """Return the part of the fall from ``initial`` to ``trained`` that is lost ``without_adapters``, or None without a
    fall."""
    return (without_adapters - trained) / (initial - trained) if initial > trained else None
