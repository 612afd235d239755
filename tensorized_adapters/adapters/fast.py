"""The fast paths, behind one seam: the model computes the same without them.

The matrices of all sites' factorised weights are computed together, in a handful of batched products instead of some
ten small ones a weight, and belong to one forward pass in one thread. A bottleneck adapter is one step of autograd.
"""

import threading
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from ..tensors.formats import FactorizedWeight, project, times
from ..tensors.sites import SiteWeight

Matrices = tuple[Tensor, ...]
Weight = FactorizedWeight | SiteWeight


class _Passes(threading.local):
    """The forward passes that this thread is in, each with the matrices that were computed for it."""

    def __init__(self):
        self.stack: list[dict[int, Matrices]] = []


_passes = _Passes()


def factorized_weights(module: nn.Module) -> list[Weight]:
    """Every factorised weight in a module, in its order; of a tensor for several sites, the weight of each site."""
    parts = [part for part in module.modules() if isinstance(part, Weight)]
    return [part for part in parts if isinstance(part, SiteWeight) or part.view.sites is None]


def matrices_of(weight: Weight) -> Matrices:
    """The one or two matrices whose product is the weight: those of this forward pass, or computed now."""
    if torch.compiler.is_compiling() or not _passes.stack:
        return weight.matrices()
    return _passes.stack[-1].get(id(weight)) or weight.matrices()


class MergedWeights:
    """Computes a model's factorised weights together, for one forward pass after the other."""

    def __init__(self, model: nn.Module):
        groups: dict[Any, list[Weight]] = defaultdict(list)
        for weight in factorized_weights(model):
            shapes = tuple(part.shape for part in weight.parts())
            kind = id(weight.joint) if isinstance(weight, SiteWeight) else type(weight)
            groups[kind, weight.view, weight.gain, shapes].append(weight)
        self._groups = list(groups.values())

    @contextmanager
    def forward_pass(self, model: nn.Module) -> Iterator[None]:
        """Within it, adapters find their weights' matrices; however it ends, the next pass has its own."""
        # Activations that are computed again in the backward pass would not find what this pass had.
        again = torch.is_grad_enabled() and model.training and getattr(model, "is_activation_checkpointing", False)
        _passes.stack.append({} if again else dict(self._merged()))
        try:
            yield
        finally:
            _passes.stack.pop()

    def _merged(self) -> Iterator[tuple[int, Matrices]]:
        for group in self._groups:
            parts = [torch.stack(part) for part in zip(*(weight.parts() for weight in group))]
            first, *rest = group[0].matrices(parts)
            first = first.mT.contiguous().mT  # columns behind each other, as formats.times wants them
            stacked = [first, *(matrix.contiguous() for matrix in rest)]
            yield from zip(map(id, group), zip(*(matrix.unbind() for matrix in stacked)))


def bottleneck(hidden: Tensor, down: Sequence[Tensor], up: Sequence[Tensor]) -> Tensor:
    """h + relu(h D) U for hidden (..., hidden_size), D and U each as the one or two matrices whose product
    they are."""
    compiled = torch.compiler.is_compiling() or torch.is_autocast_enabled(hidden.device.type)
    if len(down) == len(up) == 2 and torch.is_grad_enabled() and not compiled:
        return FusedBottleneck.apply(hidden, *down, *up)
    return add_projection(hidden, torch.relu(project(hidden, down)), up)


def add_projection(residual: Tensor, x: Tensor, matrices: Sequence[Tensor]) -> Tensor:
    """``residual + x @ W``, the sum fused into the last product: one pass less over the hidden state."""
    for matrix in matrices[:-1]:
        x = times(x, matrix)
    return torch.addmm(residual.flatten(0, -2), x.flatten(0, -2), matrices[-1]).view_as(residual)


class FusedBottleneck(torch.autograd.Function):
    """x + relu(x A B) C D for the thin pairs (A, B) of the down and (C, D) of the up weight.

    Left to autograd, the backward pass writes the gradient through the adapter and the one around it separately and
    adds them; here both are one product. Of the hidden state's size only the output is kept, from which x is regained.
    """

    @staticmethod
    def forward(ctx, hidden: Tensor, a: Tensor, b: Tensor, c: Tensor, d: Tensor) -> Tensor:
        x = hidden.flatten(0, -2)
        a_rows, c_rows = a.mT.contiguous(), c.mT.contiguous()  # see formats.times
        inner = torch.nn.functional.linear(x, a_rows)
        active = (inner @ b).relu_()
        outer = torch.nn.functional.linear(active, c_rows)
        output = torch.addmm(x, outer, d)
        ctx.save_for_backward(output, inner, active, outer, a_rows, b, c_rows, d)
        return output.view_as(hidden)

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient: Tensor):
        output, inner, active, outer, a_rows, b, c_rows, d = ctx.saved_tensors
        g = gradient.flatten(0, -2)
        g_outer = g @ d.mT
        g_active = (g_outer @ c_rows) * (active > 0)
        g_inner = g_active @ b.mT
        g_a = g_inner.mT @ output - (g_inner.mT @ outer) @ d  # x is what the output is without the adapter's part
        g_c = g_outer.mT @ active
        g_hidden = torch.addmm(g, g_inner, a_rows).view_as(gradient) if ctx.needs_input_grad[0] else None
        return g_hidden, g_a.mT, inner.mT @ g_active, g_c.mT, outer.mT @ g
