"""The two residual adapters of the paper ("Tensorized Adapters", 2022): bottleneck and one matrix."""

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from ..config import AdapterConfig
from ..tensors.formats import FactorizedWeight, SiteWeight, new_weight, project
from ..tensors.initialization import ONE_MATRIX_GAIN, calibrated_start_, published_start_
from ..tensors.shapes import Matricization, matricizations
from .base import Adapter
from .fast import Weight, bottleneck, matrices_of


class BottleneckAdapter(Adapter):
    """h -> h + relu(h D) U with factorised D (hidden x m) and U (m x hidden); no biases, as published."""

    def __init__(self, down: Weight, up: Weight):
        super().__init__()
        self.down, self.up = down, up

    def forward(self, hidden: Tensor) -> Tensor:
        return bottleneck(hidden, matrices_of(self.down), matrices_of(self.up))


class OneMatrixAdapter(Adapter):
    """h -> h + relu(h W) with a factorised square W (hidden x hidden), applied from the right as published."""

    def __init__(self, weight: Weight):
        super().__init__()
        self.weight = weight

    def forward(self, hidden: Tensor) -> Tensor:
        return hidden + torch.relu(project(hidden, matrices_of(self.weight)))


def views_of(config: AdapterConfig, hidden_size: int, sites: int) -> list[Matricization]:
    """How the weights of an adapter are seen as tensors, or with ``--tensor_scope model`` those of all ``sites``.

    Raises:
        UsageError: for a size without a useful split.
    """
    interleaved = config.tensor_split == "interleaved"
    together = sites if config.tensor_scope == "model" else None
    return matricizations(config.adapter_projection_type, hidden_size, config.bottleneck, interleaved, together)


def new_adapters(config: AdapterConfig, hidden_size: int, sites: int = 1) -> Iterator[Adapter]:
    """The tensorized adapters that ``config`` describes, one after the other, for a model of the given hidden size."""
    kind = BottleneckAdapter if config.if_adapter_like else OneMatrixAdapter
    views = views_of(config, hidden_size, sites)
    joint = _new_weights(config, views) if config.tensor_scope == "model" else None
    for site in range(sites):
        yield kind(*([SiteWeight(weight, site) for weight in joint] if joint else _new_weights(config, views)))


def _new_weights(config: AdapterConfig, views: list[Matricization]) -> list[FactorizedWeight]:
    """[down, up] or the one square weight, at their start.

    Calibrated: a bottleneck is the identity, bit for bit, as U's last factor is zero; a square matrix next to it (the
    ReLU passes half of the energy, hence sqrt(2)). Published: all factors uniform.
    """
    lasts = (1.0, 0.0) if config.if_adapter_like else (math.sqrt(2) * ONE_MATRIX_GAIN,)
    weights = []
    for view, last_factor in zip(views, lasts):
        weight = new_weight(config.adapter_projection_type, view, config.tensorized_layer_rank)
        if config.calibrated:
            calibrated_start_(weight, 1 / math.sqrt(view.in_features), last_factor)
        else:
            published_start_(weight)
        weights.append(weight)
    return weights
