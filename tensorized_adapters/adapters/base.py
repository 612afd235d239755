"""What every residual adapter is to the rest of the program, tensorized or not."""

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from ..tensors.formats import _ThinPair, pair_is_cheaper, times


class Adapter(nn.Module):
    """A module h -> h + update(h) of one site."""

    def weights(self) -> list[_ThinPair]:
        """The factorised weights, whose factors have learning rates of their own; none in a dense adapter."""
        return []

    def learning_rate_scales(self) -> Iterator[tuple[nn.Parameter, float]]:
        """Each parameter with the factor by which its rate differs from ``--learning_rate``."""
        scales = {
            id(parameter): scale
            for weight in self.weights()
            for parameter, scale in zip(weight.parameters(), weight.learning_rate_scales or ())
        }
        for parameter in self.parameters():
            yield parameter, scales.get(id(parameter), 1.0)

    def set_learning_rate_scales(self, scales: Iterator[float]) -> None:
        """Take back the scales that were computed at the start of training, in parameter order."""
        known = {id(parameter): next(scales) for parameter in self.parameters()}
        for weight in self.weights():
            weight.learning_rate_scales = [known[id(parameter)] for parameter in weight.parameters()]


def add_projection(residual: Tensor, x: Tensor, pair: tuple[Tensor, Tensor]) -> Tensor:
    """``residual + x @ A @ B``, the sum fused into the last product: one pass less over the hidden state."""
    a, b = pair
    x, b = (times(x, a), b) if pair_is_cheaper(a, b) else (x, a @ b)
    return torch.addmm(residual.flatten(0, -2), x.flatten(0, -2), b).view_as(residual)
