"""Methods that put residual adapters behind the sublayers; dense adapters (Houlsby et al., 2019) and Compacter
(Mahabadi et al., 2021)."""

import functools
from collections.abc import Callable, Iterator
from types import MethodType
from typing import Optional

import torch
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

    def places(self, model: PreTrainedModel, head: set[str]) -> tuple[list[str], Optional[list[str]]]:
        """The sites, and the sources where there are any, as :func:`insert_adapters` takes them."""
        return site_names(model, self.config), None

    def new_adapters(self, model: PreTrainedModel, sites: list[str]) -> Iterator[Adapter]:
        """One adapter after the other, for the given sites."""
        raise NotImplementedError

    def count_of_one(self, hidden_size: int) -> int:
        """The parameters of one adapter, in closed form."""
        raise NotImplementedError

    def added_count(self, model: PreTrainedModel) -> int:
        return len(site_names(model, self.config)) * self.count_of_one(model.config.hidden_size)

    def insert(self, model: PreTrainedModel, head: set[str]) -> None:
        sites, sources = self.places(model, head)
        insert_adapters(model, sites, self.new_adapters(model, sites), sources)
        self.merged = MergedWeights(model)
        self._forward_before = model.__dict__.get("forward")
        forward = getattr(model.forward, "__func__", type(model).forward)
        model.forward = MethodType(_with_merged_weights(forward), model)

    def unmerge(self, model: PreTrainedModel) -> None:
        """Let every factorised weight compute its own matrices; the model computes the same, in more steps."""
        model.__dict__.pop("forward", None)
        if self._forward_before is not None:
            model.forward = self._forward_before

    def remove(self, model: PreTrainedModel) -> None:
        self.unmerge(model)
        take_out_adapters(model)

    def switch(self, model: PreTrainedModel, on: bool) -> None:
        for _, adapter in adapters_of(model):
            adapter.enabled = on


def _with_merged_weights(forward: Callable) -> Callable:
    """A model's ``forward`` that computes the factorised weights of all sites together first (adapters/fast.py).

    Not by hooks, which an interrupted pass would leave half done; and it looks the weights up in the model that it is
    called on, so that a copy of the model has its own.
    """

    @functools.wraps(forward)
    def merging(model: PreTrainedModel, *args, **kwargs):
        adaptation = getattr(model, "adaptation", None)
        if adaptation is None or torch.compiler.is_compiling():  # the compiler merges what it wants to
            return forward(model, *args, **kwargs)
        with adaptation.method.merged.forward_pass(model):
            return forward(model, *args, **kwargs)

    return merging


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
