"""Dropout at the adapters' sites: torch's own where it is fast, and cheaper random numbers where it is not.

On CPU, torch draws one double for each element, on one core on anything but Intel's processors: 5 to 6 ns an element,
more than all that an adapter computes. Sixteen random bits decide just as well.
"""

import torch
from torch import Tensor
from torch.nn import functional

_LOWEST = torch.iinfo(torch.int64).min


def dropout(x: Tensor, p: float) -> Tensor:
    """Inverted dropout with probability ``p`` (Srivastava et al. 2014): zero, or x / (1 - p)."""
    if x.device.type != "cpu" or torch.compiler.is_compiling() or not can_draw(p):
        return functional.dropout(x, p)
    return x * _noise(_keep(x, p), p, x.dtype)


def can_draw(p: float) -> bool:
    """Whether sixteen bits resolve ``p``: what they make of it is within 0.1 % of it."""
    return 0.01 <= p <= 0.99


def dropped(x: Tensor, p: float) -> tuple[Tensor, Tensor]:
    """Dropout of ``x``, in memory of its own, and its mask with a byte an element. To be called without autograd."""
    if x.device.type != "cpu":
        return torch.native_dropout(x, p, True)
    keep = _keep(x, p)
    return _noise(keep, p, x.dtype).mul_(x), keep


def dropped_gradient(gradient: Tensor, keep: Tensor, p: float) -> Tensor:
    """The gradient of ``dropped`` at its input. On CPU it is written over ``gradient``."""
    if gradient.device.type != "cpu":
        return torch.ops.aten.native_dropout_backward(gradient, keep, 1 / (1 - p))
    return gradient.mul_(_noise(keep, p, gradient.dtype))


def _threshold(p: float) -> int:
    return round(p * 2**16)


def _keep(x: Tensor, p: float) -> Tensor:
    """1 for what stays and 0 for what goes, as bytes in the shape of ``x``."""
    words = torch.empty((x.numel() + 3) // 4, dtype=torch.int64).random_(_LOWEST, None)
    bits = words.view(torch.int16)[: x.numel()].view(x.shape)
    # Into bytes, not bool: torch makes numbers of bool seven times slower.
    return torch.ge(bits, _threshold(p) - 2**15, out=torch.empty(x.shape, dtype=torch.uint8))


def _noise(keep: Tensor, p: float, dtype: torch.dtype) -> Tensor:
    # A multiplication of two types would be twenty times slower than this cast and one of equal types.
    return keep.to(dtype).mul_(1 / (1 - _threshold(p) / 2**16))
