"""The dense bottleneck adapter: Houlsby et al., "Parameter-Efficient Transfer Learning for NLP" (2019)."""

import math

import torch
from torch import Tensor, nn

from ..config import AdapterConfig
from .base import Adapter


class DenseAdapter(Adapter):
    """h -> h + relu(h D + b) U + c with dense D (hidden x m) and U (m x hidden), and biases.

    Sites, nonlinearity and start are those of the tensorized adapters, so that only the projections differ.
    """

    def __init__(self, config: AdapterConfig, hidden_size: int):
        super().__init__()
        self.down = nn.Linear(hidden_size, config.adapter_size)
        self.up = nn.Linear(config.adapter_size, hidden_size)
        with torch.no_grad():  # the identity, bit for bit: D has the standard deviation 1/sqrt(hidden), the rest is 0
            weight = self.down.weight.normal_()
            weight.mul_(1 / (math.sqrt(hidden_size) * weight.std(correction=0)))
            for parameter in (self.down.bias, self.up.weight, self.up.bias):
                parameter.zero_()

    def beside(self, x: Tensor, output: Tensor) -> Tensor:
        return output + self.up(torch.relu(self.down(x)))

    def dense_weights(self) -> dict[str, Tensor]:
        return dict(self.named_parameters())
