"""Diff pruning (Guo, Rush and Kim, 2021): the pre-trained model plus a sparse difference.

sparse_difference.py has the mathematics, training/diff_trainer.py the two phases of training.
"""

from fractions import Fraction
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize
from transformers import PreTrainedModel

from ..backbone.parts import base_prefix
from ..config import AdapterConfig
from ..errors import UsageError
from .base import Method
from .sparse_difference import Difference, SparseDifference

INDICES, VALUES = ".indices", ".values"  # suffixes of a parameter's name in the file


class DiffPruning(Method):
    """Parametrizes every parameter of the base model. The entries of all differences share one budget.

    The file holds the head, and two vectors for each changed parameter: int32 positions in the flattened parameter, in
    ascending order, and the differences at these positions.
    """

    name = "diff_pruning"
    added_group = "backbone"
    backbone_called = "changed numbers"
    stores_positions = True
    replaces_parameters = True
    difference: SparseDifference

    def check(self, model: PreTrainedModel) -> None:
        super().check(model)
        self.backbone_count(model)  # it raises UsageError for an empty budget

    def backbone_count(self, model: PreTrainedModel) -> int:
        """Return the budget, which is the number of entries of the final difference."""
        prefix = base_prefix(model)
        return budget_of(self.config, sum(p.numel() for n, p in model.named_parameters() if n.startswith(prefix)))

    @property
    def budget(self) -> int:
        """Return how many numbers of an adapted model's backbone change."""
        return self.difference.budget

    @property
    def found_nothing(self) -> bool:
        """Return whether the search has left every difference at zero, where it began."""
        return self.difference.searching and not any(part.value.any() for part in self.difference.parts.values())

    def insert(self, model: PreTrainedModel, head: set[str]) -> None:
        """Add a difference to each frozen parameter. All differences start at zero, so the outputs do not change."""
        prefix, parts, size = base_prefix(model), {}, 0
        for name, parameter in list(model.named_parameters()):
            if name.startswith(prefix) and name not in head:
                owner_name, _, parameter_name = name.rpartition(".")
                owner = model.get_submodule(owner_name)
                parts[name] = Difference(parameter, self.config.diff_structured).train(owner.training)
                size += parameter.numel()
                _parametrize(owner, parameter_name, parts[name])
        self.difference = SparseDifference(parts, budget_of(self.config, size))
        self._hook = model.register_forward_pre_hook(self.difference.draw_for_pass)

    def remove(self, model: PreTrainedModel) -> None:
        for name in self.difference.parts:
            owner_name, _, parameter_name = name.rpartition(".")
            owner = model.get_submodule(owner_name)
            parametrize.remove_parametrizations(owner, parameter_name, leave_parametrized=False)
        self._hook.remove()

    def switch(self, model: PreTrainedModel, on: bool) -> None:
        self.difference.enabled = on

    def state(self, trained: dict[str, nn.Parameter]) -> dict[str, Tensor]:
        """Return the head and the difference, in its present phase."""
        return super().state(self._head(trained)) | self.difference.state()

    @torch.no_grad()
    def put_state(self, trained: dict[str, nn.Parameter], state: dict[str, Tensor]) -> None:
        super().put_state(self._head(trained), state)
        self.difference.put_state(state)

    def optimizer_groups(
        self,
        groups: dict[str, dict[str, nn.Parameter]],
        rates: dict[str, float],
        weight_decay: float,
        shares: dict[str, float],
    ) -> list[dict[str, Any]]:
        """Return four groups: difference, decayed head, other head, gates. They are the same in both phases, so that
        schedule and checkpoints fit both. Penalty and budget limit differences and gates, so they are not decayed."""
        rate = rates["backbone"] if self.difference.searching else self.config.diff_final_learning_rate
        trained = [(kind.endswith("gate"), p) for kind, p in self.difference.trained() if p.numel()]
        head = groups["head"].items()
        rows = (
            ([p for is_gate, p in trained if not is_gate], rate, 0.0),
            ([p for name, p in head if shares[name]], rates["head"], weight_decay),
            ([p for name, p in head if not shares[name]], rates["head"], 0.0),
            ([p for is_gate, p in trained if is_gate], self.config.diff_gate_learning_rate, 0.0),
        )
        return [{"params": parameters, "lr": lr, "weight_decay": decay} for parameters, lr, decay in rows]

    def tensors(self, trained: dict[str, nn.Parameter]) -> dict[str, Tensor]:
        stored = self._head(trained)
        for name, (indices, values) in self.difference.prune().items():
            if len(indices):
                stored |= {name + INDICES: indices.to(torch.int32), name + VALUES: values}
        return stored

    def check_tensors(self, trained: dict[str, nn.Parameter], tensors: dict[str, Tensor]) -> None:
        head, parts, count = self._head(trained), self.difference.parts, 0
        super().check_tensors(head, {n: t for n, t in tensors.items() if not n.endswith((INDICES, VALUES))})
        for name in {name.removesuffix(INDICES).removesuffix(VALUES) for name in tensors} - set(head):
            indices, values = tensors.get(name + INDICES), tensors.get(name + VALUES)
            if name not in parts or indices is None or values is None:
                raise UsageError(f"does not fit: it changes {name}, which this model does not have in full")
            well_formed = indices.dtype == torch.int32 and indices.ndim == 1 and indices.shape == values.shape
            ascending = well_formed and len(indices) > 0 and bool((indices.diff() > 0).all())
            if not ascending or indices[0] < 0 or indices[-1] >= parts[name].size:
                raise UsageError(f"does not fit: the positions that it changes in {name} are not positions")
            count += len(indices)
        if count != self.budget:
            raise UsageError(f"does not fit: it changes {count:,} numbers, not {self.budget:,}")

    @torch.no_grad()
    def put_tensors(self, trained: dict[str, nn.Parameter], tensors: dict[str, Tensor]) -> None:
        head, kept = self._head(trained), {}
        for name, part in self.difference.parts.items():
            like = next(part.parameters())
            indices = tensors.get(name + INDICES, torch.empty(0, dtype=torch.int32))
            values = tensors.get(name + VALUES, torch.empty(0))
            kept[name] = indices.to(like.device, torch.int64), values.to(like.device, like.dtype, copy=True)
        self.difference.end_search(kept)
        super().put_state(head, tensors)

    def _head(self, trained: dict[str, nn.Parameter]) -> dict[str, nn.Parameter]:
        """Return the trained parameters that do not belong to the difference."""
        ours = {id(parameter) for _, parameter in self.difference.trained()}
        return {name: parameter for name, parameter in trained.items() if id(parameter) not in ours}


def _parametrize(module: nn.Module, name: str, parametrization: nn.Module) -> None:
    """Register a parametrization. A copy of the module, pickled or not, gets a class of its own.

    PyTorch makes a class for the module. It refuses to pickle it, and lets copies share it, so that removing the
    parametrization of one copy would break the others.
    """
    parametrize.register_parametrization(module, name, parametrization)
    made = type(module)
    made.__reduce__ = lambda self: (_parametrized, (made.__base__, [*self.parametrizations]), vars(self))
    if "__deepcopy__" in vars(made):
        del made.__deepcopy__  # it would make a copy of the same class


def _parametrized(plain: type[nn.Module], names: list[str]) -> nn.Module:
    """Return an empty module, of the class ``plain`` with parametrized ``names``, that a copy or pickle fills."""
    module = plain.__new__(plain)
    nn.Module.__init__(module)
    for name in names:
        module.register_parameter(name, nn.Parameter(torch.empty(0)))
        _parametrize(module, name, nn.Identity())
    return module


def budget_of(config: AdapterConfig, size: int) -> int:
    """Return ``--diff_sparsity`` of ``size`` pre-trained numbers, rounded down; raise UsageError if that is none."""
    budget = int(Fraction(str(config.diff_sparsity)) * size)  # exact, so that 0.29 of 100 is 29
    if budget < 1:
        raise UsageError(f"--diff_sparsity {config.diff_sparsity:g} of {size:,} numbers is less than one of them")
    return budget
