"""Fast paths of the adapters. Without them the model computes the same numbers, only slower.

The matrices of all sites' factorised weights are computed together, in a few batched products instead of some ten
small ones for each weight. They belong to one forward pass in one thread. A bottleneck adapter is one autograd node.

The device decides which of two rules holds (:func:`saves_launches`). On CPU the arithmetic takes the time, so a
bottleneck's weights stay pairs of thin matrices. On an accelerator the launches of many small operations take the
time, so the weights of all sites are assembled at once, and each site computes two products and a ReLU.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from ..tensors.factorized_weight import FactorizedWeight, project, times
from ..tensors.sites import SiteWeight
from .base import Adapter

HALF_PRECISION = (torch.bfloat16, torch.float16)
Matrices = tuple[Tensor, ...]
Weight = FactorizedWeight | SiteWeight
# The matrices that were computed for this thread's forward pass, by the ids of their weights.
_of_pass: ContextVar[dict[int, Matrices]] = ContextVar("_of_pass")


def saves_launches(device: torch.device) -> bool:
    """Return whether adapters use as few operations as they can, at the price of more arithmetic."""
    return device.type != "cpu"


def factorized_weights(module: nn.Module) -> list[Weight]:
    """Return a module's factorised weights in order. A tensor for several sites counts as one weight for each."""
    parts = [part for part in module.modules() if isinstance(part, Weight)]
    return [part for part in parts if isinstance(part, SiteWeight) or part.view.sites is None]


def matrices_of(weight: Weight) -> Matrices:
    """Return the one or two matrices whose product is the weight: those of this forward pass, or else computed now."""
    computed = {} if torch.compiler.is_compiling() else _of_pass.get({})
    return computed.get(id(weight)) or weight.matrices()


class BatchedWeights:
    """Computes all factorised weights of a model together, once for each forward pass."""

    def __init__(self, model: nn.Module):
        bottlenecks = [part for part in model.modules() if isinstance(part, Adapter) and part.is_bottleneck]
        of_bottlenecks = {id(weight) for adapter in bottlenecks for weight in factorized_weights(adapter)}
        groups: dict[Any, list[Weight]] = defaultdict(list)
        for weight in factorized_weights(model):
            shapes = tuple(part.shape for part in weight.parts())
            kind = id(weight.joint) if isinstance(weight, SiteWeight) else type(weight)
            groups[id(weight) in of_bottlenecks, kind, weight.view, weight.gain, shapes].append(weight)
        self._groups = [(weights, key[0]) for key, weights in groups.items()]

    @contextmanager
    def forward_pass(self, model: nn.Module) -> Iterator[None]:
        """Keep the weights' matrices within the block, which is one forward pass. They are dropped at its end, also
        after an error."""
        # Gradient checkpointing recomputes activations in the backward pass, when these matrices are already dropped.
        again = torch.is_grad_enabled() and getattr(model, "is_activation_checkpointing", False)
        token = _of_pass.set({} if again else dict(self._batched()))
        try:
            yield
        finally:
            _of_pass.reset(token)

    def _batched(self) -> Iterator[tuple[int, Matrices]]:
        for weights, of_bottlenecks in self._groups:
            if saves_launches(next(weights[0].parameters()).device):
                yield from zip(map(id, weights), _in_few_launches(weights, of_bottlenecks))
                continue
            parts = [torch.stack(part) for part in zip(*(weight.parts() for weight in weights))]
            first, *rest = weights[0].matrices(parts)
            first = first.mT.contiguous().mT  # column-major, as factorized_weight.times needs it
            stacked = [first, *(matrix.contiguous() for matrix in rest)]
            yield from zip(map(id, weights), zip(*(matrix.unbind() for matrix in stacked)))


def _in_few_launches(weights: list[Weight], assembled: bool) -> list[Matrices]:
    """Return the matrices of each weight in a group, or one matrix each if they are to be ``assembled``.

    Shared factors take part in the products once. Copies for each weight would need their gradients added up one by
    one. Under autocast all factors are cast at once. Factors and matrices have a leading dimension of the sites, which
    is 1 if the sites share them.
    """
    joint = isinstance(weights[0], SiteWeight)
    parts = weights[0].parts_of_all_sites() if joint else [_batch(part) for part in zip(*(w.parts() for w in weights))]
    sites = [weight.site for weight in weights] if joint else range(len(weights))
    kind = parts[0].device.type
    with torch.autocast(kind, enabled=False):
        matrices = weights[0].matrices(parts)  # (sites or 1, n, m), or (sites or 1, n, k) and (sites or 1, k, m)
        if assembled and len(matrices) == 2:
            a, b = matrices
            matrices = ((b.mT @ a.mT).mT,)  # column-major without a copy
    if torch.is_autocast_enabled(kind) and parts[0].dtype is not torch.float64:  # which it leaves alone
        matrices = [matrix.to(torch.get_autocast_dtype(kind)) for matrix in matrices]
    first, *rest = matrices
    first = first.mT.contiguous().mT  # see factorized_weight.times
    number_of_sites = max(sites) + 1
    of_site = list(zip(*(matrix.expand(number_of_sites, -1, -1).unbind() for matrix in (first, *rest))))
    return [of_site[site] for site in sites]


def _batch(parts: Sequence[Tensor]) -> Tensor:
    """Stack the same factor of several weights in a leading dimension, which has size 1 if they share the factor."""
    if all(part is parts[0] for part in parts):
        return parts[0].unsqueeze(0)
    batch = torch.stack(parts)
    if batch.requires_grad:  # copy a gradient of another memory layout once, not for each parameter
        batch.register_hook(Tensor.contiguous)
    return batch


def bottleneck(hidden: Tensor, down: Sequence[Tensor], up: Sequence[Tensor]) -> Tensor:
    """Return h + relu(h D) U for hidden (..., hidden_size), where D and U are given as one or two matrices each."""
    compiled = torch.compiler.is_compiling() or torch.is_autocast_enabled(hidden.device.type)
    transformed = torch._C._are_functorch_transforms_active()  # torch.func takes no such step
    if torch.is_grad_enabled() and not (compiled or transformed):
        if len(down) == len(up) == 2:
            return FusedBottleneck.apply(hidden, *down, *up)
        if len(down) == len(up) == 1 and saves_launches(hidden.device):
            return AssembledBottleneck.apply(hidden, *down, *up)
    return add_projection(hidden, torch.relu(project(hidden, down)), up)


def add_projection(residual: Tensor, x: Tensor, matrices: Sequence[Tensor]) -> Tensor:
    """Return ``residual + x @ W``. The last product includes the sum, which saves a pass over the hidden state."""
    for matrix in matrices[:-1]:
        x = times(x, matrix)
    return torch.addmm(residual.flatten(0, -2), x.flatten(0, -2), matrices[-1]).view_as(residual)


class FusedBottleneck(torch.autograd.Function):
    """x + relu(x A B) C D for the thin pairs (A, B) of the down and (C, D) of the up weight.

    Autograd would compute the gradients through the adapter and around it separately and add them. Here one product
    gives both. The only kept tensor of the hidden state's size is the output, from which the backward pass subtracts
    the update to get x. In half precision x itself is kept, because rounding the output may lose it.
    """

    @staticmethod
    def forward(ctx, hidden: Tensor, a: Tensor, b: Tensor, c: Tensor, d: Tensor) -> Tensor:
        x = hidden.flatten(0, -2)
        a_rows, c_rows = a.mT.contiguous(), c.mT.contiguous()  # see factorized_weight.times
        inner = torch.nn.functional.linear(x, a_rows)
        active = (inner @ b).relu_()
        outer = torch.nn.functional.linear(active, c_rows)
        output = torch.addmm(x, outer, d)
        ctx.keeps_input = hidden.dtype in HALF_PRECISION
        kept = x if ctx.keeps_input else output
        ctx.save_for_backward(kept, inner, active, outer, a_rows, b, c_rows, d)
        return output.view_as(hidden)

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient: Tensor):
        kept, inner, active, outer, a_rows, b, c_rows, d = ctx.saved_tensors
        g = gradient.flatten(0, -2)
        g_outer = g @ d.mT
        g_active = (g_outer @ c_rows) * (active > 0)
        g_inner = g_active @ b.mT
        g_a = g_inner.mT @ kept
        if not ctx.keeps_input:  # x is the output minus the update
            g_a = g_a - (g_inner.mT @ outer) @ d
        g_c = g_outer.mT @ active
        g_hidden = torch.addmm(g, g_inner, a_rows).view_as(gradient) if ctx.needs_input_grad[0] else None
        return g_hidden, g_a.mT, inner.mT @ g_active, g_c.mT, outer.mT @ g


class AssembledBottleneck(torch.autograd.Function):
    """x + relu(x D) U for the matrices D and U themselves. It takes three operations forward and five backward. A
    dense adapter takes four and eight, because it adds two gradients of x and computes two of biases."""

    @staticmethod
    def forward(ctx, hidden: Tensor, down: Tensor, up: Tensor) -> Tensor:
        x = hidden.flatten(0, -2)
        active = (x @ down).relu_()
        ctx.save_for_backward(x, active, down, up)
        return torch.addmm(x, active, up).view_as(hidden)

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient: Tensor):
        x, active, down, up = ctx.saved_tensors
        g = gradient.flatten(0, -2)
        g_inner = torch.ops.aten.threshold_backward(g @ up.mT, active, 0)
        g_hidden = torch.addmm(g, g_inner, down.mT).view_as(gradient) if ctx.needs_input_grad[0] else None
        return g_hidden, x.mT @ g_inner, active.mT @ g
