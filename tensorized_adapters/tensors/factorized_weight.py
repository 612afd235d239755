"""A weight matrix in factorised form, and products with it. All formats share this code.

A weight matrix (in x out) is seen as a tensor (:class:`Matricization`): W = gain x product(factors). The gain is one
fixed number (initialization.py). Cut between its leading and trailing modes, every format is exactly a product of two
matrices, T = A B with A (leading x k) and B (k x trailing). Where that is also the cut between input and output, a
projection is ``(x @ A) @ B``, and W need not be assembled.
"""

from collections.abc import Sequence
from functools import reduce
from typing import Any, Optional, Union

import tensorly
import torch
from torch import Tensor

from .shapes import Matricization


class FactorizedWeight:
    """The matrix view of a factorised tensor. It is a mixin for tltorch's classes."""

    shape: tuple[int, ...]
    view: Matricization
    bond: int  # the rank, the same for every mode and bond
    gain: float = 1.0

    def __init_subclass__(cls, name: Optional[str] = None, **kwargs):
        if name is not None:  # tltorch registers the name; subclasses made by torch.export have none
            super().__init_subclass__(name=name, **kwargs)

    @staticmethod
    def ranks(order: int, rank: int):
        """Return the rank in the form that tltorch's ``new`` takes."""
        return rank

    @staticmethod
    def usable_rank(shape: Sequence[int]) -> Optional[int]:
        """Return the rank beyond which the format gains nothing, or None if only storage sets a bound."""
        return None

    @staticmethod
    def parameter_count(shape: Sequence[int], rank: int) -> int:
        """Return how many numbers the format stores for a tensor of this shape."""
        raise NotImplementedError

    @property
    def terms(self) -> int:
        """Return how many products of factor entries are summed in one entry of the tensor."""
        raise NotImplementedError

    @staticmethod
    def low_rank_pair(parts: list[Tensor], cut: int) -> tuple[Tensor, Tensor]:
        """Return A (prod(shape[:cut]) x k) and B (k x prod(shape[cut:])); A B is the tensor without the gain.

        Args:
            parts: the factors in the order of ``parameters()``; batch dimensions may lead.
            cut: the number of modes on the left.
        """
        raise NotImplementedError

    def parts(self) -> list[Tensor]:
        """Return the factors, in the order of ``parameters()``."""
        return list(self.parameters())

    def matrices(self, parts: Optional[list[Tensor]] = None) -> tuple[Tensor, ...]:
        """Return one or two matrices whose product is W (in x out), whichever takes fewer multiply-adds.

        Args:
            parts: factors to use instead of the weight's own, by default of one site. Those of several weights can be
                stacked along a leading dimension, which the matrices then have too. It has size 1 if all factors of a
                matrix have size 1 there.
        """
        parts = self.parts() if parts is None else parts
        with torch.autocast(parts[0].device.type, enabled=False):  # small products, in the factors' own precision
            a, b = self.low_rank_pair(parts, self.view.cut)
            a, b = (self.gain * a, b) if a.numel() < b.numel() else (a, self.gain * b)
            if self.view.interleaved:
                product = a @ b
                return (self.view.matrix_of(product, product.shape[:-2]),)
            return (a, b) if pair_is_cheaper(a, b) else (a @ b,)

    def matrix(self) -> Tensor:
        """Return the assembled weight (in x out)."""
        return reduce(torch.matmul, self.matrices())

    def to_tensor(self) -> Tensor:
        """Return the tensor of shape ``shape`` as tltorch assembles it, independent of :meth:`low_rank_pair`."""
        with tensorly.backend_context("pytorch", local_threadsafe=True):
            return self.gain * super().to_tensor()

    def __getitem__(self, indices: Any) -> Union[Tensor, "FactorizedWeight"]:
        """Return entries of :meth:`to_tensor`: a number, or a factorised tensor with the same gain."""
        with tensorly.backend_context("pytorch", local_threadsafe=True):
            part = super().__getitem__(indices)
        if isinstance(part, Tensor):
            return self.gain * part
        part.gain = self.gain
        return part

    def init_from_tensor(self, tensor: Tensor, **kwargs: Any) -> "FactorizedWeight":
        """Make this the decomposition of a tensor; ``kwargs`` are those of tltorch's class."""
        with tensorly.backend_context("pytorch", local_threadsafe=True):
            return super().init_from_tensor(tensor / self.gain, **kwargs)


def project(x: Tensor, matrices: Sequence[Tensor]) -> Tensor:
    """Return ``x @ W`` for x (..., in) and the one or two matrices whose product is W (in x out)."""
    for matrix in matrices[:-1]:
        x = times(x, matrix)
    return x @ matrices[-1] if len(matrices) > 1 else times(x, matrices[0])


def pair_is_cheaper(a: Tensor, b: Tensor) -> bool:
    """Return whether k (in + out) < in * out, so that two thin products beat one with the assembled matrix."""
    n_in, k, n_out = *a.shape[-2:], b.shape[-1]
    return k * (n_in + n_out) < n_in * n_out


def times(x: Tensor, a: Tensor) -> Tensor:
    """Return ``x @ a`` for an ``a`` of few columns, which must be column-major. Then forward and backward read x along
    its rows. On CPU that is three to four times faster than ``@`` with a row-major ``a``."""
    return torch.nn.functional.linear(x, a.mT.contiguous())
