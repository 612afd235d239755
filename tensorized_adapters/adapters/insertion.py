"""Adapters into a model and out of it again: a child of the module at each site, and a hook on that module's output.

The backbone's modules stay where they are and keep their parameters' names.
"""

import threading
from collections.abc import Iterable, Iterator
from typing import Optional

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from .base import Adapter

CHILD = "adapter"
_SOURCE = "adapter_source"  # of a module whose input an adapter elsewhere takes: that adapter


def insert_adapters(
    model: PreTrainedModel, sites: Iterable[str], adapters: Iterable[Adapter], sources: Optional[Iterable[str]] = None
) -> None:
    """Hang an adapter on the module at every site (a name relative to the base model).

    Args:
        sources: sequential without: each adapter takes its site's output, and gives it back changed. With them it
            stands beside: it takes the input of the module of that name, and changes the site's output.
    """
    sites = list(sites)
    for name, source, adapter in zip(sites, sources or [None] * len(sites), adapters):
        site = model.base_model.get_submodule(name)
        site.add_module(CHILD, adapter)
        if source is None:
            site.register_forward_hook(_through_adapter)
        elif source == name:
            site.register_forward_hook(_beside_module)
        else:
            module = model.base_model.get_submodule(source)
            object.__setattr__(module, _SOURCE, adapter)  # not as a child, which would be a second name for it
            module.register_forward_pre_hook(_keep_input)
            site.register_forward_hook(_beside_sublayer)
    # Afterwards, so that the parameters that adapters share are drawn, and stay shared, in one place.
    like = next(model.base_model.parameters())
    for _, adapter in adapters_of(model):
        adapter.to(like.device, like.dtype)


def take_out_adapters(model: PreTrainedModel) -> None:
    """Leave the modules at the sites, and those whose input was taken, as they were."""
    for module in list(model.modules()):
        if isinstance(getattr(module, CHILD, None), Adapter):
            delattr(module, CHILD)
        module.__dict__.pop(_SOURCE, None)
        for hooks in (module._forward_hooks, module._forward_pre_hooks):
            for key in [key for key, hook in hooks.items() if hook in _HOOKS]:
                del hooks[key]


def adapters_of(model: nn.Module) -> Iterator[tuple[str, Adapter]]:
    """(name, adapter) of every adapter, from the first layer to the last."""
    for name, module in model.named_modules():
        if isinstance(module, Adapter):
            yield name, module


def source_names(model: nn.Module) -> dict[int, str]:
    """Of each adapter that takes another module's input, by its id, that module's name."""
    return {id(m.__dict__[_SOURCE]): name for name, m in model.named_modules() if _SOURCE in m.__dict__}


def _through_adapter(site: nn.Module, _, output):
    adapter = getattr(site, CHILD)
    return changed(output, adapter) if adapter.enabled else output


def _beside_module(module: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> Tensor:
    adapter = getattr(module, CHILD)
    return adapter.beside(args[0], output) if adapter.enabled else output


def _beside_sublayer(site: nn.Module, _, output):
    adapter = getattr(site, CHILD)
    if not adapter.enabled:
        return output
    compiled = adapter.__dict__.get("kept")  # non-empty if the module that kept the input was compiled, as this may be
    x = (compiled or _inputs.of).pop(id(adapter))
    return changed(output, lambda hidden: adapter.beside(x, hidden))


def _keep_input(module: nn.Module, args: tuple[Tensor, ...]) -> None:
    adapter = getattr(module, _SOURCE)
    if not adapter.enabled:
        return
    if torch.compiler.is_compiling():  # which does not follow a thread's own variables
        adapter.__dict__.setdefault("kept", {})[id(adapter)] = args[0]
    else:
        _inputs.of[id(adapter)] = args[0]


def changed(output, change):
    """What a module gave, its hidden states changed: of a block's tuple they come first."""
    return (change(output[0]), *output[1:]) if isinstance(output, tuple) else change(output)


class _Inputs(threading.local):
    """What each thread's forward passes have kept, between a sublayer's first module and its last."""

    def __init__(self):
        self.of: dict[int, Tensor] = {}


_inputs = _Inputs()


_HOOKS = (_through_adapter, _beside_module, _beside_sublayer, _keep_input)
