"""Tensorized adapters, the paper's method."""

from dataclasses import replace

from transformers import PreTrainedModel

from ..adapters.base import Adapter
from ..adapters.tensorized import new_adapter, views_of
from ..architectures import site_names
from ..config import AdapterConfig
from ..errors import UsageError
from ..tensors.formats import FORMATS
from ..tensors.ranks import check_rank, largest_rank
from .residual import ResidualAdapters


class Tensorized(ResidualAdapters):
    """Bottleneck or one-matrix adapters with factorised weights, and LayerNorms."""

    name = "tensorized"

    def check(self, model: PreTrainedModel) -> None:
        super().check(model)
        config = self.config
        views = views_of(config, model.config.hidden_size)
        check_rank(config.adapter_projection_type, config.tensorized_layer_rank, views)

    def new_adapter(self, hidden_size: int) -> Adapter:
        return new_adapter(self.config, hidden_size)

    def count_of_one(self, hidden_size: int) -> int:
        kind, rank = FORMATS[self.config.adapter_projection_type], self.config.tensorized_layer_rank
        return sum(kind.parameter_count(view.shape, rank) for view in views_of(self.config, hidden_size))


def rank_within(config: AdapterConfig, model: PreTrainedModel, target: int) -> tuple[int, str]:
    """The largest rank whose adapters have at most ``target`` parameters, and a line about it and its neighbours.

    Raises:
        UsageError: if rank 1 has more.
    """
    Tensorized(replace(config, tensorized_layer_rank=1)).check(model)
    kind, hidden = config.adapter_projection_type, model.config.hidden_size
    sites, views = len(site_names(model, config)), views_of(config, hidden)
    costs = {
        rank: sites * sum(FORMATS[kind].parameter_count(view.shape, rank) for view in views)
        for rank in range(1, largest_rank(kind, views) + 1)
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
