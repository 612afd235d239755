"""Training in two phases: the search for the entries of a sparse difference, then the training of the kept ones."""

import contextlib
from pathlib import Path
from typing import Optional

import safetensors.torch
import torch
from accelerate.utils import is_compiled_module
from torch.nn.parallel import DistributedDataParallel

from ..adaptation.parameters import adaptation_of, groups_at
from ..config import AdapterConfig
from ..methods.sparse_difference import SparseDifference
from ..runtime.files import write_atomically
from .checkpoints import SEARCH_STATE_FILE
from .trainer import AdapterTrainer


def trainer_class(config: AdapterConfig) -> type[AdapterTrainer]:
    """Return the Trainer of a method."""
    return DiffPruningTrainer if config.method == "diff_pruning" else AdapterTrainer


class DiffPruningTrainer(AdapterTrainer):
    """Trains a model with a :class:`SparseDifference`, whose config gives the settings.

    The first ``1 - diff_final_fraction`` of the steps search, with the L0 penalty in the gradient (the reported loss
    is the task's alone). Then the difference is pruned to its budget, and the other steps train the kept entries.
    """

    @property
    def difference(self) -> SparseDifference:
        return adaptation_of(self.model).method.difference

    @property
    def settings(self) -> AdapterConfig:
        return adaptation_of(self.model).config

    def training_step(self, model, inputs, num_items_in_batch=None) -> torch.Tensor:
        if self.difference.searching and self.state.global_step >= self._search_steps():
            self._end_search()
        # The Trainer's loop still holds the wrapper (DDP) from before the pruning; the new one is used.
        sums = model is self.model_wrapped or self.accelerator.sync_gradients
        with contextlib.nullcontext() if sums else self.model_wrapped.no_sync():
            return super().training_step(self.model_wrapped, inputs, num_items_in_batch)

    def compute_loss(self, model, inputs, return_outputs=False, **kwargs):
        """Return the task's loss. During the search its gradient is that of the loss and the penalty."""
        loss, outputs = super().compute_loss(model, inputs, return_outputs=True, **kwargs)
        if model.training and self.difference.searching:
            penalty = self.settings.diff_l0_penalty * self.difference.expected_count()
            loss = loss + (penalty - penalty.detach())
        return (loss, outputs) if return_outputs else loss

    def train(self, *args, **kwargs):
        output = super().train(*args, **kwargs)
        self.difference.end_search()  # if a callback ended training before the search was over
        return output

    def _wrap_model(self, *args, **kwargs):
        """Keep DistributedDataParallel from waiting for the gradient of a parameter without kept entries."""
        self.accelerator.ddp_handler.find_unused_parameters = not self.difference.searching
        return super()._wrap_model(*args, **kwargs)

    def _search_steps(self) -> int:
        """Return the number of search steps. If the run has two steps or more, each phase has at least one."""
        steps = round(self.state.max_steps * (1 - self.settings.diff_final_fraction))
        return max(1, min(steps, self.state.max_steps - 1))

    def _end_search(self) -> None:
        """Prune, and let the optimizer train the kept entries at their own rate, as new entries in the old groups."""
        self.difference.end_search()
        optimizer = getattr(self.optimizer, "optimizer", self.optimizer)  # accelerate's wrappers
        schedule = getattr(self.lr_scheduler, "scheduler", self.lr_scheduler)
        difference, rate = optimizer.param_groups[0], self.settings.diff_final_learning_rate
        if initial := difference.get("initial_lr"):
            difference["lr"] *= rate / initial
            difference["initial_lr"] = schedule.base_lrs[0] = rate
        else:  # a schedule by plateaus, or a search at rate zero
            difference["lr"] = rate
        for group, new in zip(optimizer.param_groups, groups_at(self.model, self.rates, self.args.weight_decay)):
            for removed in set(group["params"]) - set(new["params"]):
                optimizer.state.pop(removed, None)
            group["params"] = new["params"]
        compiled = is_compiled_module(self.model_wrapped)
        before = self.model_wrapped._orig_mod if compiled else self.model_wrapped
        if isinstance(before, DistributedDataParallel):  # it sums only the gradients that it knew at its start
            model = self._wrap_model(self.model)
            options = self.accelerator.ddp_handler.to_kwargs()
            options |= {"device_ids": before.device_ids, "output_device": before.output_device}
            wrapped = DistributedDataParallel(model, **options)
            compiling = self.accelerator.state.dynamo_plugin.to_kwargs()
            self.model_wrapped = torch.compile(wrapped, **compiling) if compiled else wrapped

    # Checkpoints: while searching, the dense values and gates are training state, as the optimizer's moments are.

    def _save(self, output_dir: Optional[str] = None, state_dict=None) -> None:
        super()._save(output_dir, state_dict)
        if self.difference.searching and self.args.should_save:
            state = {name: value.cpu().contiguous() for name, value in self.difference.state().items()}
            write_atomically(Path(output_dir) / SEARCH_STATE_FILE, safetensors.torch.save(state))

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model=None) -> None:
        super()._load_from_checkpoint(resume_from_checkpoint, model)
        path = Path(resume_from_checkpoint) / SEARCH_STATE_FILE
        if path.is_file():
            device = next(self.model.parameters()).device
            state = safetensors.torch.load_file(path)
            self.difference.put_state({name: tensor.to(device) for name, tensor in state.items()})
        self.optimizer = None  # rebuilt for the checkpoint's phase; this one is for a search from zero
