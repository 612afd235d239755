"""Hugging Face's Trainer, with checkpoints of what was trained, a learning rate for each group and a fixed
data order."""

import json
import math
import os
from pathlib import Path
from typing import Any, Optional

import numpy as np
import torch
from datasets import Dataset
from torch.utils.data import Sampler, SequentialSampler
from transformers import Trainer, get_scheduler
from transformers.trainer_pt_utils import safe_globals
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR, EvalLoopOutput

from ..errors import RunFailed
from ..files import write_json
from ..methods.parameters import adaptation_of, trained_groups
from ..saving.adapter import load_adapter, save_adapter
from .callbacks import SaveAfterEvaluation
from .checkpoints import ADAPTER_FOLDER, STEP_LOSSES_FILE, flaw_of_checkpoint, rotate_checkpoints, seal_checkpoint
from .prefix import PREFIX_KEY, FrozenPrefix, PrefixedExamples, with_prefix
from .sampler import EpochSampler, FixedSampler, lengths_of, longest_first


def _tokens(examples: Dataset | PrefixedExamples) -> Dataset:
    return examples.examples if isinstance(examples, PrefixedExamples) else examples


class AdapterTrainer(Trainer):
    """Trains an adapted model.

    Args:
        rates: learning rate of each parameter group (methods.parameters.GROUPS).
        notes: kept in every saved adapter (task, seed).
    """

    def __init__(self, *args, rates: dict[str, float], notes: dict[str, Any], **kwargs):
        # The models take **kwargs but leave `num_items_in_batch` unused, which Trainer reads as a loss that is already
        # averaged over accumulation steps.
        kwargs["model"].accepts_loss_kwargs = False
        super().__init__(*args, **kwargs)
        self.rates, self.notes = rates, notes
        self.prefix: Optional[FrozenPrefix] = None
        self.step_losses: list[float] = []
        self._step_loss: Optional[torch.Tensor] = None
        self._sampler: Optional[EpochSampler] = None
        self.args.logging_nan_inf_filter = False  # would hide what training_step reports
        self.add_callback(SaveAfterEvaluation())
        # Old checkpoints are removed by us, after the new one is sealed; the Trainer would remove whole folders.
        self._save_total_limit, self.args.save_total_limit = self.args.save_total_limit, None

    # Frozen layers below the lowest trained one, from a file

    def use_prefix(self, prefix: FrozenPrefix) -> None:
        """From here on batches of :meth:`with_hidden_states` skip the layers below."""
        self.prefix = prefix
        self.data_collator = with_prefix(self.data_collator)

    def with_hidden_states(self, examples: Dataset) -> Dataset | PrefixedExamples:
        """``examples`` with what enters the lowest trained layer; as they are, where no prefix is used."""
        if self.prefix is None:
            return examples
        return self.prefix.of(examples, self._without_unused_columns, self.args.eval_batch_size)

    def _without_unused_columns(self, features: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
        return self._get_collator_with_removed_columns(self.data_collator)(features)

    def _set_signature_columns_if_needed(self) -> None:
        super()._set_signature_columns_if_needed()
        if self.prefix is not None and PREFIX_KEY not in self._signature_columns:
            self._signature_columns = [*self._signature_columns, PREFIX_KEY]

    # Learning rates

    def create_optimizer(self, model=None) -> torch.optim.Optimizer:
        """With the method's parameter groups, at the rates of this run."""
        if self.optimizer is None:
            method, groups = adaptation_of(self.model).method, trained_groups(self.model)
            kind, options = self.get_optimizer_cls_and_kwargs(self.args, self.model)
            self.optimizer = kind(method.optimizer_groups(groups, self.rates, self.args.weight_decay), **options)
        return self.optimizer

    def check_optimizer_and_schedule(self) -> None:
        """Build both as training will, so that what they refuse is refused before anything is written."""
        self.create_optimizer()
        throwaway = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
        options = self.args.lr_scheduler_kwargs
        get_scheduler(self.args.lr_scheduler_type, throwaway, 1, 10, scheduler_specific_kwargs=options)

    def _get_learning_rate(self) -> float:
        """What is logged: ``--learning_rate`` as the schedule has it now, whatever the groups' own rates."""
        if "initial_lr" not in self.optimizer.param_groups[0]:  # a schedule by plateaus
            return super()._get_learning_rate()
        group = next((g for g in self.optimizer.param_groups if g["initial_lr"]), None)
        return self.args.learning_rate * (group["lr"] / group["initial_lr"]) if group else 0.0

    # Data order

    def _get_train_sampler(self, train_dataset=None) -> Optional[Sampler]:
        dataset = self.train_dataset if train_dataset is None else train_dataset
        if self.args.train_sampling_strategy == "sequential":
            return SequentialSampler(dataset)
        grouped = self.args.train_sampling_strategy == "group_by_length"
        lengths = lengths_of(_tokens(dataset)) if grouped else None
        seed = self.args.seed if self.args.data_seed is None else self.args.data_seed
        self._sampler = EpochSampler(len(dataset), seed, self.args.train_batch_size, lengths)
        return self._sampler

    def _get_eval_sampler(self, eval_dataset) -> Optional[Sampler]:
        """By length, to save padding; :meth:`evaluation_loop` puts the outputs back into file order."""
        return FixedSampler(longest_first(_tokens(eval_dataset)))

    def evaluation_loop(self, dataloader, *args, **kwargs) -> EvalLoopOutput:
        output = super().evaluation_loop(dataloader, *args, **kwargs)
        place = np.argsort(longest_first(_tokens(dataloader.dataset)))

        def in_file_order(values):
            return tuple(map(in_file_order, values)) if isinstance(values, tuple) else values[place]

        return output._replace(
            predictions=in_file_order(output.predictions),
            label_ids=None if output.label_ids is None else in_file_order(output.label_ids),
        )

    def _get_dataloader(self, dataset, description, batch_size, sampler_fn=None, is_training=False, **kwargs):
        """``--dataloader_drop_last`` is about training: every example is evaluated and predicted."""
        drop_last = self.args.dataloader_drop_last
        self.args.dataloader_drop_last = drop_last and is_training
        try:
            return super()._get_dataloader(dataset, description, batch_size, sampler_fn, is_training, **kwargs)
        finally:
            self.args.dataloader_drop_last = drop_last

    def _run_epoch(self, *args, epoch: int, **kwargs):
        if self._sampler is not None:
            self._sampler.set_epoch(epoch)
        return super()._run_epoch(*args, epoch=epoch, **kwargs)

    # Losses

    def training_step(self, model, inputs, num_items_in_batch=None) -> torch.Tensor:
        loss = super().training_step(model, inputs, num_items_in_batch)
        if not torch.isfinite(loss):
            raise RunFailed(f"the loss is {loss.item()} at step {self.state.global_step + 1}; {self._advice()}")
        self._step_loss = loss if self._step_loss is None else self._step_loss + loss
        if self.accelerator.sync_gradients:
            self.step_losses.append(self._step_loss.item())
            self._step_loss = None
        return loss

    def _get_grad_norm(self, model, grad_norm=None):
        norm = super()._get_grad_norm(model, grad_norm=grad_norm)
        if norm is not None and self.accelerator.scaler is None and not math.isfinite(norm):
            raise RunFailed(f"the gradient is {float(norm)} at step {self.state.global_step + 1}; {self._advice()}")
        return norm

    def log(self, logs: dict[str, float], *args, **kwargs) -> None:
        """The closing line's ``train_loss`` is ours: the mean over all steps, those before a resume included."""
        if "train_loss" in logs and self.step_losses:
            logs["train_loss"] = self.train_loss
        super().log(logs, *args, **kwargs)

    @property
    def train_loss(self) -> float:
        """The mean of the per-step losses, over the whole run."""
        return sum(self.step_losses) / len(self.step_losses)

    def _advice(self) -> str:
        return "try a lower --learning_rate; checkpoints that were saved before are kept"

    # Checkpoints

    def _save(self, output_dir: Optional[str] = None, state_dict=None) -> None:
        if self.args.should_save:
            save_adapter(self.model, Path(output_dir) / ADAPTER_FOLDER, self.notes)
            write_json(Path(output_dir) / STEP_LOSSES_FILE, self.step_losses)

    def _save_checkpoint(self, model, trial) -> None:
        """Write, seal, and only then remove old ones: at every moment one whole checkpoint exists."""
        super()._save_checkpoint(model, trial)
        if self.args.should_save:
            folder = Path(self.args.output_dir)
            seal_checkpoint(folder / f"{PREFIX_CHECKPOINT_DIR}-{self.state.global_step}")
            rotate_checkpoints(folder, self._save_total_limit, self.state.best_model_checkpoint)

    def _save_rng_state(self, output_dir: str) -> None:
        """As plain numbers where NumPy's state is an array, so that ``torch.load(weights_only=True)`` reads it."""
        super()._save_rng_state(output_dir)
        path = os.path.join(output_dir, "rng_state.pth")
        with safe_globals():
            states = torch.load(path, weights_only=True)
        name, keys, *rest = states["numpy"]
        torch.save(states | {"numpy": (name, [int(key) for key in keys], *rest)}, path)

    def _init_training_state(self, *args, **kwargs):
        """A resumed run's best checkpoint is found in its folder, also after the folder was moved."""
        result = super()._init_training_state(*args, **kwargs)
        if self.state.best_global_step and self.args.load_best_model_at_end:
            best = Path(self.args.output_dir) / f"{PREFIX_CHECKPOINT_DIR}-{self.state.best_global_step}"
            flaw = flaw_of_checkpoint(best)
            if flaw:
                raise RunFailed(f"the best checkpoint so far, {best}, is not whole ({flaw}); start the run anew")
            self.state.best_model_checkpoint = str(best)
        return result

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model=None) -> None:
        load_adapter(self.model, os.path.join(resume_from_checkpoint, ADAPTER_FOLDER))
        self.step_losses = json.loads((Path(resume_from_checkpoint) / STEP_LOSSES_FILE).read_text())

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
