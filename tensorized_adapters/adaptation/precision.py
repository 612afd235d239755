"""Keeps trained parameters in float32 on a float16 or bfloat16 backbone, as PEFT's ``autocast_adapter_dtype`` does.

In half precision an optimizer's small steps are lost. AdamW's epsilon is zero in float16, so its steps give NaN.
A module with trained parameters gets a class derived from its own. Hooks or another ``forward`` of the instance would
need more code for copies, pickles, threads, other hooks and recomputed activations.
"""

import functools
from typing import Any, Optional

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from ..adapters.base import Adapter
from ..adapters.fast import HALF_PRECISION

# An empty buffer of a trained embedding in the backbone's half precision, which follows conversions of the model.
_HALF = "half_precision"


def half_precision_of(model: PreTrainedModel) -> Optional[torch.dtype]:
    """Return the half precision that a parameter of the model has, or None if all are wider."""
    return next((p.dtype for p in model.parameters() if p.dtype in HALF_PRECISION), None)


@torch.no_grad()
def raise_precision(model: PreTrainedModel, trained: set[int]) -> None:
    """Convert parameters of those ids from half precision to float32, and let their modules compute with them."""
    for parameter in model.parameters():
        if id(parameter) in trained and parameter.dtype in HALF_PRECISION:
            parameter.data = parameter.data.float()
    if half_precision_of(model) is None:  # everything is trained, so the model computes in float32
        return
    adapters = [module for module in model.modules() if isinstance(module, Adapter)]
    inside = {id(part) for adapter in adapters for part in adapter.modules()}
    for module in model.modules():
        names = () if id(module) in inside else _trained_in(module, trained)
        if isinstance(module, Adapter) or (names and _is_trained_alone(module, trained)):
            # It computes in float32 on its input, and returns its output in the input's precision.
            module.__class__ = _derived_class(type(module), (), "")
            if isinstance(module, nn.Embedding):  # its input, ids of tokens, has no precision
                module.register_buffer(_HALF, torch.empty(0, dtype=half_precision_of(model)), persistent=False)
        elif names:  # as under BitFit: the module computes with these in the precision of its other parameters
            frozen = next((name for name, p in module.named_parameters() if p.dtype in HALF_PRECISION), "")
            module.__class__ = _derived_class(type(module), names, frozen)


def _trained_in(module: nn.Module, trained: set[int]) -> tuple[str, ...]:
    """Return the names of a module's own trained parameters. Lists and dictionaries of parameters compute nothing."""
    if isinstance(module, (nn.ParameterDict, nn.ParameterList)):
        return ()
    return tuple(name for name, p in _own(module).items() if id(p) in trained)


def _is_trained_alone(module: nn.Module, trained: set[int]) -> bool:
    """Return whether all of a module's own parameters are trained, and it has no modules except adapters."""
    alone = all(isinstance(child, Adapter) for child in module.children())
    return alone and all(id(p) in trained for p in _own(module).values())


def _own(module: nn.Module) -> dict[str, nn.Parameter]:
    """Return the parameters of a module itself, without those of the modules in it."""
    return {name: p for name, p in module._parameters.items() if p is not None and p.is_floating_point()}


def restore_classes(model: PreTrainedModel) -> None:
    """Give the modules their own classes back."""
    for module in model.modules():
        if (plain := type(module).__dict__.get("class_before")) is not None:
            module.__class__ = plain
            if hasattr(module, _HALF):
                delattr(module, _HALF)


@functools.cache
def _derived_class(plain: type, names: tuple[str, ...], frozen: str) -> type:
    """Return a class of the same name that computes with float32 parameters.

    Args:
        names: the parameters in float32; if empty, all are.
        frozen: the path, from the module, of a half-precision parameter, in whose dtype the float32 ones are read.
    """

    def forward(self, *args: Any, **kwargs: Any) -> Tensor:
        if not args:  # GLoRA calls some modules without input; the caller converts the result
            return plain.forward(self, **kwargs)
        x, dtype = args[0], next(self.parameters()).dtype
        if not x.is_floating_point():
            output = plain.forward(self, *args, **kwargs)
            return output.to(getattr(self, _HALF).dtype) if hasattr(self, _HALF) else output
        return plain.forward(self, x.to(dtype), *args[1:], **kwargs).to(x.dtype)

    def beside(self, x: Tensor, output: Tensor) -> Tensor:  # of an adapter
        dtype = next(self.parameters()).dtype
        return plain.beside(self, x.to(dtype), output.to(dtype)).to(output.dtype)

    def reduce(self, protocol: int) -> tuple:
        return _rebuilt, (plain, names, frozen), object.__reduce_ex__(self, protocol)[2]

    changed = {name: _in_precision_of(name, frozen) for name in names} or {"forward": forward, "beside": beside}
    kept = {"class_before": plain, "__reduce_ex__": reduce, "__module__": plain.__module__}
    return type(plain.__name__, (plain,), kept | changed)


def _rebuilt(plain: type, names: tuple[str, ...], frozen: str) -> nn.Module:
    """Return an empty module of the derived class, for copies and pickles."""
    derived = _derived_class(plain, names, frozen)
    return derived.__new__(derived)


def _in_precision_of(name: str, frozen: str) -> property:
    """Return a property by which the module reads the parameter of that name in the precision of ``frozen``."""
    path = frozen.split(".")

    def get(self: nn.Module) -> Tensor:  # in steps that torch.compile can trace
        other = self
        for part in path:
            other = getattr(other, part)
        return torch.Tensor.to(self._parameters[name], other.dtype)

    return property(get)
