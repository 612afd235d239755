"""What every residual adapter is to the rest of the program, tensorized or not."""

from torch import Tensor, nn


class Adapter(nn.Module):
    """A module h -> h + update(h) of one site; ``enabled`` is looked at by the hook that calls it there."""

    enabled = True

    def forward(self, hidden: Tensor) -> Tensor:
        """hidden: (..., hidden_size); returns the same shape."""
        raise NotImplementedError
