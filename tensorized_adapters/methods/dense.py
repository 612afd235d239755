"""Dense bottleneck adapters (Houlsby et al., 2019), the baseline of the paper."""

from ..adapters.base import Adapter
from ..adapters.dense import DenseAdapter
from .residual import ResidualAdapters


class Dense(ResidualAdapters):
    """Dense adapters with biases, and LayerNorms."""

    name = "dense"

    def new_adapter(self, hidden_size: int) -> Adapter:
        return DenseAdapter(self.config, hidden_size)

    def count_of_one(self, hidden_size: int) -> int:
        return DenseAdapter.parameter_count(hidden_size, self.config.adapter_size)
