"""Adapters into a model and out of it again."""

from collections.abc import Iterator

from torch import nn
from transformers import PreTrainedModel

from ..architectures import site_names
from ..config import AdapterConfig
from .base import Adapter
from .compacter import CompacterAdapter
from .dense import DenseAdapter
from .pairs import MergedPairs
from .site import AdapterSite
from .tensorized import new_adapter


def insert_adapters(model: PreTrainedModel, config: AdapterConfig) -> None:
    """Replace the module at every site by (module, then a new adapter)."""
    rule = None
    for name in site_names(model, config):
        parent_name, _, child_name = name.rpartition(".")
        parent = model.base_model.get_submodule(parent_name)
        site = getattr(parent, child_name)
        if config.method == "compacter":
            adapter = CompacterAdapter(config, model.config.hidden_size, rule)
            rule = adapter.rule
        else:
            kind = DenseAdapter if config.method == "dense" else new_adapter
            adapter = kind(config, model.config.hidden_size)
        setattr(parent, child_name, AdapterSite(site, adapter))
    # Afterwards, so that the parameters that adapters share are drawn, and stay shared, in one place.
    like = next(model.base_model.parameters())
    for _, adapter in adapters_of(model):
        adapter.to(like.device, like.dtype)
    model.merged_pairs = MergedPairs(model)


def take_out_adapters(model: PreTrainedModel) -> None:
    """Put the original modules back."""
    if not hasattr(model, "merged_pairs"):
        return
    model.merged_pairs.remove()
    del model.merged_pairs
    for name, module in list(model.named_modules()):
        if isinstance(module, AdapterSite):
            model.set_submodule(name, module.dropout)


def adapters_of(model: nn.Module) -> Iterator[tuple[str, Adapter]]:
    """(name, adapter) of every adapter, from the first layer to the last."""
    for name, module in model.named_modules():
        if isinstance(module, Adapter):
            yield name, module
