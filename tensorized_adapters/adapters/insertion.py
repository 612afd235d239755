"""Inserts adapters into a model and removes them. Each is a child of its site's module, called by a forward hook.

The backbone's modules are not replaced, so its parameters keep their names.
"""

import threading
from collections.abc import Iterable, Iterator
from typing import Optional

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from .base import Adapter

CHILD = "adapter"
_SOURCE = "adapter_source"  # attribute with the parallel adapter that takes a module's input


def insert_adapters(
    model: PreTrainedModel, sites: Iterable[str], adapters: Iterable[Adapter], sources: Optional[Iterable[str]] = None
) -> None:
    """Insert an adapter at every site (the name of a module, relative to the base model).

    Args:
        sources: names of modules. With them adapters are parallel: each takes the input of its source and changes its
            site's output. Without them each takes its site's output and returns it changed.
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
            object.__setattr__(module, _SOURCE, adapter)  # as a child it would have a second name
            module.register_forward_pre_hook(_keep_input)
            site.register_forward_hook(_beside_sublayer)
    # Only after all are inserted, so that parameters shared by several adapters stay shared.
    like = next(model.base_model.parameters())
    for _, adapter in adapters_of(model):
        adapter.to(
            like.device, torch.promote_types(like.dtype, torch.float32)
        )  # a float16 base trains them in float32


def take_out_adapters(model: PreTrainedModel) -> None:
    """Remove all adapters and their hooks; the backbone's modules are then as before."""
    for module in list(model.modules()):
        if isinstance(getattr(module, CHILD, None), Adapter):
            delattr(module, CHILD)
        module.__dict__.pop(_SOURCE, None)
        for hooks in (module._forward_hooks, module._forward_pre_hooks):
            for key in [key for key, hook in hooks.items() if hook in _HOOKS]:
                del hooks[key]


def adapters_of(model: nn.Module) -> Iterator[tuple[str, Adapter]]:
    """Yield (name, adapter) for every adapter, from the first layer to the last."""
    for name, module in model.named_modules():
        if isinstance(module, Adapter):
            yield name, module


def source_names(model: nn.Module) -> dict[int, str]:
    """Return for each parallel adapter, by its id, the name of the module whose input it takes."""
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
    compiled = adapter.__dict__.get("kept")  # set if the source module was compiled
    x = (compiled or kept_inputs.by_id).pop(id(adapter))
    return changed(output, lambda hidden: adapter.beside(x, hidden))


def _keep_input(module: nn.Module, args: tuple[Tensor, ...]) -> None:
    adapter = getattr(module, _SOURCE)
    if not adapter.enabled:
        return
    if torch.compiler.is_compiling():  # the compiler cannot trace thread-local variables
        adapter.__dict__.setdefault("kept", {})[id(adapter)] = args[0]
    else:
        kept_inputs.by_id[id(adapter)] = args[0]


def changed(output, change):
    """Return a module's output with its hidden states changed. In a tuple they come first."""
    return (change(output[0]), *output[1:]) if isinstance(output, tuple) else change(output)


class _Inputs(threading.local):
    """The inputs that each thread keeps for parallel adapters, by the id of the module that takes them."""

    def __init__(self):
        self.by_id: dict[int, Tensor] = {}


kept_inputs = _Inputs()

_HOOKS = (_through_adapter, _beside_module, _beside_sublayer, _keep_input)
