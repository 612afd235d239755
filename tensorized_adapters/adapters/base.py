"""The base class of every residual adapter, tensorized or not."""

from typing import ClassVar

from torch import Tensor, nn


class Adapter(nn.Module):
    """A residual update at one site. The hook that calls it there leaves the output alone unless ``enabled``."""

    enabled = True
    is_bottleneck: ClassVar[bool] = False  # down and up: assembled, its weights are no larger than a dense adapter's

    def forward(self, hidden: Tensor) -> Tensor:
        """h + update(h) for hidden (..., hidden_size)."""
        return self.beside(hidden, hidden)

    def beside(self, x: Tensor, output: Tensor) -> Tensor:
        """output + update(x), for the input (..., in) and the output (..., out) of the module it runs parallel to."""
        raise NotImplementedError

    def dense_weights(self) -> dict[str, Tensor]:
        """The weights of an ordinary adapter that computes the same, (out x in) as in nn.Linear: ``down.weight``,
        ``down.bias``, ``up.weight`` and ``up.bias``; or of h + relu(h W) ``weight`` alone."""
        raise NotImplementedError
