"""Adapters into a model and out of it again: a child of the module at each site, and a hook on that module's output.

The backbone's modules stay where they are and keep their parameters' names.
"""

from collections.abc import Iterable, Iterator

from torch import nn
from transformers import PreTrainedModel

from .base import Adapter

CHILD = "adapter"


def insert_adapters(model: PreTrainedModel, sites: Iterable[str], adapters: Iterable[Adapter]) -> None:
    """Hang an adapter on the module at every site (a name relative to the base model)."""
    for name, adapter in zip(sites, adapters):
        site = model.base_model.get_submodule(name)
        site.add_module(CHILD, adapter)
        site.register_forward_hook(_through_adapter)
    # Afterwards, so that the parameters that adapters share are drawn, and stay shared, in one place.
    like = next(model.base_model.parameters())
    for _, adapter in adapters_of(model):
        adapter.to(like.device, like.dtype)


def take_out_adapters(model: PreTrainedModel) -> None:
    """Leave the modules at the sites as they were."""
    for site in [module for module in model.modules() if isinstance(getattr(module, CHILD, None), Adapter)]:
        delattr(site, CHILD)
        for key in [key for key, hook in site._forward_hooks.items() if hook is _through_adapter]:
            del site._forward_hooks[key]


def adapters_of(model: nn.Module) -> Iterator[tuple[str, Adapter]]:
    """(name, adapter) of every adapter, from the first layer to the last."""
    for name, module in model.named_modules():
        if isinstance(module, Adapter):
            yield name, module


def _through_adapter(site: nn.Module, _, output):
    adapter = getattr(site, CHILD)
    if not adapter.enabled:
        return output
    # A block gives a tuple, of which hidden states come first.
    return (adapter(output[0]), *output[1:]) if isinstance(output, tuple) else adapter(output)
