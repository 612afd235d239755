"""CP, Tucker, Tensor-Train, Tensor-Ring and low-rank matrices: storage, count, start, and the thin pair.

A weight matrix (in x out) is seen as a tensor whose leading modes multiply to ``in`` and whose trailing modes multiply
to ``out``; ``cut`` is the number of leading modes. Across the cut every format is exactly a product of two thin
matrices, W = A B with A (in x k) and B (k x out), so that a projection is ``(x @ A) @ B`` and W is never assembled.

Storage is tltorch's (Kossaifi et al.); the formats are those of Kolda & Bader, "Tensor Decompositions and
Applications" (2009), Oseledets, "Tensor-Train Decomposition" (2011), Zhao et al., "Tensor Ring Decomposition" (2016).
"""

import math
from functools import reduce
from typing import Optional

import tensorly
import torch
from torch import Tensor, nn

_backend = tensorly.get_backend()
from tltorch.factorized_tensors import CPTensor, FactorizedTensor, TTTensor, TuckerTensor  # noqa: E402
from tltorch.utils import FactorList  # noqa: E402

tensorly.set_backend(_backend)  # importing tltorch switches it for the whole process; others must not feel that


class _ThinPair:
    """What the formats share: the matrix view of a factorised tensor. Mixed into tltorch's classes."""

    shape: tuple[int, ...]
    cut: int
    learning_rate_scales: Optional[list[float]] = None  # one per parameter, in their order; None: the plain rate
    merged: Optional[tuple[Tensor, Tensor]] = None  # the pair, while a forward pass has merged all sites' (pairs.py)

    @staticmethod
    def ranks(order: int, rank: int):
        """The rank in the form that ``new`` takes."""
        return rank

    @staticmethod
    def usable_rank(shape: tuple[int, ...]) -> Optional[int]:
        """The rank beyond which the format gains nothing, or None where only storage sets a bound."""
        return None

    @property
    def in_features(self) -> int:
        return math.prod(self.shape[: self.cut])

    @property
    def out_features(self) -> int:
        return math.prod(self.shape[self.cut :])

    def thin_pair(self, cut: Optional[int] = None) -> tuple[Tensor, Tensor]:
        """A (prod(shape[:cut]) x k) and B (k x prod(shape[cut:])) with W = A B; differentiable in every factor."""
        if cut is None and self.merged is not None:
            return self.merged
        return self.pair_of(list(self.parameters()), cut or self.cut)

    @staticmethod
    def pair_of(parts: list[Tensor], cut: int) -> tuple[Tensor, Tensor]:
        """The thin pair of the factors ``parts``, in the order of ``parameters()``; batch dimensions may lead."""
        raise NotImplementedError

    def matrix(self) -> Tensor:
        """The assembled weight (in_features x out_features)."""
        a, b = self.thin_pair()
        return a @ b

    def project(self, x: Tensor) -> Tensor:
        """``x @ W`` for x (..., in_features)."""
        return project(x, self.thin_pair())


def project(x: Tensor, pair: tuple[Tensor, Tensor]) -> Tensor:
    """``x @ A @ B``, by whichever of the pair and its product takes fewer multiply-adds."""
    a, b = pair
    return times(x, a) @ b if pair_is_cheaper(a, b) else times(x, a @ b)


def pair_is_cheaper(a: Tensor, b: Tensor) -> bool:
    """Whether k (in + out) < in * out, so that two thin products beat one with the assembled matrix."""
    (n_in, k), n_out = a.shape, b.shape[1]
    return k * (n_in + n_out) < n_in * n_out


def times(x: Tensor, a: Tensor) -> Tensor:
    """``x @ a`` for an ``a`` of few columns, which must lie behind each other in memory: forward and backward then
    read x along its rows. On CPU that is three to four times faster than ``@`` with a row-major ``a``."""
    return torch.nn.functional.linear(x, a.mT.contiguous())


def _khatri_rao(factors: list[Tensor]) -> Tensor:
    """Column-wise Kronecker product of (n_i x r) factors: (prod n_i x r), the first factor's index slowest."""
    return reduce(lambda left, right: (left.unsqueeze(-2) * right.unsqueeze(-3)).flatten(-3, -2), factors)


def _kronecker(factors: list[Tensor]) -> Tensor:
    """Kronecker product of (n_i x r_i) factors: (prod n_i x prod r_i), the first factor's indices slowest."""

    def product(left: Tensor, right: Tensor) -> Tensor:
        both = left.unsqueeze(-2).unsqueeze(-1) * right.unsqueeze(-3).unsqueeze(-2)  # i, j, a, b
        return both.flatten(-4, -3).flatten(-2, -1)

    return reduce(product, factors)


def _chain(cores: list[Tensor]) -> Tensor:
    """Contract neighbouring (r_i, n_i, r_i+1) cores: (r_0, prod n_i, r_last)."""
    return reduce(lambda left, right: torch.einsum("...aib,...bjc->...aijc", left, right).flatten(-3, -2), cores)


class CP(_ThinPair, CPTensor, name="tensorized_adapters_cp"):
    """W[i..., o...] = sum_r w_r U1[i1, r] ... Un[on, r], the weights w trained like every factor; k = rank."""

    @staticmethod
    def parameter_count(shape: tuple[int, ...], rank: int) -> int:
        return rank * (1 + sum(shape))

    @staticmethod
    def pair_of(parts: list[Tensor], cut: int) -> tuple[Tensor, Tensor]:
        weights, *factors = parts
        return _khatri_rao(factors[:cut]) * weights.unsqueeze(-2), _khatri_rao(factors[cut:]).mT


class Tucker(_ThinPair, TuckerTensor, name="tensorized_adapters_tucker"):
    """W = G x1 U1 x2 U2 ...; k is the product of the ranks on the side where it is smaller."""

    @staticmethod
    def ranks(order: int, rank: int):
        return (rank,) * order

    @staticmethod
    def usable_rank(shape: tuple[int, ...]) -> Optional[int]:
        return min(shape)

    @staticmethod
    def parameter_count(shape: tuple[int, ...], rank: int) -> int:
        return rank ** len(shape) + rank * sum(shape)

    @staticmethod
    def pair_of(parts: list[Tensor], cut: int) -> tuple[Tensor, Tensor]:
        core, *factors = parts
        left, right = _kronecker(factors[:cut]), _kronecker(factors[cut:]).mT
        core = core.reshape(*left.shape[:-2], left.shape[-1], right.shape[-2])
        # The core joins the side with more ranks, so that the dimension in between is the smaller one.
        return (left @ core, right) if core.shape[-2] >= core.shape[-1] else (left, core @ right)


class TT(_ThinPair, TTTensor, name="tensorized_adapters_tt"):
    """W[i..., o...] = G1[i1] G2[i2] ... Gn[on] with bonds (1, rank, ..., rank, 1); k is the bond at the cut."""

    @staticmethod
    def ranks(order: int, rank: int):
        return (1, *(rank,) * (order - 1), 1)

    @staticmethod
    def usable_rank(shape: tuple[int, ...]) -> Optional[int]:
        return min(min(math.prod(shape[:i]), math.prod(shape[i:])) for i in range(1, len(shape)))

    @staticmethod
    def parameter_count(shape: tuple[int, ...], rank: int) -> int:
        bonds = (1, *(rank,) * (len(shape) - 1), 1)
        return sum(left * n * right for left, n, right in zip(bonds, shape, bonds[1:]))

    @staticmethod
    def pair_of(parts: list[Tensor], cut: int) -> tuple[Tensor, Tensor]:
        return _chain(parts[:cut]).squeeze(-3), _chain(parts[cut:]).squeeze(-1)


class TR(_ThinPair, FactorizedTensor, name="tensorized_adapters_tr"):
    """W[i..., o...] = trace(G1[i1] G2[i2] ... Gn[on]) with every bond ``rank``; k = rank^2. tltorch has no ring."""

    def __init__(self, factors, shape=None, rank=None):
        super().__init__()
        self.factors = FactorList(factors)
        self.shape = shape or tuple(core.shape[1] for core in factors)
        self.rank = rank or tuple(core.shape[0] for core in factors)
        self.order = len(self.shape)

    @classmethod
    def new(cls, shape, rank, device=None, dtype=None, **kwargs):
        return cls([nn.Parameter(torch.empty((rank, n, rank), device=device, dtype=dtype)) for n in shape])

    @staticmethod
    def parameter_count(shape: tuple[int, ...], rank: int) -> int:
        return rank**2 * sum(shape)

    @property
    def decomposition(self):
        return self.factors

    def to_tensor(self) -> Tensor:
        return self.matrix().reshape(self.shape)

    @staticmethod
    def pair_of(parts: list[Tensor], cut: int) -> tuple[Tensor, Tensor]:
        left, right = _chain(parts[:cut]), _chain(parts[cut:])  # (r0, in, rc), (rc, out, r0)
        return left.transpose(-3, -2).flatten(-2), right.movedim(-1, -3).flatten(-3, -2)


class LowRankMatrix(TT, name="tensorized_adapters_matrix"):
    """The order-2 case: one bond between an (in x rank) and a (rank x out) factor."""


FORMATS = {"cp": CP, "tucker": Tucker, "tt": TT, "tr": TR, "matrix": LowRankMatrix}


def new_weight(projection_type: str, shape: tuple[int, ...], cut: int, rank: int) -> _ThinPair:
    """An uninitialised factorised weight of the given format."""
    kind = FORMATS[projection_type]
    weight = kind.new(shape, kind.ranks(len(shape), rank))
    weight.cut = cut
    return weight
