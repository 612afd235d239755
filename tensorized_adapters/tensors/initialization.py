"""How factorised weights start, and the learning rate of each factor that follows from it."""

import math

import torch

from .formats import _ThinPair

PUBLISHED_BOUND = 0.1
# |relu(h W)| / |h| of a one-matrix adapter at its start: small enough to change no logit by more than 1e-3, and not
# zero, for behind the ReLU a zero weight never gets a gradient.
ONE_MATRIX_GAIN = 1e-4


@torch.no_grad()
def published_start_(weight: _ThinPair) -> None:
    """Every factor uniform in (-0.1, 0.1), as the published code draws them; one learning rate for all."""
    for parameter in weight.parameters():
        parameter.uniform_(-PUBLISHED_BOUND, PUBLISHED_BOUND)
    weight.learning_rate_scales = None


@torch.no_grad()
def calibrated_start_(weight: _ThinPair, std: float, last_factor_gain: float = 1.0) -> None:
    """Normal factors, rescaled so that the assembled weight has exactly the standard deviation ``std``.

    Afterwards the last factor is multiplied by ``last_factor_gain``: 0 for an up weight, which makes the adapter the
    identity; tiny for the one-matrix mode. Also sets ``weight.learning_rate_scales``, one number per parameter: with
    it Adam's step moves the assembled weight as it would move a dense layer's. A step of relative size e in each of n
    factors changes W by about n e, so a factor with standard deviation s_i gets s_i / (n s_W); the last factor, where
    it is scaled down, has no size to be relative to: a step d in it moves W = A F by sqrt(k) std(A) d.

    Args:
        weight: an uninitialised factorised weight.
        std: standard deviation of the assembled weight (before ``last_factor_gain``).
        last_factor_gain: what the last factor is multiplied by in the end.
    """
    parameters = list(weight.parameters())
    for name, parameter in weight.named_parameters():
        parameter.fill_(1.0) if name == "weights" else parameter.normal_()  # CP's weights: neutral, not random
    measured = weight.matrix().double().std(correction=0).item()
    for parameter in parameters:
        parameter.mul_((std / measured) ** (1 / len(parameters)))

    # Root mean square, which is the standard deviation of the factors (zero mean) and also serves CP's weights.
    scales = [p.double().square().mean().sqrt().item() / (len(parameters) * std) for p in parameters]
    if last_factor_gain != 1.0:
        before, _ = weight.thin_pair(cut=weight.order - 1)  # W = before @ (the last factor)
        scales[-1] = 1 / (math.sqrt(before.shape[1]) * before.double().std(correction=0).item())
        parameters[-1].mul_(last_factor_gain)
    # Four digits, since they are also kept in adapter_config.json: a resumed run must use the very same numbers.
    weight.learning_rate_scales = [float(f"{scale:.4g}") for scale in scales]
