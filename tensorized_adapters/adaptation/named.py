"""Several adapters on one backbone, each under a name; one of them, or none, is in the model at a time.

What adapting a model does to its modules is kept (patches.py), and a switch puts it in place or takes it away. What no
adapter trains is shared by all.
"""

import functools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import MethodType
from typing import Any, Optional

from torch import nn
from transformers import PreTrainedModel

from ..errors import UsageError, quoted
from .mixed import in_groups
from .parameters import unwrapped
from .patches import Named, labels_of, patched

_KEPT = "named_adapters"  # of a model: its NamedAdapters


@dataclass
class NamedAdapters:
    """All of a model's, as ``model.named_adapters``."""

    labels: dict[str, Any]  # of the plain backbone
    requires_grad: list[tuple[nn.Parameter, bool]]  # likewise, of each of its parameters
    forward_before: Optional[Callable]
    of: dict[str, Named] = field(default_factory=dict)
    active: Optional[str] = None


def adapter_names(model: PreTrainedModel) -> list[str]:
    """The names of the adapters on a model, in the order in which they were loaded."""
    kept = _kept(model)
    return list(kept.of) if kept else []


def active_adapter(model: PreTrainedModel) -> Optional[str]:
    """The name of the adapter that the model computes with; None: the plain backbone, or one without a name."""
    kept = _kept(model)
    return kept.active if kept else None


def set_adapter(model: PreTrainedModel, name: Optional[str]) -> None:
    """Let the model compute with the adapter of that name, and with nothing of any other; None: the plain backbone.

    Only its parameters are the model's then: to train, count and save. An optimizer belongs to the adapter for which
    it was made. Not for use while another thread computes, and a model is compiled anew after it.

    Raises:
        UsageError: for an unknown name, a compiled model, or while adapters are merged or off.
    """
    if model is not unwrapped(model):
        raise UsageError("a compiled model keeps its adapter; set_adapter on the model itself, and compile it anew")
    kept = _kept(model)
    if name is not None and (kept is None or name not in kept.of):
        raise UsageError(f"no adapter {quoted(name)} on the model; there are {quoted(adapter_names(model))}")
    if kept is None:
        if getattr(model, "adaptation", None) is not None:
            raise UsageError("the model's adapter has no name to come back by; adapters_off(model) leaves it out")
        return
    _check_free(model)
    if name == kept.active:
        return
    first = next(model.parameters())
    device, dtype = first.device, first.dtype
    if kept.active is not None:
        kept.of[kept.active].labels = labels_of(model)
        for patch in kept.of[kept.active].patches:
            patch.put(on=False)
    if name is not None:
        for patch in kept.of[name].patches:
            patch.put(on=True)
    if None in (name, kept.active):  # what is shared is frozen under every adapter
        for parameter, flag in kept.requires_grad:
            parameter.requires_grad = flag and name is None
    for label, value in (kept.labels if name is None else kept.of[name].labels).items():
        setattr(model.config, label, value)
    moved = [kept.of[each] for each in (kept.active, name) if each is not None]
    for parameter in (p for each in moved for p in each.parameters[each is not kept.of.get(name)]):
        if parameter.device != device or parameter.dtype != dtype:  # the model was moved while this was not in it
            parameter.data = parameter.data.to(device, dtype)
    for module in kept.of[name].modules if name is not None else ():
        if module.training != model.training:
            module.training = model.training
        for buffer, values in module._buffers.items():
            if values is not None and values.device != device:
                module._buffers[buffer] = values.to(device)
    kept.active = name


def delete_adapter(model: PreTrainedModel, name: str) -> None:
    """Forget the adapter of that name; if it was in the model, that is the plain backbone then.

    Raises:
        UsageError: as :func:`set_adapter`.
    """
    kept, model = _kept(model), unwrapped(model)
    before = active_adapter(model)
    set_adapter(model, name)
    set_adapter(model, before if before != name else None)
    del kept.of[name]
    if not kept.of:
        forget_names(model)


@contextmanager
def adapter_set(model: PreTrainedModel, name: Optional[str]) -> Iterator[None]:
    """Within it the model has the adapter of that name, afterwards the one that it had before."""
    before = active_adapter(model)
    set_adapter(model, name)
    try:
        yield
    finally:
        set_adapter(model, before)


def forget_names(model: PreTrainedModel) -> None:
    """Make the model the plain backbone for good, bit for bit; of one without named adapters nothing changes."""
    kept = _kept(model)
    if kept is None:
        return
    set_adapter(model, None)
    del model.__dict__["forward"], model.__dict__[_KEPT]
    if kept.forward_before is not None:
        model.forward = kept.forward_before


def check_no_names(model: PreTrainedModel) -> None:
    """Refuse to adapt a plain backbone without a name beside adapters that have one; raises UsageError."""
    if adapter_names(model) and active_adapter(model) is None:
        raise UsageError("the model's adapters have names; load_adapter(model, folder, name=...) adds one more")


def load_named(model: PreTrainedModel, name: str, load: Callable[[PreTrainedModel], Any]) -> None:
    """Let ``load`` adapt the plain backbone, and keep what it did under the name; the model has that adapter then.

    Raises:
        UsageError: if the name is taken or none, or the model has an adapter without one; and what ``load`` raises,
            after which the model is as before.
    """
    kept = _kept(model)
    if not isinstance(name, str) or not name:
        raise UsageError(f"name={quoted(name)}: an adapter's name is a text")
    if model is not unwrapped(model):
        raise UsageError("load named adapters on the model itself, and compile it afterwards")
    if kept is None and getattr(model, "adaptation", None) is not None:
        raise UsageError("the model has an adapter without a name; remove_adapters(model) first")
    if kept is not None and name in kept.of:
        raise UsageError(f"the model has an adapter {quoted(name)}; delete_adapter(model, {quoted(name)}) first")
    before = active_adapter(model)
    set_adapter(model, None)
    if kept is None:
        flags = [(parameter, parameter.requires_grad) for parameter in model.parameters()]
        kept = NamedAdapters(labels_of(model), flags, model.__dict__.get("forward"))
        forward = getattr(model.forward, "__func__", type(model).forward)
        model.forward = MethodType(_with_names(forward), model)
    model.__dict__.pop(_KEPT, None)  # the model has no names while it is adapted
    try:
        kept.of[name] = patched(model, load)
        kept.active = name
    finally:
        setattr(model, _KEPT, kept)
        if not kept.of:
            forget_names(model)
        elif kept.active is None:
            set_adapter(model, before)


def _with_names(forward: Callable) -> Callable:
    """A model's ``forward`` with one more argument: the adapter's name of each row, as peft has it."""

    @functools.wraps(forward)
    def naming(model: PreTrainedModel, *args, adapter_names: Optional[Sequence[Optional[str]]] = None, **kwargs):
        if adapter_names is None:
            return forward(model, *args, **kwargs)
        if model.training:
            raise UsageError("adapter_names is for predictions; model.eval() first")

        def compute(name: Optional[str], args: tuple, kwargs: dict[str, Any]) -> Any:
            set_adapter(model, name)
            return model.forward(*args, **kwargs)

        with adapter_set(model, active_adapter(model)):
            return in_groups(compute, adapter_names, args, kwargs)

    return naming


def _kept(model: PreTrainedModel) -> Optional[NamedAdapters]:
    return unwrapped(model).__dict__.get(_KEPT)


def _check_free(model: PreTrainedModel) -> None:
    adaptation = getattr(model, "adaptation", None)
    if adaptation is not None and (adaptation.merged is not None or adaptation.switched_off):
        raise UsageError("the adapters are merged or off; undo that before another one is set")
