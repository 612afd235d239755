"""The thin pairs of all sites, computed together: a handful of batched products instead of ten small ones a weight.

While the model runs, each weight finds its pair in ``merged``. In training they are computed anew in every forward
pass; without gradients they are kept until a parameter changes.
"""

from collections import defaultdict
from typing import Any, Optional

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from ..tensors.formats import _ThinPair
from .base import Adapter

Pairs = list[tuple[Tensor, Tensor]]


class MergedPairs:
    """Hooks on a model that give its factorised weights their thin pairs for the time of each forward pass."""

    def __init__(self, model: nn.Module):
        groups: dict[Any, list[_ThinPair]] = defaultdict(list)
        for module in model.modules():
            for weight in module.weights() if isinstance(module, Adapter) else ():
                shapes = tuple(p.shape for p in weight.parameters())
                groups[type(weight), weight.cut, shapes].append(weight)
        self._groups = list(groups.values())
        self._kept: Optional[tuple[list[list[Tensor]], list[Pairs]]] = None
        self._handles: list[RemovableHandle] = [
            model.register_forward_pre_hook(self._give),
            model.register_forward_hook(self._take_back, always_call=True),
        ]

    def remove(self) -> None:
        """Let the weights compute their own pairs again."""
        for handle in self._handles:
            handle.remove()

    def _give(self, model: nn.Module, _) -> None:
        if torch.compiler.is_compiling():
            return  # the compiler merges what it wants to
        if torch.is_grad_enabled():
            # Recomputed activations would find the pairs taken back.
            if getattr(model, "is_activation_checkpointing", False) and model.training:
                return
            pairs = [_pairs_of(group, _stacked(group)) for group in self._groups]
        else:
            pairs = self._pairs_without_gradients()
        for group, group_pairs in zip(self._groups, pairs):
            for weight, pair in zip(group, group_pairs):
                weight.merged = pair

    def _take_back(self, *_) -> None:
        for group in self._groups:
            for weight in group:
                weight.merged = None

    def _pairs_without_gradients(self) -> list[Pairs]:
        """Kept as long as the factors have the same contents: version counters miss fused optimizers and ``.data``.

        On a GPU a comparison would wait for it, which costs more than the few products.
        """
        stacked = [_stacked(group) for group in self._groups]
        if stacked and stacked[0][0].is_cuda:
            return [_pairs_of(group, parts) for group, parts in zip(self._groups, stacked)]
        if self._kept is not None and all(
            a.dtype == b.dtype and torch.equal(a, b)
            for ours, theirs in zip(self._kept[0], stacked)
            for a, b in zip(ours, theirs)
        ):
            return self._kept[1]
        pairs = [_pairs_of(group, parts) for group, parts in zip(self._groups, stacked)]
        self._kept = (stacked, pairs)
        return pairs


def _stacked(weights: list[_ThinPair]) -> list[Tensor]:
    """The factors of weights of one format, shape and rank, each kind in one tensor."""
    return [torch.stack(part) for part in zip(*(weight.parameters() for weight in weights))]


def _pairs_of(weights: list[_ThinPair], parts: list[Tensor]) -> Pairs:
    """The thin pair of each weight, in the factors' own precision also under autocast."""
    with torch.autocast(parts[0].device.type, enabled=False):
        a, b = weights[0].pair_of(parts, weights[0].cut)
        a = a.mT.contiguous().mT  # columns behind each other, as formats.times wants them
        return list(zip(a.unbind(), b.contiguous().unbind()))
