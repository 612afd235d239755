"""How a weight matrix is seen as a tensor: its modes, and the order of input and output modes."""

import math
from dataclasses import dataclass
from typing import Optional

from torch import Tensor

from ..errors import UsageError

MAX_SPLIT_RATIO = 8


@dataclass(frozen=True)
class Matricization:
    """A matrix (in x out) whose rows and columns are split into modes, seen as a tensor of those modes.

    With separate modes, the tensor has all input modes and then all output modes, (i1, i2, o1, o2), and the cut
    between them gives the matrix. With interleaved modes, these are pairs (i1 o1, i2 o2). Each term of a rank-r tensor
    is then a Kronecker product, so that W can have full matrix rank at r = 1 (Van Loan & Pitsianis, "Approximation
    with Kronecker Products", 1993).

    With ``sites``, one tensor holds the matrices of that many sites, and has a mode of sites at the cut. A train or a
    ring then has a core for each site between the shared cores (LoTR, arXiv 2402.01376; MetaTT, arXiv 2506.09105). For
    CP (LoRTA, arXiv 2410.04060) and Tucker the position of this mode makes no difference.
    """

    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    interleaved: bool = False
    sites: Optional[int] = None

    @property
    def shape(self) -> tuple[int, ...]:
        """Return the tensor's modes."""
        pairs = tuple(i * o for i, o in zip(self.inputs, self.outputs))
        modes = pairs if self.interleaved else (*self.inputs, *self.outputs)
        return modes if self.sites is None else (*modes[: self.cut], self.sites, *modes[self.cut :])

    @property
    def cut(self) -> int:
        """Return how many modes lie left of the cut, where the format is split into two matrices."""
        return 1 if self.interleaved else len(self.inputs)

    @property
    def in_features(self) -> int:
        return math.prod(self.inputs)

    @property
    def out_features(self) -> int:
        return math.prod(self.outputs)

    @property
    def size(self) -> int:
        """Return the number of entries of the matrices that the tensor represents."""
        return self.in_features * self.out_features * (self.sites or 1)

    def matrix_of(self, tensor: Tensor, batch: tuple[int, ...] = ()) -> Tensor:
        """Return the matrix (*batch, in, out) that a tensor of these modes represents.

        Args:
            tensor: the numbers in the order of ``shape``, flattened in any way, after the dimensions ``batch``.
        """
        if self.interleaved:
            (i1, i2), (o1, o2) = self.inputs, self.outputs
            tensor = tensor.reshape(*batch, i1, o1, i2, o2).transpose(-3, -2)
        return tensor.reshape(*batch, self.in_features, self.out_features)


def balanced_split(size: int, name: str = "hidden size") -> tuple[int, int]:
    """Return the factor pair of ``size`` nearest its square root, smaller first: 768 -> (24, 32), as published. Raise
    UsageError if the pair is so uneven (a prime, twice a prime) that factorising would save next to nothing."""
    if size < 1:
        raise UsageError(f"{name} {size} is not a size")
    small = next(n for n in range(math.isqrt(size), 0, -1) if size % n == 0)
    if small == 1 or size // small > MAX_SPLIT_RATIO * small:
        raise UsageError(
            f"{name} {size} has no useful split into two modes (the most even is {small} x {size // small}); "
            "use --adapter_projection_type matrix, or a size that splits evenly"
        )
    return small, size // small
