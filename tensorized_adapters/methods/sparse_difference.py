"""The sparse difference of diff pruning: Guo, Rush and Kim, "Parameter-Efficient Transfer Learning with Diff Pruning"
(2021).

The task's model is the pre-trained one plus a sparse difference. During the search, a number's difference is z w. The
gate z has a hard-concrete distribution (Louizos et al., 2018), whose expected count of non-zeros is penalised (section
3.1). With structured gates, z is the product of the number's own gate and its module's (section 3.2). Then exactly as
many of the largest differences as the budget allows are kept and trained on (section 3.3).

During the search, evaluation and saving use the difference pruned to its budget.
"""

from collections.abc import Iterator
from functools import reduce
from itertools import chain
from typing import Optional

import torch
from torch import Tensor, nn

# The stretch of the hard-concrete distribution and the gates' start, as in the authors' code; its temperature is 1.
LOW, HIGH, GATE_START = -1.5, 1.5, 5.0

Kept = tuple[Tensor, Tensor]  # positions in the flattened parameter, and the differences there


class Difference(nn.Module):
    """The parametrization of one pre-trained parameter as the sum of it and its difference.

    During the search it has the parameters ``value`` and ``gate`` of the original's shape, and if structured a scalar
    ``module_gate``. Afterwards it has the parameter ``kept_values`` and the buffer ``kept_indices``.
    """

    def __init__(self, original: Tensor, structured: bool):
        super().__init__()
        self.size = original.numel()
        self.parent: Optional[SparseDifference] = None  # the difference that has this part
        self.pruned: Optional[Kept] = None  # cache of what pruning would keep now
        self.pruned_at: list[int] = []  # the versions of the parameters that it was computed from
        self.noise: Optional[tuple[Tensor, Tensor]] = None  # this forward pass's, for both gates
        self.search(
            torch.zeros_like(original),
            torch.full_like(original, GATE_START),
            original.new_tensor(GATE_START) if structured else None,
        )

    @property
    def searching(self) -> bool:
        return hasattr(self, "value")

    def search(self, value: Tensor, gate: Tensor, module_gate: Optional[Tensor] = None) -> None:
        """Begin or continue the search for the entries to keep, from these values."""
        self._parameters.clear()
        self._buffers.clear()
        self.value, self.gate = nn.Parameter(value), nn.Parameter(gate)
        self.module_gate = None if module_gate is None else nn.Parameter(module_gate)
        self.pruned = None

    def end_search(self, kept: Kept) -> None:
        """End the search: from now on only the entries ``kept`` differ from the pre-trained parameter."""
        self._parameters.clear()
        self.register_buffer("kept_indices", kept[0], persistent=False)
        self.kept_values = nn.Parameter(kept[1])
        self.noise = self.pruned = None

    def _apply(self, *args, **kwargs) -> "Difference":
        """Convert or move the module. This changes no version, so the cached entries would keep their old precision
        and device."""
        self.pruned = None
        return super()._apply(*args, **kwargs)

    def train(self, mode: bool = True) -> "Difference":
        """Set the mode. Drop the cache: a change through ``parameter.data`` does not raise the version counter."""
        self.pruned = None
        return super().train(mode)

    def forward(self, original: Tensor) -> Tensor:
        if self.parent is not None and not self.parent.enabled:
            return original
        if self.searching and self.training:
            self.pruned = None  # a fused optimizer's step would not change version counters
            return original + self._sampled()
        indices, values = self.kept()
        if not len(indices):
            return original
        return original.flatten().index_add(0, indices, values).view_as(original)

    def kept(self) -> Kept:
        """Return the entries that differ now, or during the search those that pruning would keep."""
        if not self.searching:
            return self.kept_indices, self.kept_values
        if self.parent is None:  # during insertion
            return torch.empty(0, dtype=torch.int64, device=self.value.device), self.value.new_empty(0)
        if self.pruned is None or self.pruned_at != self.versions():
            self.parent.rank_entries()
        return self.pruned

    def versions(self) -> list[int]:
        return [parameter._version for parameter in self.parameters()]

    def gates(self) -> list[Tensor]:
        return [gate for gate in (self.gate, self.module_gate) if gate is not None]

    @torch.no_grad()
    def expected(self) -> Tensor:
        """Return the difference with every gate at its mean noise. Entries are ranked and kept by it."""
        return reduce(torch.mul, map(_hard_concrete, self.gates()), self.value)

    def expected_count(self) -> Tensor:
        """Return the expected number of open gates (equation 4 of the paper), which is the L0 penalty."""
        return reduce(torch.mul, (torch.sigmoid(gate).sum() for gate in self.gates()))  # log(-LOW / HIGH) = 0

    @torch.no_grad()
    def draw(self) -> None:
        """Draw logistic noise for one forward pass, in which a parameter may be used more than once. A module's noise
        is drawn even if there is no gate of modules."""
        tiny = torch.finfo(self.gate.dtype).eps
        sizes = (self.gate, self.gate.new_empty(()))
        self.noise = tuple(torch.empty_like(size).uniform_(tiny, 1 - tiny).logit_() for size in sizes)

    def _sampled(self) -> Tensor:
        if self.noise is None:
            self.draw()
        noisy = (gate + noise for gate, noise in zip(self.gates(), self.noise))
        return reduce(torch.mul, map(_hard_concrete, noisy), self.value)


class SparseDifference:
    """The differences of a model's parameters by their plain names; all together keep ``budget`` entries."""

    def __init__(self, parts: dict[str, Difference], budget: int):
        self.parts, self.budget = parts, budget
        self.enabled = True
        for part in parts.values():
            part.parent = self

    @property
    def searching(self) -> bool:
        return any(part.searching for part in self.parts.values())

    def draw_for_pass(self, model: nn.Module, _) -> None:
        """Draw the noise of one forward pass during the search. A hook of the model draws it before the pass, so that
        recomputed activations use the same noise. All processes share the gates, and so use the noise of rank 0."""
        shared = torch.distributed.is_available() and torch.distributed.is_initialized()
        for part in self.parts.values() if model.training else ():
            if part.searching:
                part.draw()
                for noise in part.noise if shared else ():
                    torch.distributed.broadcast(noise, src=0)

    def expected_count(self) -> Tensor:
        return sum(part.expected_count() for part in self.parts.values())

    def prune(self) -> dict[str, Kept]:
        """Return the largest ``budget`` entries of the expected difference, or after the search all entries. They are
        found anew, as in :meth:`Difference.train`."""
        if self.searching:
            self.rank_entries()
        return {name: part.kept() for name, part in self.parts.items()}

    @torch.no_grad()
    def rank_entries(self) -> None:
        """Store in every part which of its entries are among the largest ``budget`` of all."""
        expected = [part.expected().flatten() for part in self.parts.values()]
        largest = torch.cat([e.abs() for e in expected]).topk(self.budget, sorted=False).indices.sort().values
        start = 0
        for part, difference in zip(self.parts.values(), expected):
            end = start + difference.numel()
            low, high = torch.searchsorted(largest, torch.tensor([start, end], device=largest.device)).tolist()
            indices = largest[low:high] - start
            part.pruned, part.pruned_at = (indices, difference[indices]), part.versions()
            start = end

    def end_search(self, kept: Optional[dict[str, Kept]] = None) -> None:
        """End the search with the entries ``kept``, by default those that pruning keeps now."""
        kept = self.prune() if kept is None else kept
        for name, part in self.parts.items():
            part.end_search(kept[name])

    def state(self) -> dict[str, Tensor]:
        """Return a copy of the present phase: values and gates of the search, or kept entries and their positions."""
        return {
            f"{name}/{kind}": value.detach().clone()
            for name, part in self.parts.items()
            for kind, value in chain(part.named_parameters(), part.named_buffers())
        }

    def put_state(self, state: dict[str, Tensor]) -> None:
        """Restore the phase and the values of a :meth:`state`."""
        kinds = ("value", "gate", "module_gate", "kept_indices", "kept_values")
        for name, part in self.parts.items():
            copies = {kind: state[f"{name}/{kind}"].clone() for kind in kinds if f"{name}/{kind}" in state}
            if "kept_values" in copies:
                part.end_search((copies["kept_indices"], copies["kept_values"]))
            else:
                part.search(**copies)

    def trained(self) -> Iterator[tuple[str, nn.Parameter]]:
        """Return (kind, parameter) of everything that is trained now."""
        return chain.from_iterable(part.named_parameters() for part in self.parts.values())


def _hard_concrete(gate: Tensor) -> Tensor:
    """Return a stretched sigmoid, clamped to [0, 1]."""
    return (torch.sigmoid(gate) * (HIGH - LOW) + LOW).clamp(0, 1)
