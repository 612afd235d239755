"""How factorised weights start, and the one gain that makes every format train at a dense layer's learning rate.

A weight is W = gain x product(factors). Under Adam a step changes each number of a factor by about the learning rate
lr, whatever the gradient's size. So a factor of standard deviation s changes by lr / s relative to itself, and W by
the sum of that over its n factors. Let s_W be the standard deviation of the dense layer's weight. If every factor is
drawn at n s_W, then W changes by lr / s_W relative to itself, which is lr in each entry, as in a dense layer. The gain
makes up for the factors' size, in a closed form of format, shape and rank:

    std(product of the factors) = sqrt(terms) (n s_W)^n          each entry is a sum of that many products
    gain = s_W / (sqrt(terms) (n s_W)^n)

A last factor that starts at zero has no relative change. A step d in it moves W by gain sqrt(k) std(product of the
others) d, which is d if the gain is n times as large. Adam ignores constant scales of the gradient, so the trajectory
is that of separate learning rates for all factors.

This assumes terms that cancel, as random terms do. But Adam's steps follow one gradient, so the factors' moves add up.
When they are as large as the drawn numbers, W has moved sqrt(terms) times as far as computed. On a constant gradient,
30 steps at twice the default rate moved tr-8 twice, and tr-15 and matrix-16 four times as far as tr-4. In training,
tr-8 (SST-2) and matrix-16 (STS-B as classes) fell back to a constant prediction. With more than COHERENT_TERMS, all
factors are therefore drawn wider (:func:`width`), and the gain is smaller by the same ratio. A step is then a smaller
part of each factor, and W moves about as far as that of tr-4 at any rank.
"""

import math

import torch
from torch import Tensor

from .factorized_weight import FactorizedWeight
from .formats import CP, LowRankMatrix

PUBLISHED_BOUND = 0.1
# |relu(h W)| / |h| of a one-matrix adapter at its start. It changes no logit by more than 1e-3. It is not zero,
# because a zero weight never gets a gradient through the ReLU.
ONE_MATRIX_GAIN = 1e-4
# The number of terms that is harmless, that of tr-4. It is smaller for fewer factors, because each takes a larger
# share of a step. It is 1 for a low-rank matrix, which can follow any gradient because its modes are not split.
COHERENT_TERMS = 64
COHERENT_TERMS_OF_TWO_MODES = 16
COHERENT_TERMS_OF_UNSPLIT_MODES = 1


@torch.no_grad()
def published_start_(weight: FactorizedWeight) -> None:
    """Draw every factor uniformly from (-0.1, 0.1), without a gain, as the published code does."""
    for parameter in weight.parameters():
        parameter.uniform_(-PUBLISHED_BOUND, PUBLISHED_BOUND)
    weight.gain = 1.0


@torch.no_grad()
def calibrated_start_(weight: FactorizedWeight, std: float, last_factor: float = 1.0) -> None:
    """Draw normal factors of standard deviation n ``std``, or wider (:func:`width`). Set the gain so that W has
    standard deviation ``std``.

    A random draw misses ``std`` a little, so all factors are rescaled by a common number.

    Args:
        weight: an uninitialised factorised weight.
        std: s_W, the standard deviation of the assembled weight (before ``last_factor``).
        last_factor: a number by which the last factor is multiplied. It is 0 for an up weight, which makes the adapter
            the identity, and tiny for the one-matrix mode.
    """
    parameters = list(weight.parameters())
    n, factor_std = len(parameters), len(parameters) * std * width(weight)
    of_sites = None if weight.view.sites is None else f"factors.factor_{weight.view.cut}"
    for name, parameter in weight.named_parameters():
        # CP's weights start equal instead of random. So does its factor of sites, so that all sites start equal.
        neutral = isinstance(weight, CP) and name in ("weights", of_sites)
        parameter.fill_(factor_std) if neutral else parameter.normal_(std=factor_std)
    weight.gain = gain_of(n, weight.terms, std) / width(weight) ** n
    if not parameters[0].is_meta:  # otherwise the numbers come from a file
        measured = _assembled(weight).double().std(correction=0).item()
        for parameter in parameters:
            parameter.mul_((std / measured) ** (1 / n))
    if last_factor != 1.0:
        weight.gain *= n
        parameters[-1].mul_(last_factor / n)


def _assembled(weight: FactorizedWeight) -> Tensor:
    """Return all entries of the weight in any order: one matrix, or the matrices of all sites."""
    if weight.view.sites is None:
        return weight.matrix()
    a, b = weight.low_rank_pair(weight.parts(), weight.view.cut)
    return weight.gain * (a @ b)


def gain_of(factors: int, terms: int, std: float) -> float:
    """Return s_W / (sqrt(terms) (n s_W)^n), for n ``factors`` of standard deviation n s_W each."""
    return std / (math.sqrt(terms) * (factors * std) ** factors)


def width(weight: FactorizedWeight) -> float:
    """Return the factor by which each factor of a weight is drawn wider than n s_W: 1, or more if the terms of its sum
    are more than is harmless."""
    harmless = COHERENT_TERMS_OF_TWO_MODES if len(weight.shape) == 2 else COHERENT_TERMS
    if isinstance(weight, LowRankMatrix):
        harmless = COHERENT_TERMS_OF_UNSPLIT_MODES
    excess = max(1.0, math.sqrt(weight.terms / harmless))  # of the factors' product
    return excess ** (1 / len(list(weight.parameters())))
