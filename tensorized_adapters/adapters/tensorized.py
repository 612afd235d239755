"""The two residual adapters of the paper ("Tensorized Adapters", 2022): bottleneck and one matrix."""

import math

import torch
from torch import Tensor

from ..config import AdapterConfig
from ..tensors.formats import _ThinPair, new_weight, pair_is_cheaper, project
from ..tensors.initialization import ONE_MATRIX_GAIN, calibrated_start_, published_start_
from ..tensors.shapes import weight_shapes
from .base import Adapter, add_projection
from .dropout import can_draw, dropout
from .fused import FusedBottleneck, can_fuse


class BottleneckAdapter(Adapter):
    """h -> h + relu(h D) U with factorised D (hidden x m) and U (m x hidden); no biases, as published."""

    def __init__(self, config: AdapterConfig, hidden_size: int):
        super().__init__()
        self.hidden_size, self.bottleneck, self.init = hidden_size, config.adapter_size, config.adapter_init
        kind, rank = config.adapter_projection_type, config.tensorized_layer_rank
        down, up = weight_shapes(kind, hidden_size, config.adapter_size)
        self.down = new_weight(kind, *down, rank)
        self.up = new_weight(kind, *up, rank)
        self.reset_parameters()

    def weights(self) -> list[_ThinPair]:
        return [self.down, self.up]

    def reset_parameters(self) -> None:
        """Calibrated: the identity, bit for bit, as U's last factor is zero. Published: all factors uniform."""
        if self.init == "published":
            published_start_(self.down)
            published_start_(self.up)
        else:
            calibrated_start_(self.down, std=1 / math.sqrt(self.hidden_size))
            calibrated_start_(self.up, std=1 / math.sqrt(self.bottleneck), last_factor_gain=0.0)

    def forward(self, hidden: Tensor, p: float = 0.0) -> Tensor:
        """hidden: (..., hidden_size), after dropout with probability ``p``; returns the same shape."""
        down, up = self.down.thin_pair(), self.up.thin_pair()
        if can_fuse(hidden) and (not p or can_draw(p)) and pair_is_cheaper(*down) and pair_is_cheaper(*up):
            return FusedBottleneck.apply(hidden, *down, *up, p)
        hidden = dropout(hidden, p) if p else hidden
        return add_projection(hidden, torch.relu(project(hidden, down)), up)


class OneMatrixAdapter(Adapter):
    """h -> h + relu(h W) with a factorised square W (hidden x hidden), applied from the right as published."""

    def __init__(self, config: AdapterConfig, hidden_size: int):
        super().__init__()
        self.hidden_size, self.init = hidden_size, config.adapter_init
        kind, rank = config.adapter_projection_type, config.tensorized_layer_rank
        (square,) = weight_shapes(kind, hidden_size, bottleneck=None)
        self.weight = new_weight(kind, *square, rank)
        self.reset_parameters()

    def weights(self) -> list[_ThinPair]:
        return [self.weight]

    def reset_parameters(self) -> None:
        if self.init == "published":
            published_start_(self.weight)
        else:  # the ReLU passes half of the energy, hence sqrt(2)
            calibrated_start_(self.weight, 1 / math.sqrt(self.hidden_size), math.sqrt(2) * ONE_MATRIX_GAIN)

    def forward(self, hidden: Tensor) -> Tensor:
        """hidden: (..., hidden_size); returns the same shape."""
        return hidden + torch.relu(project(hidden, self.weight.thin_pair()))


def new_adapter(config: AdapterConfig, hidden_size: int) -> Adapter:
    """The tensorized adapter that ``config`` describes, for one site of a model of the given hidden size."""
    kind = BottleneckAdapter if config.if_adapter_like else OneMatrixAdapter
    return kind(config, hidden_size)
