"""Compacter and Compacter++ (Mahabadi et al., 2021)."""

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

    def insert(self, model: PreTrainedModel, head: set[str]) -> None:
        self._rule = None  # drawn by the first adapter
        super().insert(model, head)
        del self._rule

    def new_adapter(self, hidden_size: int) -> Adapter:
        adapter = CompacterAdapter(self.config, hidden_size, self._rule)
        self._rule = adapter.rule
        return adapter

    def count_of_one(self, hidden_size: int) -> int:
        return CompacterAdapter.parameter_count(hidden_size, self.config.adapter_size)

    def added_count(self, model: PreTrainedModel) -> int:
        return self.config.phm_dim**3 + super().added_count(model)
