"""Methods that put residual adapters behind the sublayers; dense adapters (Houlsby et al., 2019) and Compacter
(Mahabadi et al., 2021)."""

from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import Optional

from transformers import PreTrainedModel

from ..adapters.base import Adapter
from ..adapters.compacter import CompacterAdapter
from ..adapters.dense import DenseAdapter
from ..adapters.fast import BatchedWeights
from ..adapters.insertion import adapters_of, insert_adapters, take_out_adapters
from ..backbone.parts import site_names
from ..errors import UsageError
from .base import Method


class ResidualAdapters(Method):
    """A method whose adapters are modules h -> h + update(h)."""

    def sites_and_sources(self, model: PreTrainedModel, head: set[str]) -> tuple[list[str], Optional[list[str]]]:
        """Return the names of the sites, and for parallel adapters those of the modules whose input they take, else
        None."""
        return site_names(model, self.config), None

    def new_adapters(self, model: PreTrainedModel, sites: list[str]) -> Iterator[Adapter]:
        """Return new adapters one after the other, for the given sites."""
        raise NotImplementedError

    def insert(self, model: PreTrainedModel, head: set[str]) -> None:
        sites, sources = self.sites_and_sources(model, head)
        insert_adapters(model, sites, self.new_adapters(model, sites), sources)
        self.batched = BatchedWeights(model)

    def forward_pass(self, model: PreTrainedModel) -> AbstractContextManager[None]:
        """Compute the factorised weights of all sites together first (adapters/fast.py)."""
        return self.batched.forward_pass(model)

    def remove(self, model: PreTrainedModel) -> None:
        take_out_adapters(model)

    def switch(self, model: PreTrainedModel, on: bool) -> None:
        for _, adapter in adapters_of(model):
            adapter.enabled = on


class Dense(ResidualAdapters):
    """Trains dense adapters with biases, and LayerNorms."""

    name = "dense"

    def new_adapters(self, model: PreTrainedModel, sites: list[str]) -> Iterator[Adapter]:
        return (DenseAdapter(self.config, model.config.hidden_size) for _ in sites)

    def added_count(self, model: PreTrainedModel) -> int:
        hidden, inner = model.config.hidden_size, self.config.adapter_size
        return len(site_names(model, self.config)) * (2 * hidden * inner + hidden + inner)


class Compacter(ResidualAdapters):
    """Trains adapters whose weights are sums of Kronecker products with shared matrices, and LayerNorms."""

    name = "compacter"

    def check(self, model: PreTrainedModel) -> None:
        super().check(model)
        n = self.config.phm_dim
        for name, size in (("hidden size", model.config.hidden_size), ("--adapter_size", self.config.adapter_size)):
            if size % n:
                raise UsageError(f"--phm_dim {n} does not divide {name} {size}; choose one that does")

    def new_adapters(self, model: PreTrainedModel, sites: list[str]) -> Iterator[Adapter]:
        rule = None  # drawn by the first adapter
        for _ in sites:
            adapter = CompacterAdapter(self.config, model.config.hidden_size, rule)
            rule = adapter.rule
            yield adapter

    def tie(self, model: PreTrainedModel) -> None:
        adapters = [adapter for _, adapter in adapters_of(model)]
        for part in (part for adapter in adapters for part in (adapter, adapter.down, adapter.up)):
            part.rule = adapters[0].rule

    def added_count(self, model: PreTrainedModel) -> int:
        of_one = 3 * (model.config.hidden_size + self.config.adapter_size)
        return self.config.phm_dim**3 + len(site_names(model, self.config)) * of_one
