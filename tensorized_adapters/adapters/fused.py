"""The bottleneck adapter as one step of autograd: the fewest passes over the hidden state that its gradient allows.

Left to autograd, the backward pass writes the gradient through the adapter and the one around it separately and adds
them; here both are one product. The dropout before the adapter is part of the step, so that its result can be written
over by the adapter's. Of the hidden state's size, only the output is kept for the backward pass, and a byte an element
where there is dropout (torch's own dropout keeps four).
"""

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from .dropout import dropped, dropped_gradient


class FusedBottleneck(torch.autograd.Function):
    """x + relu(x A B) C D for the thin pairs (A, B) of the down and (C, D) of the up weight, and x = dropout(h)."""

    @staticmethod
    def forward(ctx, hidden: Tensor, a: Tensor, b: Tensor, c: Tensor, d: Tensor, p: float) -> Tensor:
        x, keep = hidden.flatten(0, -2), None
        if p:
            x, keep = dropped(x, p)
        a_rows, c_rows = a.mT.contiguous(), c.mT.contiguous()  # see formats.times
        inner = torch.nn.functional.linear(x, a_rows)
        active = (inner @ b).relu_()
        outer = torch.nn.functional.linear(active, c_rows)
        output = x.addmm_(outer, d) if p else torch.addmm(x, outer, d)
        ctx.p = p
        ctx.save_for_backward(keep, output, inner, active, outer, a_rows, b, c_rows, d)
        return output.view_as(hidden)

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient: Tensor):
        keep, output, inner, active, outer, a_rows, b, c_rows, d = ctx.saved_tensors
        g = gradient.flatten(0, -2)
        g_outer = g @ d.mT
        g_active = (g_outer @ c_rows) * (active > 0)
        g_inner = g_active @ b.mT
        g_a = g_inner.mT @ output - (g_inner.mT @ outer) @ d  # x is what the output is without the adapter's part
        g_c = g_outer.mT @ active
        g_hidden = None
        if ctx.needs_input_grad[0]:
            g_hidden = torch.addmm(g, g_inner, a_rows)
            g_hidden = (dropped_gradient(g_hidden, keep, ctx.p) if ctx.p else g_hidden).view_as(gradient)
        return g_hidden, g_a.mT, inner.mT @ g_active, g_c.mT, outer.mT @ g, None


def can_fuse(hidden: Tensor) -> bool:
    """Not where autograd is off, a compiler does the fusing, or autocast chooses the types."""
    plain = not torch.compiler.is_compiling() and not torch.is_autocast_enabled(hidden.device.type)
    return plain and torch.is_grad_enabled()
