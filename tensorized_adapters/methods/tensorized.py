"""Tensorized adapters, the paper's method."""

from collections.abc import Iterator
from dataclasses import replace

from transformers import PreTrainedModel

from ..adapters.base import Adapter
from ..adapters.tensorized import new_adapters, views_of
from ..architectures import site_names
from ..config import AdapterConfig
from ..errors import UsageError
from ..tensors.formats import FORMATS
from ..tensors.ranks import check_rank, largest_rank
from ..tensors.shapes import Matricization
from .residual import ResidualAdapters


class Tensorized(ResidualAdapters):
    """Bottleneck or one-matrix adapters with factorised weights, and LayerNorms."""

    name = "tensorized"

    def check(self, model: PreTrainedModel) -> None:
        super().check(model)
        check_rank(self.config.adapter_projection_type, self.config.tensorized_layer_rank, self.views(model))

    def views(self, model: PreTrainedModel) -> list[Matricization]:
        """How the weights are seen as tensors, of one site or of all together."""
        return views_of(self.config, model.config.hidden_size, len(site_names(model, self.config)))

    def new_adapters(self, hidden_size: int, sites: int) -> Iterator[Adapter]:
        return new_adapters(self.config, hidden_size, sites)

    def added_count(self, model: PreTrainedModel) -> int:
        kind, rank = FORMATS[self.config.adapter_projection_type], self.config.tensorized_layer_rank
        tensors = 1 if self.config.tensor_scope == "model" else len(site_names(model, self.config))
        return tensors * sum(kind.parameter_count(view.shape, rank) for view in self.views(model))


def rank_within(config: AdapterConfig, model: PreTrainedModel, target: int) -> tuple[int, str]:
    """The largest rank whose adapters have at most ``target`` parameters, and a line about it and its neighbours.

    Raises:
        UsageError: if rank 1 has more.
    """
    at_rank_1 = Tensorized(replace(config, tensorized_layer_rank=1))
    at_rank_1.check(model)
    kind = config.adapter_projection_type
    costs = {
        rank: Tensorized(replace(config, tensorized_layer_rank=rank)).added_count(model)
        for rank in range(1, largest_rank(kind, at_rank_1.views(model)) + 1)
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
