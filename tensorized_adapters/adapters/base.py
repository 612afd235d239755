"""What every residual adapter is to the rest of the program, tensorized or not."""

from typing import ClassVar

from torch import Tensor, nn


class Adapter(nn.Module):
    """A residual update of one site; ``enabled`` is looked at by the hook that calls it there."""

    enabled = True
    is_bottleneck: ClassVar[bool] = False  # down and up: assembled, its weights are no larger than a dense adapter's

    def forward(self, hidden: Tensor) -> Tensor:
        """h + update(h) for hidden (..., hidden_size)."""
        return self.beside(hidden, hidden)

    def beside(self, x: Tensor, output: Tensor) -> Tensor:
        """output + update(x), for the input (..., in) and the output (..., out) of what the adapter stands beside."""
        raise NotImplementedError

    def dense_weights(self) -> dict[str, Tensor]:
        """The weights of an ordinary adapter that computes the same, (out x in) as in nn.Linear: ``down.weight``,
        ``down.bias``, ``up.weight`` and ``up.bias``; or of h + relu(h W) ``weight`` alone."""
        raise NotImplementedError
