"""Dense bottleneck adapters (Houlsby et al., 2019), the baseline of the paper."""

from collections.abc import Iterator

from transformers import PreTrainedModel

from ..adapters.base import Adapter
from ..adapters.dense import DenseAdapter
from .residual import ResidualAdapters


class Dense(ResidualAdapters):
    """Dense adapters with biases, and LayerNorms."""

    name = "dense"

    def new_adapters(self, model: PreTrainedModel, sites: list[str]) -> Iterator[Adapter]:
        return (DenseAdapter(self.config, model.config.hidden_size) for _ in sites)

    def count_of_one(self, hidden_size: int) -> int:
        return DenseAdapter.parameter_count(hidden_size, self.config.adapter_size)
