"""Training in two phases: the search for the entries of a sparse difference, then what was kept."""

from pathlib import Path
from typing import Optional

import safetensors.torch
import torch

from ..files import write_aside
from ..methods.adapting import trained_groups
from .checkpoints import SEARCH_STATE_FILE
from .trainer import AdapterTrainer


class DiffPruningTrainer(AdapterTrainer):
    """Trains a model with a :class:`SparseDifference`; its settings are ``model.adapter_config``'s.

    The first ``1 - diff_final_fraction`` of the steps search, with the L0 penalty in the gradient (the reported loss
    is the task's alone); then the difference is pruned to its budget and the other steps train what was kept.
    """

    def create_optimizer(self, model=None) -> torch.optim.Optimizer:
        """The same groups in either phase, so that schedule and checkpoints fit both."""
        if self.optimizer is None:
            kind, options = self.get_optimizer_cls_and_kwargs(self.args, self.model)
            config, searching = self.model.adapter_config, self.model.difference.searching
            rate = self.rates["backbone"] if searching else config.diff_final_learning_rate
            rates = {"difference": rate, "gates": config.diff_gate_learning_rate}
            # Differences and gates are not decayed: the penalty and the budget are about their size.
            decay = {"decayed head": self.args.weight_decay}
            self.optimizer = kind(
                [
                    {"params": ps, "lr": rates.get(name, self.rates["head"]), "weight_decay": decay.get(name, 0.0)}
                    for name, ps in self._parameters_by_group().items()
                ],
                **options,
            )
        return self.optimizer

    def training_step(self, model, inputs, num_items_in_batch=None) -> torch.Tensor:
        if self.model.difference.searching and self.state.global_step >= self._search_steps():
            self._end_search()
        return super().training_step(model, inputs, num_items_in_batch)

    def compute_loss(self, model, inputs, return_outputs=False, **kwargs):
        """The task's loss; while searching its gradient is that of the loss and the penalty."""
        loss, outputs = super().compute_loss(model, inputs, return_outputs=True, **kwargs)
        if model.training and self.model.difference.searching:
            penalty = self.model.adapter_config.diff_l0_penalty * self.model.difference.expected_count()
            loss = loss + (penalty - penalty.detach())
        return (loss, outputs) if return_outputs else loss

    def train(self, *args, **kwargs):
        output = super().train(*args, **kwargs)
        self.model.difference.fix()  # if a callback ended training before the search was over
        return output

    def _search_steps(self) -> int:
        """Of at least two steps each phase has one at least."""
        steps = round(self.state.max_steps * (1 - self.model.adapter_config.diff_final_fraction))
        return max(1, min(steps, self.state.max_steps - 1))

    def _end_search(self) -> None:
        """Prune, and let the optimizer go on with what was kept, at its own rate: new entries in the old groups."""
        self.model.difference.fix()
        optimizer = getattr(self.optimizer, "optimizer", self.optimizer)  # accelerate's wrappers
        schedule = getattr(self.lr_scheduler, "scheduler", self.lr_scheduler)
        difference, rate = optimizer.param_groups[0], self.model.adapter_config.diff_final_learning_rate
        if initial := difference.get("initial_lr"):
            difference["lr"] *= rate / initial
            difference["initial_lr"] = schedule.base_lrs[0] = rate
        else:  # a schedule by plateaus, or a search at rate zero
            difference["lr"] = rate
        for group, parameters in zip(optimizer.param_groups, self._parameters_by_group().values()):
            for gone in set(group["params"]) - set(parameters):
                optimizer.state.pop(gone, None)
            group["params"] = parameters

    def _parameters_by_group(self) -> dict[str, list[torch.nn.Parameter]]:
        names = ("difference", "decayed head", "head", "gates")
        groups: dict[str, list[torch.nn.Parameter]] = {name: [] for name in names}
        for _, kind, parameter in self.model.difference.trained():
            if parameter.numel():
                groups["gates" if kind.endswith("gate") else "difference"].append(parameter)
        decayed = set(self.get_decay_parameter_names(self.model))
        for name, parameter in trained_groups(self.model)["head"].items():
            groups["decayed head" if name in decayed else "head"].append(parameter)
        return groups

    # Checkpoints: while searching, the dense values and gates are training state, as the optimizer's moments are.

    def _save(self, output_dir: Optional[str] = None, state_dict=None) -> None:
        super()._save(output_dir, state_dict)
        if self.model.difference.searching:
            state = {name: p.detach().cpu().contiguous() for name, p in self.model.difference.search_state().items()}
            write_aside(Path(output_dir) / SEARCH_STATE_FILE, safetensors.torch.save(state))

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model=None) -> None:
        super()._load_from_checkpoint(resume_from_checkpoint, model)
        path = Path(resume_from_checkpoint) / SEARCH_STATE_FILE
        if path.is_file():
            device = next(self.model.parameters()).device
            self.model.difference.search_from(safetensors.torch.load_file(path, device=str(device)))
        self.optimizer = None  # was built for a search from zero
