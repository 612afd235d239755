"""Methods that put residual adapters behind the sublayers; dense adapters (Houlsby et al., 2019) and Compacter
(Mahabadi et al., 2021)."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Optional

from transformers import PreTrainedModel

from ..adapters.base import Adapter
from ..adapters.compacter import CompacterAdapter, check_phm_dim
from ..adapters.dense import DenseAdapter
from ..adapters.fast import MergedWeights
from ..adapters.insertion import adapters_of, insert_adapters, take_out_adapters
from ..backbone.parts import site_names
from .base import Method


class ResidualAdapters(Method):
    """A method whose adapters are modules h -> h + update(h)."""

    def sites_and_sources(self, model: PreTrainedModel, head: set[str]) -> tuple[list[str], Optional[list[str]]]:
        """Return the sites, and the sources if there are any, as :func:`insert_adapters` takes them."""
        return site_names(model, self.config), None

    def new_adapters(self, model: PreTrainedModel, sites: list[str]) -> Iterator[Adapter]:
        """Return new adapters one after the other, for the given sites."""
        raise NotImplementedError

    def count_of_one(self, hidden_size: int) -> int:
        """Return the parameters of one adapter, in closed form."""
        raise NotImplementedError

    def added_count(self, model: PreTrainedModel) -> int:
        return len(site_names(model, self.config)) * self.count_of_one(model.config.hidden_size)

    def insert(self, model: PreTrainedModel, head: set[str]) -> None:
        sites, sources = self.sites_and_sources(model, head)
        insert_adapters(model, sites, self.new_adapters(model, sites), sources)
        self.merged = MergedWeights(model)

    def unmerge(self, model: PreTrainedModel) -> None:
        """Let every factorised weight compute its own matrices. The model's outputs stay the same, but it is
        slower."""
        self.merged = None

    def forward_pass(self, model: PreTrainedModel) -> AbstractContextManager[None]:
        """Compute the factorised weights of all sites together first (adapters/fast.py)."""
        return nullcontext() if self.merged is None else self.merged.forward_pass(model)

    def remove(self, model: PreTrainedModel) -> None:
        take_out_adapters(model)

    def switch(self, model: PreTrainedModel, on: bool) -> None:
        for _, adapter in adapters_of(model):
            adapter.enabled = on


class Dense(ResidualAdapters):
    """Dense adapters with biases, and LayerNorms."""

    name = "dense"

    def new_adapters(self, model: PreTrainedModel, sites: list[str]) -> Iterator[Adapter]:
        return (DenseAdapter(self.config, model.config.hidden_size) for _ in sites)

    def count_of_one(self, hidden_size: int) -> int:
        return DenseAdapter.parameter_count(hidden_size, self.config.adapter_size)


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
