"""Tensorized adapters, the paper's method."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from typing import Optional

from torch import Tensor, nn
from transformers import PreTrainedModel

from ..adapters.base import Adapter
from ..adapters.insertion import CHILD
from ..adapters.tensorized import WeightUpdate, adapters_of_views, new_adapters, update_view, views_of
from ..backbone.parts import base_prefix, layer_names, layer_of, site_names, sizes_of, target_names
from ..config import AdapterConfig
from ..errors import UsageError
from ..tensors.formats import FORMATS
from ..tensors.ranks import check_rank, largest_rank
from ..tensors.shapes import Matricization
from .residual import ResidualAdapters


class Tensorized(ResidualAdapters):
    """Trains adapters with factorised weights, or factorised updates of the model's weights; and LayerNorms."""

    name = "tensorized"

    def check(self, model: PreTrainedModel) -> None:
        super().check(model)
        views = [view for view, _ in self.tensors_of(model)]
        check_rank(self.config.adapter_projection_type, self.config.tensorized_layer_rank, views)

    def tensors_of(self, model: PreTrainedModel) -> list[tuple[Matricization, int]]:
        """Return the tensor shapes of the weights, and how many tensors there are of each shape."""
        config = self.config
        if config.adapter_placement == "weights":
            sizes = Counter(sizes_of(model.get_submodule(name)) for name in self.targets(model))
            views = [(update_view(config, *size, count), count) for size, count in sizes.items()]
        else:
            sites = len(site_names(model, config))
            views = [(view, sites) for view in views_of(config, model.config.hidden_size, sites)]
        return [(view, 1 if view.sites else count) for view, count in views]

    def targets(self, model: PreTrainedModel) -> list[str]:
        """Return the linear layers that are updated, in the chosen layers; raise UsageError if there are none."""
        names, layers = target_names(model, self.config), layer_names(model)
        chosen = self.config.layers
        targets = [name for name in names if chosen is None or layer_of(name, layers) in chosen]
        if not targets:
            raise UsageError(
                f"--adapter_layers {self.config.adapter_layers} has none of --lora_targets {self.config.lora_targets}"
                "; leave one of them out"
            )
        return targets

    def sites_and_sources(self, model: PreTrainedModel, head: set[str]) -> tuple[list[str], Optional[list[str]]]:
        """Return the sites and sources. A newly initialised linear layer gets no update, as it is trained in full."""
        if self.config.adapter_placement == "sequential":
            return super().sites_and_sources(model, head)
        if self.config.adapter_placement == "parallel":
            return site_names(model, self.config), site_names(model, self.config, inputs=True)
        layers = [name for name in self.targets(model) if f"{name}.weight" not in head]
        if not layers:
            raise UsageError("--lora_targets: each layer is newly initialised and so trained in full; name others")
        names = [name.removeprefix(base_prefix(model)) for name in layers]
        return names, names

    def new_adapters(self, model: PreTrainedModel, sites: list[str]) -> Iterator[Adapter]:
        config = self.config
        if config.adapter_placement != "weights":
            return new_adapters(config, model.config.hidden_size, len(sites))
        sizes = [sizes_of(model.base_model.get_submodule(name)) for name in sites]
        of_size = {
            size: adapters_of_views(WeightUpdate, config, [update_view(config, *size, count)], count)
            for size, count in Counter(sizes).items()
        }
        return (next(of_size[size]) for size in sizes)

    def added_count(self, model: PreTrainedModel) -> int:
        return _count(self.config.adapter_projection_type, self.config.tensorized_layer_rank, self.tensors_of(model))

    def deltas(self, model: PreTrainedModel) -> Iterator[tuple[nn.Linear, Tensor]]:
        if self.config.adapter_placement != "weights":
            yield from super().deltas(model)
        for module in model.modules():
            if isinstance(update := getattr(module, CHILD, None), WeightUpdate):
                yield module, update.delta(module)


def _count(projection_type: str, rank: int, tensors: list[tuple[Matricization, int]]) -> int:
    kind = FORMATS[projection_type]
    return sum(count * kind.parameter_count(view.shape, rank) for view, count in tensors)


def rank_within(config: AdapterConfig, model: PreTrainedModel, target: int) -> tuple[int, str]:
    """Return the largest rank whose adapters have at most ``target`` parameters, and a line about it and its
    neighbours. Raise UsageError if rank 1 has more."""
    at_rank_1 = Tensorized(replace(config, tensorized_layer_rank=1))
    at_rank_1.check(model)
    kind, tensors = config.adapter_projection_type, at_rank_1.tensors_of(model)
    # One tensor for all sites can have thousands of ranks, so the model is inspected once for all of them.
    costs = {
        rank: _count(kind, rank, tensors) for rank in range(1, largest_rank(kind, [view for view, _ in tensors]) + 1)
    }
    within = [rank for rank, cost in costs.items() if cost <= target]
    if not within:
        raise UsageError(f"--target_params {target} is too few: {kind} at rank 1 has {costs[1]:,} adapter parameters")
    rank = max(within)
    neighbours = [f"rank {near} would have {costs[near]:,}" for near in (rank - 1, rank + 1) if near in costs]
    if rank == max(costs):
        neighbours.append("no larger rank is of use")
    if rank == 1:
        neighbours.insert(0, "there is no smaller one")
    return rank, f"--target_params {target}: {kind} at rank {rank} has {costs[rank]:,} ({'; '.join(neighbours)})"
