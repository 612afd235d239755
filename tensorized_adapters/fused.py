"""The bottleneck adapter as one step of autograd: the fewest passes over the hidden state that its gradient allows.

Left to autograd, the backward pass writes the gradient through the adapter and the one around it separately and adds
them; here both are one product. Of the hidden state's size only the input itself is kept for the backward pass.
"""

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


class FusedBottleneck(torch.autograd.Function):
    """h + relu(h A B) C D for the thin pairs (A, B) of the down and (C, D) of the up weight."""

    @staticmethod
    def forward(ctx, hidden: Tensor, a: Tensor, b: Tensor, c: Tensor, d: Tensor) -> Tensor:
        x = hidden.flatten(0, -2)
        a_rows, c_rows = a.mT.contiguous(), c.mT.contiguous()  # see factorizations.times
        inner = torch.nn.functional.linear(x, a_rows)
        active = (inner @ b).relu_()
        outer = torch.nn.functional.linear(active, c_rows)
        ctx.save_for_backward(x, inner, active, outer, a_rows, b, c_rows, d)
        return torch.addmm(x, outer, d).view_as(hidden)

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient: Tensor):
        x, inner, active, outer, a_rows, b, c_rows, d = ctx.saved_tensors
        g = gradient.flatten(0, -2)
        g_outer = g @ d.mT
        g_active = (g_outer @ c_rows) * (active > 0)
        g_inner = g_active @ b.mT
        g_hidden = torch.addmm(g, g_inner, a_rows).view_as(gradient) if ctx.needs_input_grad[0] else None
        g_a, g_c = (g_inner.mT @ x).mT, (g_outer.mT @ active).mT
        return g_hidden, g_a, inner.mT @ g_active, g_c, outer.mT @ g


def can_fuse(hidden: Tensor) -> bool:
    """Not where autograd is off, a compiler does the fusing, or autocast chooses the types."""
    plain = not torch.compiler.is_compiling() and not torch.is_autocast_enabled(hidden.device.type)
    return plain and torch.is_grad_enabled()
