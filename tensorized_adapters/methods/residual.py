"""What the methods share that put residual adapters behind the sublayers."""

from transformers import PreTrainedModel

from ..adapters.base import Adapter
from ..adapters.fast import MergedWeights
from ..adapters.insertion import adapters_of, insert_adapters, take_out_adapters
from ..architectures import site_names
from .base import Method


class ResidualAdapters(Method):
    """A method whose adapters are modules h -> h + update(h)."""

    def new_adapter(self, hidden_size: int) -> Adapter:
        """One adapter, for one site of a model of the given hidden size."""
        raise NotImplementedError

    def count_of_one(self, hidden_size: int) -> int:
        """The parameters of one adapter, in closed form."""
        raise NotImplementedError

    def added_count(self, model: PreTrainedModel) -> int:
        return len(site_names(model, self.config)) * self.count_of_one(model.config.hidden_size)

    def insert(self, model: PreTrainedModel, head: set[str]) -> None:
        insert_adapters(model, site_names(model, self.config), self.new_adapter)
        self.merged = MergedWeights(model)

    def remove(self, model: PreTrainedModel) -> None:
        self.merged.remove()
        take_out_adapters(model)

    def switch(self, model: PreTrainedModel, on: bool) -> None:
        for _, adapter in adapters_of(model):
            adapter.enabled = on
