"""CP, Tucker, Tensor-Train, Tensor-Ring and low-rank matrices. Each class has its storage, its size, and the two
matrices whose product it is. factorized_weight.py has the common code.

Storage is tltorch's (Kossaifi et al.); the formats are those of Kolda & Bader, "Tensor Decompositions and
Applications" (2009), Oseledets, "Tensor-Train Decomposition" (2011), Zhao et al., "Tensor Ring Decomposition" (2016).
"""

import math
from collections.abc import Sequence
from functools import reduce
from itertools import zip_longest
from typing import Any, Optional, Union

import tensorly
import torch
from tensorly.decomposition import tensor_ring_als
from torch import Tensor, nn

from .factorized_weight import FactorizedWeight
from .shapes import Matricization
from .tltorch_import import import_tltorch

_tltorch = import_tltorch()
CPTensor, FactorizedTensor = _tltorch.CPTensor, _tltorch.FactorizedTensor
TTTensor, TuckerTensor = _tltorch.TTTensor, _tltorch.TuckerTensor
FactorList = _tltorch.utils.FactorList


def _khatri_rao(factors: list[Tensor]) -> Tensor:
    """Return the column-wise Kronecker product of (n_i x r) factors: (prod n_i x r), the first index slowest."""
    return reduce(lambda left, right: (left.unsqueeze(-2) * right.unsqueeze(-3)).flatten(-3, -2), factors)


def _kronecker(factors: list[Tensor]) -> Tensor:
    """Return the Kronecker product of (n_i x r_i) factors: (prod n_i x prod r_i), the first indices slowest."""

    def product(left: Tensor, right: Tensor) -> Tensor:
        both = left.unsqueeze(-2).unsqueeze(-1) * right.unsqueeze(-3).unsqueeze(-2)  # i, j, a, b
        return both.flatten(-4, -3).flatten(-2, -1)

    return reduce(product, factors)


def _chain(cores: list[Tensor]) -> Tensor:
    """Contract neighbouring (r_i, n_i, r_i+1) cores: (r_0, prod n_i, r_last)."""
    return reduce(lambda left, right: torch.einsum("...aib,...bjc->...aijc", left, right).flatten(-3, -2), cores)


class CP(FactorizedWeight, CPTensor, name="tensorized_adapters_cp"):
    """T[i, j, ...] = sum_r w_r U1[i, r] U2[j, r] ..., the weights w trained like every factor; k = rank.

    Factors: ``weights`` (rank), ``factors.factor_n`` (n_i x rank).
    """

    @staticmethod
    def parameter_count(shape: Sequence[int], rank: int) -> int:
        return rank * (1 + sum(shape))

    @property
    def terms(self) -> int:
        return self.bond

    @staticmethod
    def low_rank_pair(parts: list[Tensor], cut: int) -> tuple[Tensor, Tensor]:
        weights, *factors = parts
        return _khatri_rao(factors[:cut]) * weights.unsqueeze(-2), _khatri_rao(factors[cut:]).mT


class Tucker(FactorizedWeight, TuckerTensor, name="tensorized_adapters_tucker"):
    """T = G x1 U1 x2 U2 ...; k is the product of the ranks on the side where it is smaller.

    Factors: ``core`` (rank x rank x ...), ``factors.factor_n`` (n_i x rank).
    """

    @staticmethod
    def ranks(order: int, rank: int):
        return (rank,) * order

    @staticmethod
    def usable_rank(shape: Sequence[int]) -> Optional[int]:
        return min(shape)

    @staticmethod
    def parameter_count(shape: Sequence[int], rank: int) -> int:
        return rank ** len(shape) + rank * sum(shape)

    @property
    def terms(self) -> int:
        return self.bond ** len(self.shape)

    @staticmethod
    def low_rank_pair(parts: list[Tensor], cut: int) -> tuple[Tensor, Tensor]:
        core, *factors = parts
        left, right = _kronecker(factors[:cut]), _kronecker(factors[cut:]).mT
        core = core.reshape(*left.shape[:-2], left.shape[-1], right.shape[-2])
        # The core joins the side with more ranks, so that the dimension in between is the smaller one.
        return (left @ core, right) if core.shape[-2] >= core.shape[-1] else (left, core @ right)


class TT(FactorizedWeight, TTTensor, name="tensorized_adapters_tt"):
    """T[i, j, ...] = G1[i] G2[j] ... with bonds (1, rank, ..., rank, 1); k is the bond at the cut.

    Factors: ``factors.factor_n`` (bond x n_i x bond).
    """

    @staticmethod
    def ranks(order: int, rank: int):
        return (1, *(rank,) * (order - 1), 1)

    @staticmethod
    def usable_rank(shape: Sequence[int]) -> Optional[int]:
        return min(min(math.prod(shape[:i]), math.prod(shape[i:])) for i in range(1, len(shape)))

    @staticmethod
    def parameter_count(shape: Sequence[int], rank: int) -> int:
        bonds = TT.ranks(len(shape), rank)
        return sum(left * n * right for left, n, right in zip(bonds, shape, bonds[1:]))

    @property
    def terms(self) -> int:
        return self.bond ** (len(self.shape) - 1)

    @staticmethod
    def low_rank_pair(parts: list[Tensor], cut: int) -> tuple[Tensor, Tensor]:
        return _chain(parts[:cut]).squeeze(-3), _chain(parts[cut:]).squeeze(-1)


class RingTensor(FactorizedTensor, name="tensorized_adapters_ring"):
    """A ring with the interface of tltorch's classes, as tltorch has none. Its cores are (r_i, n_i, r_i+1)."""

    def __init__(self, factors, shape=None, rank=None):
        super().__init__()
        self.factors = FactorList(factors)
        self.shape = shape or tuple(core.shape[1] for core in factors)
        self.rank = rank or tuple(core.shape[0] for core in factors)
        self.order = len(self.shape)

    @classmethod
    def new(cls, shape, rank, device=None, dtype=None, **kwargs):
        if not isinstance(rank, int):  # "same", a share of the tensor's size, or tensorly's tuple
            with tensorly.backend_context("pytorch", local_threadsafe=True):
                ranks = tensorly.tr_tensor.validate_tr_rank(shape, rank)
        else:
            ranks = (rank,) * (len(shape) + 1)
        sizes = zip(ranks, shape, ranks[1:])
        return cls([nn.Parameter(torch.empty(size, device=device, dtype=dtype)) for size in sizes])

    @classmethod
    def from_tensor(cls, tensor, rank="same", **kwargs):
        return cls.new(tensor.shape, rank, device=tensor.device, dtype=tensor.dtype).init_from_tensor(tensor, **kwargs)

    @property
    def decomposition(self):
        return self.factors

    def to_tensor(self) -> Tensor:
        if self.order == 1:  # as after indexing; tensorly needs two cores
            return torch.einsum("aia->i", self.factors[0])
        return tensorly.tr_to_tensor([*self.factors])

    def __getitem__(self, indices: Any) -> Union[Tensor, "RingTensor"]:
        indices = indices if isinstance(indices, tuple) else (indices,)
        if len(indices) > self.order:
            raise IndexError(f"{len(indices)} indices for a tensor of order {self.order}")
        cores, pending = [], None  # the product of the matrices that integers pick, until a core takes it
        for core, index in zip_longest(self.factors, indices, fillvalue=slice(None)):
            if index is Ellipsis:
                raise ValueError(f"Ellipsis is not yet supported, yet got indices={indices} which contains one.")
            core = core[:, index]
            if pending is not None:
                core = torch.tensordot(pending, core, 1)
            pending = core if core.ndim == 2 else None
            if pending is None:
                cores.append(core)
        if not cores:
            return pending.trace()
        if pending is not None:
            cores[-1] = torch.tensordot(cores[-1], pending, 1)
        return self.__class__(cores)

    def init_from_tensor(self, tensor: Tensor, **kwargs: Any) -> "RingTensor":
        with torch.no_grad():
            cores = tensor_ring_als(tensor, [*self.rank, self.rank[0]], **{"random_state": 0} | kwargs)
        self.factors = FactorList([nn.Parameter(core.contiguous()) for core in cores])
        return self


class TR(FactorizedWeight, RingTensor, name="tensorized_adapters_tr"):
    """T[i, j, ...] = trace(G1[i] G2[j] ...) with every bond ``rank``; k = rank^2.

    Factors: ``factors.factor_n`` (rank x n_i x rank).
    """

    @staticmethod
    def parameter_count(shape: Sequence[int], rank: int) -> int:
        return rank**2 * sum(shape)

    @property
    def terms(self) -> int:
        return self.bond ** len(self.shape)

    @staticmethod
    def low_rank_pair(parts: list[Tensor], cut: int) -> tuple[Tensor, Tensor]:
        left, right = _chain(parts[:cut]), _chain(parts[cut:])  # (r0, in, rc), (rc, out, r0)
        return left.transpose(-3, -2).flatten(-2), right.movedim(-1, -3).flatten(-3, -2)

    def normal_(self, mean: float = 0, std: float = 1) -> "TR":
        """Draw the cores so that the tensor has this standard deviation; raise ValueError for another mean than 0."""
        super().normal_(mean, std)
        each = (std / self.gain / math.sqrt(math.prod(self.rank))) ** (1 / self.order)
        with torch.no_grad():
            for core in self.factors:
                core.normal_(0, each)
        return self


class LowRankMatrix(TT, name="tensorized_adapters_matrix"):
    """The order-2 case: one bond between an (in x rank) and a (rank x out) factor."""


FORMATS: dict[str, type[FactorizedWeight]] = {"cp": CP, "tucker": Tucker, "tt": TT, "tr": TR, "matrix": LowRankMatrix}


def new_weight(projection_type: str, view: Matricization, rank: int) -> FactorizedWeight:
    """Return an uninitialised factorised weight of the given format, for a matrix in the shape of ``view``."""
    kind = FORMATS[projection_type]
    weight = kind.new(view.shape, kind.ranks(len(view.shape), rank))
    weight.view, weight.bond = view, rank
    return weight
