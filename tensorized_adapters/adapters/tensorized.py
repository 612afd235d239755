"""The two residual adapters of the paper ("Tensorized Adapters", 2022): bottleneck and one matrix."""

import math
from collections.abc import Iterator

import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from ..config import AdapterConfig
from ..tensors.factorized_weight import FactorizedWeight, project
from ..tensors.formats import new_weight
from ..tensors.initialization import ONE_MATRIX_GAIN, calibrated_start_, published_start_
from ..tensors.shapes import Matricization, balanced_split
from ..tensors.sites import SiteWeight
from .base import Adapter
from .fast import Weight, add_projection, bottleneck, matrices_of


class BottleneckAdapter(Adapter):
    """h -> h + relu(h D) U with factorised D (hidden x m) and U (m x hidden); no biases, as published."""

    is_bottleneck = True

    def __init__(self, down: Weight, up: Weight):
        super().__init__()
        self.down, self.up = down, up

    def forward(self, hidden: Tensor) -> Tensor:
        return bottleneck(hidden, matrices_of(self.down), matrices_of(self.up))

    def beside(self, x: Tensor, output: Tensor) -> Tensor:
        return add_projection(output, torch.relu(project(x, matrices_of(self.down))), matrices_of(self.up))

    def dense_weights(self) -> dict[str, Tensor]:
        down, up = self.down.matrix().mT, self.up.matrix().mT
        biases = {"down.bias": down.new_zeros(len(down)), "up.bias": up.new_zeros(len(up))}
        return {"down.weight": down, "up.weight": up} | biases


class OneMatrixAdapter(Adapter):
    """h -> h + relu(h W) with a factorised square W (hidden x hidden), applied from the right as published."""

    def __init__(self, weight: Weight):
        super().__init__()
        self.weight = weight

    def beside(self, x: Tensor, output: Tensor) -> Tensor:
        return output + torch.relu(project(x, matrices_of(self.weight)))

    def dense_weights(self) -> dict[str, Tensor]:
        return {"weight": self.weight.matrix().mT}


class WeightUpdate(Adapter):
    """x -> x W0 + x W parallel to a frozen linear layer x -> x W0, with a factorised W (in x out).

    LoRA does the same with two matrices; see LoRETTA_rep (arXiv 2402.11417).
    """

    def __init__(self, weight: Weight):
        super().__init__()
        self.weight = weight

    def beside(self, x: Tensor, output: Tensor) -> Tensor:
        return add_projection(output, x, matrices_of(self.weight))

    def delta(self, layer: nn.Linear | Conv1D) -> Tensor:
        """Return the change of the layer's weight, in the weight's shape."""
        matrix = self.weight.matrix()
        return matrix if isinstance(layer, Conv1D) else matrix.mT


def views_of(config: AdapterConfig, hidden_size: int, sites: int) -> list[Matricization]:
    """Return the tensor shapes of an adapter's weights: [down, up], or one square matrix. With ``--tensor_scope
    model`` one tensor holds the weights of all ``sites``. Raise UsageError for a size without a useful split; only the
    bottleneck of separate modes needs none."""
    interleaved = config.tensor_split == "interleaved"
    together = sites if config.tensor_scope == "model" else None
    hidden = (hidden_size,) if config.adapter_projection_type == "matrix" else balanced_split(hidden_size)
    if not config.if_adapter_like:
        return [Matricization(hidden, hidden, interleaved, together)]
    inner = balanced_split(config.adapter_size, "--adapter_size") if interleaved else (config.adapter_size,)
    return [Matricization(hidden, inner, interleaved, together), Matricization(inner, hidden, interleaved, together)]


def new_adapters(config: AdapterConfig, hidden_size: int, sites: int = 1) -> Iterator[Adapter]:
    """Return the tensorized adapters that ``config`` describes, one after the other, for a model's hidden size."""
    cls = BottleneckAdapter if config.if_adapter_like else OneMatrixAdapter
    return adapters_of_views(cls, config, views_of(config, hidden_size, sites), sites)


def update_view(config: AdapterConfig, n_in: int, n_out: int, layers: int) -> Matricization:
    """Return the tensor shape of a linear layer's update, or with ``--tensor_scope model`` of ``layers`` such updates.
    Raise UsageError for a size without a useful split."""
    one_matrix = config.adapter_projection_type == "matrix"
    modes = [(n,) if one_matrix else balanced_split(n, "--lora_targets: a layer's size") for n in (n_in, n_out)]
    return Matricization(
        *modes, config.tensor_split == "interleaved", layers if config.tensor_scope == "model" else None
    )


def adapters_of_views(cls: type, config: AdapterConfig, views: list[Matricization], sites: int) -> Iterator[Adapter]:
    """Return adapters of a class, one for each of the sites, whose weights are seen as ``views``; with
    ``--tensor_scope model`` they share one tensor for each view."""
    joint = _new_weights(cls, config, views) if config.tensor_scope == "model" else None
    for site in range(sites):
        yield cls(*([SiteWeight(weight, site) for weight in joint] if joint else _new_weights(cls, config, views)))


def _new_weights(cls: type, config: AdapterConfig, views: list[Matricization]) -> list[FactorizedWeight]:
    """Return an adapter's initial weights. ``--adapter_scale`` multiplies the gain of the last one.

    Calibrated: the last factor of a bottleneck or an update is zero, so that the adapter starts as the identity, bit
    for bit. A square matrix starts tiny instead (the ReLU passes half of the energy, hence sqrt(2)). Published: all
    factors are uniform.
    """
    lasts = {BottleneckAdapter: (1.0, 0.0), OneMatrixAdapter: (math.sqrt(2) * ONE_MATRIX_GAIN,), WeightUpdate: (0.0,)}
    weights = []
    for view, last_factor in zip(views, lasts[cls]):
        weight = new_weight(config.adapter_projection_type, view, config.tensorized_layer_rank)
        if config.calibrated:
            calibrated_start_(weight, 1 / math.sqrt(view.in_features), last_factor)
        else:
            published_start_(weight)
        weights.append(weight)
    weights[-1].gain *= config.scale
    return weights
