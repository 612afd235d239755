"""Hugging Face's Trainer, with checkpoints of what was trained, a learning rate for each group and a fixed
data order."""

import copy
import json
import os
from pathlib import Path
from typing import Any, Optional

import torch
from torch.utils.data import DataLoader, Sampler, SequentialSampler
from transformers import Trainer, get_scheduler

from ..errors import RunFailed
from ..files import write_json
from ..methods.parameters import groups_at
from ..saving.adapter import load_adapter, save_adapter
from .callbacks import SaveAfterEvaluation, WholeCheckpoints
from .checkpoints import ADAPTER_FOLDER, STEP_LOSSES_FILE
from .losses import StepLosses
from .sampler import EpochSampler


class AdapterTrainer(Trainer):
    """Trains an adapted model.

    Args:
        rates: learning rate of each parameter group (methods.parameters.GROUPS).
        notes: kept in every saved adapter (task, seed).
    """

    def __init__(self, rates: dict[str, float], notes: dict[str, Any], **kwargs):
        # The models take **kwargs but leave `num_items_in_batch` unused, which Trainer reads as a loss that is already
        # averaged over accumulation steps.
        kwargs["model"].accepts_loss_kwargs = False
        kwargs["args"] = copy.copy(kwargs["args"])  # a few are changed below
        super().__init__(**kwargs)
        self.rates, self.notes, self.losses = rates, notes, StepLosses()
        self.add_callback(self.losses)
        self.add_callback(SaveAfterEvaluation())
        self.args.logging_nan_inf_filter = False  # would hide what the losses report
        # What we do in the Trainer's stead. Its grouping by length shuffles evaluation too and does not resume to the
        # same bits, its drop_last leaves out evaluated examples, and its rotation removes whole folders.
        self._sampling, self.args.train_sampling_strategy = self.args.train_sampling_strategy, "sequential"
        self._drop_last, self.args.dataloader_drop_last = self.args.dataloader_drop_last, False
        self.add_callback(WholeCheckpoints(self.args.save_total_limit))
        self.args.save_total_limit = None

    # Optimizer and order of the examples

    def create_optimizer(self, model=None) -> torch.optim.Optimizer:
        """With the method's parameter groups, at the rates of this run."""
        if self.optimizer is None:
            kind, options = self.get_optimizer_cls_and_kwargs(self.args, self.model)
            self.optimizer = kind(groups_at(self.model, self.rates, self.args.weight_decay), **options)
        return self.optimizer

    def check_optimizer_and_schedule(self) -> None:
        """Build both as training will, so that what they refuse is refused before anything is written."""
        self.create_optimizer()
        throwaway = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
        options = self.args.lr_scheduler_kwargs
        get_scheduler(self.args.lr_scheduler_type, throwaway, 1, 10, scheduler_specific_kwargs=options)

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

    # Checkpoints: of what was trained, and nothing else

    def _save(self, output_dir: Optional[str] = None, state_dict=None) -> None:
        save_adapter(self.model, Path(output_dir) / ADAPTER_FOLDER, self.notes)
        write_json(Path(output_dir) / STEP_LOSSES_FILE, self.losses.values)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model=None) -> None:
        load_adapter(self.model, os.path.join(resume_from_checkpoint, ADAPTER_FOLDER))
        self.losses.values = json.loads((Path(resume_from_checkpoint) / STEP_LOSSES_FILE).read_text())

    def _load_optimizer_and_scheduler(self, checkpoint: Optional[str]) -> None:
        options = [set(group) for group in self.optimizer.param_groups]
        other = f"{checkpoint} was saved with another --optim; use that one, or start from it with --adapter_path"
        try:
            super()._load_optimizer_and_scheduler(checkpoint)
        except (KeyError, ValueError):
            raise RunFailed(other) from None
        if checkpoint and any(before - set(g) for before, g in zip(options, self.optimizer.param_groups)):
            raise RunFailed(other)

    def _load_best_model(self) -> None:
        load_adapter(self.model, os.path.join(self.state.best_model_checkpoint, ADAPTER_FOLDER))
