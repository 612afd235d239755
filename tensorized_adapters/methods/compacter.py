"""Compacter and Compacter++ (Mahabadi et al., 2021)."""

from collections.abc import Iterator

from transformers import PreTrainedModel

from ..adapters.base import Adapter
from ..adapters.compacter import CompacterAdapter, check_phm_dim
from .residual import ResidualAdapters


class Compacter(ResidualAdapters):
    """Adapters with PHM weights that share their slow matrices, and LayerNorms."""

    name = "compacter"

    def check(self, model: PreTrainedModel) -> None:
        super().check(model)
        check_phm_dim(self.config.phm_dim, model.config.hidden_size, self.config.adapter_size)

    def new_adapters(self, model: PreTrainedModel, sites: list[str]) -> Iterator[Adapter]:
        rule = None  # drawn by the first adapter
        for _ in sites:
            adapter = CompacterAdapter(self.config, model.config.hidden_size, rule)
            rule = adapter.rule
            yield adapter

    def count_of_one(self, hidden_size: int) -> int:
        return CompacterAdapter.parameter_count(hidden_size, self.config.adapter_size)

    def added_count(self, model: PreTrainedModel) -> int:
        return self.config.phm_dim**3 + super().added_count(model)
