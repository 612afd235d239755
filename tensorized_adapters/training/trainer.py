"""Hugging Face's Trainer, with checkpoints of what was trained, a learning rate for each group and a fixed
data order."""

import copy
import os
from pathlib import Path
from typing import Any, Optional

import numpy as np
import torch
from torch.utils.data import DataLoader, Sampler, SequentialSampler
from transformers import EvalPrediction, Trainer, get_scheduler
from transformers.trainer_callback import PrinterCallback, ProgressCallback
from transformers.trainer_utils import EvalLoopOutput

from ..errors import RunFailed, UsageError
from ..files import write_json
from ..methods.parameters import groups_at
from ..saving.adapter import load_adapter, save_adapter
from .callbacks import SaveAfterEvaluation, WholeCheckpoints
from .checkpoints import ADAPTER_FOLDER, ARGUMENTS_FILE, STEP_LOSSES_FILE, begin_checkpoint
from .live import LiveOutput
from .losses import ADVICE, StepLosses
from .sampler import EpochSampler
from .training_state import (
    SCALER_FILE,
    SCHEDULER_FILE,
    best_checkpoint,
    check_optimizer,
    check_random_state,
    check_state,
    read_step_losses,
    read_trainer_state,
)

# What is done with the examples, by the prefix of its metrics' names.
_MEASURED = {"eval": "evaluation", "train": "evaluation on the training set", "predict": "prediction"}


class AdapterTrainer(Trainer):
    """Trains an adapted model.

    Args:
        rates: learning rate of each parameter group (methods.parameters.GROUPS).
        notes: kept in every saved adapter (task, seed).
        arguments: kept in every checkpoint: those that it was trained under.
    """

    def __init__(self, rates: dict[str, float], notes: dict[str, Any], arguments: dict[str, Any], **kwargs):
        # The models take **kwargs but leave `num_items_in_batch` unused, which Trainer reads as a loss that is already
        # averaged over accumulation steps.
        kwargs["model"].accepts_loss_kwargs = False
        kwargs["args"] = copy.copy(kwargs["args"])  # a few are changed below
        kwargs["args"].push_to_hub = False  # the Trainer would upload the whole folder of the run
        super().__init__(**kwargs)
        self.rates, self.notes, self.arguments, self.losses = rates, notes, arguments, StepLosses()
        for printing in (PrinterCallback, ProgressCallback):
            self.remove_callback(printing)
        self._live = LiveOutput()
        self.add_callback(self._live)
        self.add_callback(self.losses)
        self.add_callback(SaveAfterEvaluation())
        self.args.logging_nan_inf_filter = False  # would hide what the losses report
        # What we do in the Trainer's stead. Its grouping by length shuffles evaluation too and does not resume to the
        # same bits, its drop_last leaves out evaluated examples, and its rotation removes whole folders.
        self._sampling, self.args.train_sampling_strategy = self.args.train_sampling_strategy, "sequential"
        self._drop_last, self.args.dataloader_drop_last = self.args.dataloader_drop_last, False
        self._checkpoints = WholeCheckpoints(self.args.save_total_limit)
        self.add_callback(self._checkpoints)
        self.args.save_total_limit = None
        self._metrics_of, self.compute_metrics = self.compute_metrics, self._metrics_of_numbers

    # Optimizer and order of the examples

    def create_optimizer(self, model=None) -> torch.optim.Optimizer:
        """With the method's parameter groups, at the rates of this run."""
        if self.optimizer is None:
            kind, options = self.get_optimizer_cls_and_kwargs(self.args, self.model)
            self.optimizer = kind(groups_at(self.model, self.rates, self.args.weight_decay), **options)
        return self.optimizer

    def check_optimizer_and_schedule(self) -> None:
        """Build both as training will, so that what they refuse is refused before anything is written."""
        self._new_schedule(self.create_optimizer())

    def _new_schedule(self, optimizer: torch.optim.Optimizer) -> torch.optim.lr_scheduler.LRScheduler:
        """One of the right kind and number of groups, which leaves the optimizer alone."""
        groups = [{"params": [torch.nn.Parameter(torch.zeros(1))]} for _ in optimizer.param_groups]
        options = self.args.lr_scheduler_kwargs
        throwaway = torch.optim.SGD(groups, lr=1.0)
        return get_scheduler(self.args.lr_scheduler_type, throwaway, 1, 10, scheduler_specific_kwargs=options)

    def _get_dataloader(self, *args, **kwargs) -> DataLoader:
        """With a generator of its own: each pass over a loader draws a seed, and what training draws its dropout from
        must not depend on how often the model is evaluated."""
        loader = super()._get_dataloader(*args, **kwargs)
        loader.base_dataloader.generator = torch.Generator().manual_seed(self.args.seed)
        return loader

    def _get_train_sampler(self, train_dataset=None) -> Optional[Sampler]:
        """Seeded by (data seed, epoch); the dataset that comes in lacks the columns that the model does not take."""
        size, batch_size = len(self.train_dataset), self.args.train_batch_size
        if self._sampling == "sequential":
            return SequentialSampler(range(size - size % batch_size if self._drop_last else size))
        lengths = self.train_dataset["length"][:] if self._sampling == "group_by_length" else None
        seed = self.args.seed if self.args.data_seed is None else self.args.data_seed
        return EpochSampler(size, seed, batch_size, lengths, self._drop_last)

    # Losses

    def training_step(self, model, inputs, num_items_in_batch=None) -> torch.Tensor:
        loss = super().training_step(model, inputs, num_items_in_batch)
        self.losses.add(loss, ends_step=self.accelerator.sync_gradients)
        return loss

    def _get_grad_norm(self, model, grad_norm=None):
        norm = super()._get_grad_norm(model, grad_norm=grad_norm)
        if self.accelerator.scaler is None:  # which skips the steps whose gradient overflows
            self.losses.add_norm(norm)
        return norm

    def log(self, logs: dict[str, float], *args, **kwargs) -> None:
        """The closing line's ``train_loss`` is ours: the mean over all steps, those before a resume included."""
        if "train_loss" in logs and self.losses.values:
            logs["train_loss"] = self.losses.mean()
        super().log(logs, *args, **kwargs)

    # What is measured has to be a number: a score that is counted from NaN looks like any other

    def evaluation_loop(self, dataloader, description, *args, metric_key_prefix="eval", **kwargs) -> EvalLoopOutput:
        """The Trainer's, for evaluation and prediction.

        Raises:
            RunFailed: if an output of the model, its loss or a metric is not finite.
        """
        self._measuring = self._live.doing = metric_key_prefix
        output = super().evaluation_loop(dataloader, description, *args, metric_key_prefix=metric_key_prefix, **kwargs)
        self._check_logits(output.predictions)  # again: a set without labels has no metrics
        for name, value in output.metrics.items():
            self._check_finite(value, name)
        return output

    def _metrics_of_numbers(self, output: EvalPrediction) -> dict[str, float]:
        self._check_logits(output.predictions)
        return self._metrics_of(output)

    def _check_logits(self, outputs: Any) -> None:
        self._check_finite(outputs[0] if isinstance(outputs, tuple) else outputs, "an output of the model")

    def _check_finite(self, values: np.ndarray | float, what: str) -> None:
        if not np.isfinite(values).all():
            advice = ADVICE if self.args.do_train else "the model or its adapter cannot be used as it is"
            raise RunFailed(f"{what} is NaN or infinite in {_MEASURED[self._measuring]}; {advice}")

    # Checkpoints: of what was trained, and nothing else

    def _save(self, output_dir: Optional[str] = None, state_dict=None) -> None:
        folder = Path(output_dir)
        begin_checkpoint(folder)
        save_adapter(self.model, folder / ADAPTER_FOLDER, self.notes)
        write_json(folder / STEP_LOSSES_FILE, self.losses.values)
        write_json(folder / ARGUMENTS_FILE, self.arguments)

    def check_checkpoint(self, checkpoint: Path) -> None:
        """Refuse a checkpoint that training could not go on from; the model has its trained values afterwards.

        Raises:
            UsageError: naming the file.
        """
        *_, max_steps = self.set_initial_training_values(self.args, self.get_train_dataloader())
        state = read_trainer_state(checkpoint, max_steps)
        read_step_losses(checkpoint, state.global_step)
        if state.best_global_step and self.args.load_best_model_at_end:
            best_checkpoint(checkpoint, state)
        check_random_state(checkpoint, self._load_rng_state)
        self._load_from_checkpoint(str(checkpoint))
        optimizer = self.create_optimizer()
        kind, options = self.get_optimizer_cls_and_kwargs(self.args, self.model)
        check_optimizer(checkpoint, optimizer, lambda groups: kind(groups, **options))
        check_state(checkpoint / SCHEDULER_FILE, self._new_schedule(optimizer).state_dict(), state.global_step)
        scaler, path = self.accelerator.scaler, checkpoint / SCALER_FILE
        if scaler is not None and path.is_file():
            check_state(path, scaler.state_dict(), state.global_step)
        elif scaler is not None or path.is_file():
            raise UsageError(f"{checkpoint} was saved {'without' if scaler else 'with'} --fp16; go on as it began")

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model=None) -> None:
        checkpoint = Path(resume_from_checkpoint)
        load_adapter(self.model, checkpoint / ADAPTER_FOLDER)
        self.losses.values = read_step_losses(checkpoint)
        self._checkpoints.resumed_from = checkpoint

    def _load_best_model(self) -> None:
        load_adapter(self.model, os.path.join(self.state.best_model_checkpoint, ADAPTER_FOLDER))
