"""Decomposes a matrix into the factors of a format by tensorly, in the order and at the scale of our weights.

CP is fitted by alternating least squares, Tucker by higher-order orthogonal iteration, and a train by truncated SVDs
(Kolda & Bader, 2009; Oseledets, 2011). A ring is fitted by alternating least squares (Zhao et al., 2016) or taken from
the train of the same rank, whichever is nearer.
"""

import math
import warnings
from collections.abc import Callable

import tensorly
import torch
from tensorly.decomposition import parafac, tensor_ring_als, tensor_train, tucker
from torch import Tensor

from .factorized_weight import FactorizedWeight
from .formats import CP, TR, TT, Tucker

_RIDGE = 1e-9  # the L2 penalty of a singular system, for a tensor of norm 1
_SEED = 0  # of the decompositions' random starts
_SWEEPS, _SWEEPS_OF_RINGS = 50, 20  # a ring of rank r takes r^6 multiply-adds a sweep


@torch.no_grad()
def decompose_(weight: FactorizedWeight, matrix: Tensor) -> float:
    """Make the factors of ``weight`` those of the nearest weight to a matrix that the decomposition finds.

    The factors get one common size, as at their start (initialization.py), so that all train at the same pace.

    Args:
        weight: of one site, with separate modes, its gain, and a rank that the format can use.
        matrix: (in x out), finite.

    Returns:
        |W - matrix| / |matrix| in the Frobenius norm; 0 for a matrix of zeros, whose weight keeps its other factors.
    """
    parameters, norm = list(weight.parameters()), matrix.double().norm().item()
    if norm == 0:
        parameters[-1].zero_()
        return 0.0
    tensor = matrix.double().reshape(weight.view.shape) / norm
    with tensorly.backend_context("pytorch", local_threadsafe=True), warnings.catch_warnings():
        # For CP above a mode's size, where the rest is drawn
        warnings.filterwarnings("ignore", "Trying to compute SVD")
        kind = next(kind for kind in _DECOMPOSITIONS if isinstance(weight, kind))
        parts = _DECOMPOSITIONS[kind](tensor, weight.bond)
    sizes = [part.square().mean().sqrt().item() for part in parts]
    common = (math.prod(sizes) * norm / weight.gain) ** (1 / len(parts))
    for parameter, part, size in zip(parameters, parts, sizes):
        parameter.copy_(part * (common / size))
    return (weight.matrix().double() - matrix.double()).norm().item() / norm


def _cp(tensor: Tensor, rank: int) -> list[Tensor]:
    options = {"init": "svd", "n_iter_max": _SWEEPS, "random_state": _SEED}
    try:
        weights, factors = parafac(tensor, rank, **options)
    except torch.linalg.LinAlgError:  # a component became zero, as for a tensor with one entry
        weights, factors = parafac(tensor, rank, l2_reg=_RIDGE, **options)
    norms = [factor.norm(dim=0).clamp_min(1e-30) for factor in factors]
    share = (weights * math.prod(norms)) ** (1 / (len(factors) + 1))  # of each component's size, for every factor
    return [share, *(factor / norm * share for factor, norm in zip(factors, norms))]


def _tucker(tensor: Tensor, rank: int) -> list[Tensor]:
    core, factors = tucker(tensor, [rank] * tensor.ndim, n_iter_max=_SWEEPS, random_state=_SEED)
    return [core, *factors]


def _train(tensor: Tensor, rank: int) -> list[Tensor]:
    return list(tensor_train(tensor, [1, *[rank] * (tensor.ndim - 1), 1]))


def _ring(tensor: Tensor, rank: int) -> list[Tensor]:
    ring = list(tensor_ring_als(tensor, rank, n_iter_max=_SWEEPS_OF_RINGS, random_state=_SEED))
    cores = _train(tensor, min(rank, TT.usable_rank(tensor.shape)))
    # Zeros on each side make a train's core a ring's. pad takes the last dimension first.
    train = [torch.nn.functional.pad(c, (0, rank - c.shape[2], 0, 0, 0, rank - c.shape[0])) for c in cores]
    return min(ring, train, key=lambda cores: (tensorly.tr_to_tensor(cores) - tensor).norm().item())


_DECOMPOSITIONS: dict[type[FactorizedWeight], Callable[[Tensor, int], list[Tensor]]] = {
    CP: _cp,
    Tucker: _tucker,
    TR: _ring,
    TT: _train,  # and a low-rank matrix
}
