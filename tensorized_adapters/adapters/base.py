"""The base class of every residual adapter, tensorized or not."""

from typing import ClassVar

from torch import Tensor, nn


class Adapter(nn.Module):
    """A residual update at one site. The hook that calls it there leaves the output alone unless ``enabled``."""

    enabled = True
    is_bottleneck: ClassVar[bool] = False  # its assembled weights are no larger than a dense adapter's

    def forward(self, hidden: Tensor) -> Tensor:
        """Return h + update(h) for hidden (..., hidden_size)."""
        return self.beside(hidden, hidden)

    def beside(self, x: Tensor, output: Tensor) -> Tensor:
        """Return output + update(x), for input (..., in) and output (..., out) of the module beside which it runs."""
        raise NotImplementedError

    def dense_weights(self) -> dict[str, Tensor]:
        """Return the weights of an ordinary adapter that computes the same, (out x in) as in nn.Linear. They are
        ``down.weight``, ``down.bias``, ``up.weight`` and ``up.bias``, or only ``weight`` for h + relu(h W)."""
        raise NotImplementedError
