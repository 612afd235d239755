"""Compacter: Mahabadi et al., "Compacter: Efficient Low-Rank Hypercomplex Adapter Layers" (2021), equations 2 to 5.

A weight is a sum of n Kronecker products, W = gain sum_i A_i kron (s_i t_i^T). All weights of all adapters share the
"slow" matrices A_i (n x n); each weight has its own "fast" rank-1 matrices s_i t_i^T.
"""

import math
from typing import Optional

import torch
from torch import Tensor, nn

from ..config import AdapterConfig
from ..tensors.factorized_weight import FactorizedWeight, project
from ..tensors.initialization import gain_of
from ..tensors.shapes import Matricization
from .base import Adapter
from .fast import add_projection, matrices_of

FACTORS = 3  # A, s and t


class PHMWeight(nn.Module, FactorizedWeight):
    """A parametrised hypercomplex multiplication (in x out).

    Parameters: ``rule`` (n, n, n), the A_i; ``left`` (n, in/n), the s_i; ``right`` (n, out/n), the t_i.
    """

    def __init__(self, n_in: int, n_out: int, rule: nn.Parameter):
        super().__init__()
        n = rule.shape[0]
        self.shape, self.view = (n_in, n_out), Matricization((n_in,), (n_out,))
        self.rule = rule
        self.left = nn.Parameter(torch.empty(n, n_in // n))
        self.right = nn.Parameter(torch.empty(n, n_out // n))

    @staticmethod
    def low_rank_pair(parts: list[Tensor], cut: int) -> tuple[Tensor, Tensor]:
        """Return (in x n^2) and (n^2 x out), since A kron s t^T = (I kron s)(A kron t^T)."""
        rule, left, right = parts
        n = rule.shape[-1]
        identity = torch.eye(n, dtype=left.dtype, device=left.device)
        a = torch.einsum("ab,...ip->...apib", identity, left).flatten(-4, -3).flatten(-2)
        b = torch.einsum("...ibc,...iq->...ibcq", rule, right).flatten(-4, -3).flatten(-2)
        return a, b

    def to_tensor(self) -> Tensor:
        return self.gain * sum(torch.kron(a, torch.outer(s, t)) for a, s, t in zip(self.rule, self.left, self.right))


class CompacterAdapter(Adapter):
    """h -> h + relu(h D + b) U + c with PHM weights D (hidden x m) and U (m x hidden), and biases.

    ``rule`` is the first adapter's, or None for that one itself. Nonlinearity and start are the tensorized adapters'.
    """

    is_bottleneck = True

    def __init__(self, config: AdapterConfig, hidden_size: int, rule: Optional[nn.Parameter] = None):
        super().__init__()
        n, m = config.phm_dim, config.adapter_size
        rule_std = FACTORS / math.sqrt(min(hidden_size, m))  # both weights train the rule: the smaller of two rates
        if rule is None:
            rule = nn.Parameter(torch.randn(n, n, n) * rule_std)
        self.rule = rule
        self.down = PHMWeight(hidden_size, m, self.rule)
        self.up = PHMWeight(m, hidden_size, self.rule)
        self.down_bias = nn.Parameter(torch.zeros(m))
        self.up_bias = nn.Parameter(torch.zeros(hidden_size))
        # Starts as the identity, bit for bit: D has a dense layer's standard deviation, U's t_i are zero.
        for weight in (self.down, self.up):
            _calibrated_start_(weight, rule_std)
        nn.init.zeros_(self.up.right)
        self.up.gain *= FACTORS

    def beside(self, x: Tensor, output: Tensor) -> Tensor:
        inner = torch.relu(project(x, matrices_of(self.down)) + self.down_bias)
        return add_projection(output + self.up_bias, inner, matrices_of(self.up))

    def dense_weights(self) -> dict[str, Tensor]:
        weights = {"down.weight": self.down.matrix().mT, "up.weight": self.up.matrix().mT}
        return weights | {"down.bias": self.down_bias, "up.bias": self.up_bias}


@torch.no_grad()
def _calibrated_start_(weight: PHMWeight, rule_std: float) -> None:
    """Draw normal fast factors, and set the gain so that W has exactly a dense layer's standard deviation. Unlike in
    initialization.py, the rule is not rescaled, since other weights share it."""
    std = 1 / math.sqrt(weight.view.in_features)
    for parameter in (weight.left, weight.right):
        parameter.normal_(std=FACTORS * std)
    weight.gain = gain_of(FACTORS, len(weight.rule), std) * FACTORS * std / rule_std
    measured = weight.matrix().double().std(correction=0).item()
    for parameter in (weight.left, weight.right):
        parameter.mul_(math.sqrt(std / measured))
