"""Compacter: Mahabadi et al., "Compacter: Efficient Low-Rank Hypercomplex Adapter Layers" (2021), equations 2 to 5.

A weight is a sum of n Kronecker products, W = sum_i A_i kron (s_i t_i^T): the "slow" A_i (n x n) are one set for all
weights of all adapters, the "fast" rank-1 matrices s_i t_i^T are each weight's own.
"""

import math
from typing import Optional

import torch
from torch import Tensor, nn

from ..config import AdapterConfig
from ..errors import UsageError
from ..tensors.formats import _ThinPair
from .base import Adapter, add_projection


class PHMWeight(nn.Module, _ThinPair):
    """A parametrised hypercomplex multiplication (in x out).

    Parameters: ``rule`` (n, n, n), the A_i; ``left`` (n, in/n), the s_i; ``right`` (n, out/n), the t_i.
    """

    def __init__(self, n_in: int, n_out: int, rule: nn.Parameter):
        super().__init__()
        n = rule.shape[0]
        self.shape, self.cut = (n_in, n_out), 1
        self.rule = rule
        self.left = nn.Parameter(torch.empty(n, n_in // n))
        self.right = nn.Parameter(torch.empty(n, n_out // n))

    @staticmethod
    def pair_of(parts: list[Tensor], cut: int) -> tuple[Tensor, Tensor]:
        """(in x n^2) and (n^2 x out), by (A kron s t^T) = (I kron s)(A kron t^T)."""
        rule, left, right = parts
        n = rule.shape[-1]
        identity = torch.eye(n, dtype=left.dtype, device=left.device)
        a = torch.einsum("ab,...ip->...apib", identity, left).flatten(-4, -3).flatten(-2)
        b = torch.einsum("...ibc,...iq->...ibcq", rule, right).flatten(-4, -3).flatten(-2)
        return a, b


class CompacterAdapter(Adapter):
    """h -> h + relu(h D + b) U + c with PHM weights D (hidden x m) and U (m x hidden), and biases.

    ``rule`` is the first adapter's, or None for that one itself. Nonlinearity and start are the tensorized adapters'.
    """

    def __init__(self, config: AdapterConfig, hidden_size: int, rule: Optional[nn.Parameter] = None):
        super().__init__()
        n, m = config.phm_dim, config.adapter_size
        self.rule = nn.Parameter(torch.randn(n, n, n) / math.sqrt(n)) if rule is None else rule
        self.down = PHMWeight(hidden_size, m, self.rule)
        self.up = PHMWeight(m, hidden_size, self.rule)
        self.down_bias = nn.Parameter(torch.zeros(m))
        self.up_bias = nn.Parameter(torch.zeros(hidden_size))
        self.reset_parameters()

    @staticmethod
    def parameter_count(hidden_size: int, adapter_size: int) -> int:
        """Of one adapter, without the n^3 numbers that all adapters share."""
        return 3 * (hidden_size + adapter_size)

    def weights(self) -> list[_ThinPair]:
        return [self.down, self.up]

    def reset_parameters(self) -> None:
        """D with a dense layer's standard deviation, U's t_i zero: the identity, bit for bit. The rule stays."""
        _calibrated_start_(self.down, std=1 / math.sqrt(self.down.in_features))
        _calibrated_start_(self.up, std=1 / math.sqrt(self.up.in_features))
        # Both weights share the rule: of its two rates the smaller one.
        shared = min(weight.learning_rate_scales[0] for weight in (self.down, self.up))
        self.down.learning_rate_scales[0] = self.up.learning_rate_scales[0] = shared
        with torch.no_grad():
            rms = [p.square().mean().sqrt().item() for p in (self.rule, self.up.left)]
            self.up.right.zero_()
        # A step d in t moves an entry of U by the sum over n products of d with an A and an s.
        scale = 1 / (math.sqrt(len(self.rule)) * rms[0] * rms[1])
        self.up.learning_rate_scales[2] = float(f"{scale:.4g}")

    def forward(self, hidden: Tensor) -> Tensor:
        """hidden: (..., hidden_size); returns the same shape."""
        inner = torch.relu(self.down.project(hidden) + self.down_bias)
        return add_projection(hidden + self.up_bias, inner, self.up.thin_pair())


def check_phm_dim(phm_dim: int, hidden_size: int, adapter_size: int) -> None:
    """Refuse a number of Kronecker products that does not divide both sizes; raises UsageError."""
    for name, size in (("hidden size", hidden_size), ("--adapter_size", adapter_size)):
        if size % phm_dim:
            raise UsageError(f"--phm_dim {phm_dim} does not divide {name} {size}; choose one that does")


@torch.no_grad()
def _calibrated_start_(weight: PHMWeight, std: float) -> None:
    """Normal fast factors, rescaled so that the assembled weight has exactly the standard deviation ``std``.

    Also sets the learning-rate scales, as initialization.calibrated_start_ does for the other formats.
    """
    for parameter in (weight.left, weight.right):
        parameter.normal_()
    measured = weight.matrix().double().std(correction=0).item()
    for parameter in (weight.left, weight.right):
        parameter.mul_(math.sqrt(std / measured))
    scales = [p.double().square().mean().sqrt().item() / (3 * std) for p in weight.parameters()]
    weight.learning_rate_scales = [float(f"{scale:.4g}") for scale in scales]
