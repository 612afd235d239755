"""The two residual adapters of the paper ("Tensorized Adapters", 2022): bottleneck and one matrix."""

import math

import torch
from torch import Tensor

from ..config import AdapterConfig
from ..tensors.formats import new_weight, project
from ..tensors.initialization import ONE_MATRIX_GAIN, calibrated_start_, published_start_
from ..tensors.shapes import Matricization, matricizations
from .base import Adapter
from .fast import bottleneck, matrices_of


def views_of(config: AdapterConfig, hidden_size: int) -> list[Matricization]:
    """How each weight of an adapter is seen as a tensor; raises UsageError for a size without a useful split."""
    interleaved = config.tensor_split == "interleaved"
    return matricizations(config.adapter_projection_type, hidden_size, config.bottleneck, interleaved)


class BottleneckAdapter(Adapter):
    """h -> h + relu(h D) U with factorised D (hidden x m) and U (m x hidden); no biases, as published."""

    def __init__(self, config: AdapterConfig, hidden_size: int):
        super().__init__()
        self.init = config.adapter_init
        self.down, self.up = (
            new_weight(config.adapter_projection_type, view, config.tensorized_layer_rank)
            for view in views_of(config, hidden_size)
        )
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Calibrated: the identity, bit for bit, as U's last factor is zero. Published: all factors uniform."""
        for weight, last_factor in ((self.down, 1.0), (self.up, 0.0)):
            if self.init == "published":
                published_start_(weight)
            else:
                calibrated_start_(weight, 1 / math.sqrt(weight.view.in_features), last_factor)

    def forward(self, hidden: Tensor) -> Tensor:
        return bottleneck(hidden, matrices_of(self.down), matrices_of(self.up))


class OneMatrixAdapter(Adapter):
    """h -> h + relu(h W) with a factorised square W (hidden x hidden), applied from the right as published."""

    def __init__(self, config: AdapterConfig, hidden_size: int):
        super().__init__()
        self.init = config.adapter_init
        (view,) = views_of(config, hidden_size)
        self.weight = new_weight(config.adapter_projection_type, view, config.tensorized_layer_rank)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        if self.init == "published":
            published_start_(self.weight)
        else:  # the ReLU passes half of the energy, hence sqrt(2)
            std = 1 / math.sqrt(self.weight.view.in_features)
            calibrated_start_(self.weight, std, math.sqrt(2) * ONE_MATRIX_GAIN)

    def forward(self, hidden: Tensor) -> Tensor:
        return hidden + torch.relu(project(hidden, matrices_of(self.weight)))


def new_adapter(config: AdapterConfig, hidden_size: int) -> Adapter:
    """The tensorized adapter that ``config`` describes, for one site of a model of the given hidden size."""
    kind = BottleneckAdapter if config.if_adapter_like else OneMatrixAdapter
    return kind(config, hidden_size)
