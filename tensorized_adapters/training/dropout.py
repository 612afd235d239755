"""Cheaper dropout on CPU, for the complete model and under every method.

On CPU torch draws one double for each element, and uses one core unless the processor is Intel's. That takes 5 to 6 ns
an element, or 5 % of a training step of BERT-base. Sixteen random bits are enough.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

_LOWEST = torch.iinfo(torch.int64).min


def use_cheap_dropout(model: nn.Module) -> None:
    """Let every ``nn.Dropout`` of the model draw cheaply on CPU. The modules keep their hooks and children.

    The probability is rounded to sixteen bits, by at most 0.1 %. The draws of a seed differ from torch's.
    """
    for module in model.modules():
        if type(module) is nn.Dropout:
            module.__class__ = CheapDropout


class CheapDropout(nn.Dropout):
    """Inverted dropout (Srivastava et al. 2014): zero, or x / (1 - p)."""

    def forward(self, x: Tensor) -> Tensor:
        plain = x.device.type != "cpu" or torch.compiler.is_compiling() or not 0.01 <= self.p <= 0.99
        if not self.training or plain:
            return functional.dropout(x, self.p, self.training)
        return _Drop.apply(x, self.p)


class _Drop(torch.autograd.Function):
    """Keeps a byte an element for the backward pass, where torch keeps four."""

    @staticmethod
    def forward(ctx, x: Tensor, p: float) -> Tensor:
        words = torch.empty((x.numel() + 3) // 4, dtype=torch.int64).random_(_LOWEST, None)
        bits = words.view(torch.int16)[: x.numel()].view(x.shape)
        # Bytes, since torch converts bool to numbers seven times slower.
        keep = torch.ge(bits, round(p * 2**16) - 2**15, out=torch.empty(x.shape, dtype=torch.uint8))
        ctx.p = p
        ctx.save_for_backward(keep)
        return _scaled(keep, p, x.dtype).mul_(x)

    @staticmethod
    def backward(ctx, gradient: Tensor):
        (keep,) = ctx.saved_tensors
        return _scaled(keep, ctx.p, gradient.dtype).mul_(gradient), None


def _scaled(keep: Tensor, p: float, dtype: torch.dtype) -> Tensor:
    # A multiplication of two types would be twenty times slower than this cast and one of equal types.
    return keep.to(dtype).mul_(1 / (1 - round(p * 2**16) / 2**16))
