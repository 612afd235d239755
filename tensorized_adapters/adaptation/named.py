"""Several adapters on one backbone, each under a name; one of them, or none, is in the model at a time.

If the new adapter has the settings of the active one, its tensors are copied into the model. Otherwise the active
adapter is removed and the new one is added. So hooks, precision, devices and copies behave as PyTorch's users expect.
"""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Optional

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from ..backbone.parts import base_prefix
from ..config import AdapterConfig
from ..errors import UsageError, quoted
from .forward import unwrap_forward, wrap_forward
from .insertion import check_removable, insert_method, take_out_method
from .mixed import in_groups
from .parameters import adaptation_of, labels_of, unwrapped

_KEPT = "named_adapters"  # the model's attribute with its NamedAdapters


@dataclass
class Named:
    """One adapter. While it is active its tensors are in the model, and ``tensors`` is empty."""

    config: AdapterConfig
    newly_initialized: frozenset[str]  # parameters of the base that are trained like the head
    saver: Any  # model.save_pretrained while it is active
    labels: dict[str, Any] = field(default_factory=dict)
    tensors: dict[str, Tensor] = field(default_factory=dict)
    requires_grad: dict[str, bool] = field(default_factory=dict)
    placed: Optional[tuple[torch.device, torch.dtype]] = None  # the backbone's, when stored

    @property
    def settings(self) -> tuple[AdapterConfig, frozenset[str]]:
        return self.config, self.newly_initialized


@dataclass
class NamedAdapters:
    """All named adapters of a model, as ``model.named_adapters``."""

    by_name: dict[str, Named] = field(default_factory=dict)
    active: Optional[str] = None

    def mixed(
        self, model: PreTrainedModel, names: Sequence[Optional[str]], args: tuple, kwargs: dict[str, Any]
    ) -> Any:
        """Return the outputs of a forward pass in which each row of the batch has its own adapter."""
        if model.training:
            raise UsageError("adapter_names is for predictions; model.eval() first")

        def compute(name: Optional[str], args: tuple, kwargs: dict[str, Any]) -> Any:
            set_adapter(model, name)
            return model.forward(*args, **kwargs)

        with adapter_set(model, self.active):
            return in_groups(compute, names, args, kwargs)


def adapter_names(model: PreTrainedModel) -> list[str]:
    """Return the names of the adapters on a model, in the order in which they were loaded."""
    kept = _kept(model)
    return list(kept.by_name) if kept else []


def active_adapter(model: PreTrainedModel) -> Optional[str]:
    """Return the name of the active adapter, or None if the model has none or an adapter without a name."""
    kept = _kept(model)
    return kept.active if kept else None


def set_adapter(model: PreTrainedModel, name: Optional[str]) -> None:
    """Let the model compute with the adapter of that name alone, or with None as the plain backbone.

    Only the active adapter is trained, counted and saved. Make a new optimizer after each switch, because adapters of
    other settings bring new parameters. A hook on a module of the backbone stays. A hook on a module of an adapter is
    removed with the module. No other thread may compute meanwhile, and a model is compiled again afterwards.

    Raises:
        UsageError: for an unknown name, a compiled model, while adapters are merged or off or another thread computes,
            or if a parameter that the adapter trained was replaced by one of another shape.
    """
    if model is not unwrapped(model):
        raise UsageError("a compiled model keeps its adapter; set_adapter on the model itself, and compile it anew")
    kept = _kept(model)
    if name is not None and (kept is None or name not in kept.by_name):
        raise UsageError(f"no adapter {quoted(name)} on the model; there are {quoted(adapter_names(model))}")
    if kept is None:
        if getattr(model, "adaptation", None) is not None:
            raise UsageError("the model's adapter has no name to come back by; adapters_off(model) leaves it out")
        return
    _check_free(model)
    if name == kept.active:
        return
    old, new = kept.by_name.get(kept.active), kept.by_name.get(name)
    with torch.no_grad():
        if old is not None and new is not None and new.settings == old.settings:
            trained = _trained_now(model)
            _take(model, old, trained)
            _put(model, new, trained)
        else:
            if old is not None:
                check_removable(model)
                _take(model, old, _trained_now(model))
                take_out_method(model, keep_forward=True)
                kept.active = None
            if new is not None:
                device = next(model.parameters()).device
                with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
                    insert_method(model, new.config, new.newly_initialized)  # its random start is overwritten
                _put(model, new, _trained_now(model))
        kept.active = name
    wrap_forward(model)


def _take(model: PreTrainedModel, named: Named, trained: dict[str, nn.Parameter]) -> None:
    """Store the active adapter's tensors, labels and flags."""
    named.tensors = adaptation_of(model).method.state(trained)
    named.requires_grad = {name: parameter.requires_grad for name, parameter in trained.items()}
    named.labels, named.placed = labels_of(model), _placed(model)


def _put(model: PreTrainedModel, named: Named, trained: dict[str, nn.Parameter]) -> None:
    """Copy the tensors, labels and flags of this adapter into a model that has an adapter of equal settings."""
    adaptation, placed = adaptation_of(model), _placed(model)
    state = named.tensors
    if placed != named.placed:  # the model was moved while this adapter was inactive
        dtype = placed[1] if placed[1] != named.placed[1] else None
        state = {n: t.to(placed[0], dtype if t.is_floating_point() else None) for n, t in state.items()}
    for name, parameter in trained.items():
        # Added parameters keep their own precision. Pre-trained ones that it trains have the model's.
        if name in state and name not in adaptation.plain and parameter.dtype != state[name].dtype:
            parameter.data = parameter.data.to(state[name].dtype)
    adaptation.method.put_state(trained, state)
    if adaptation.method.replaces_parameters:
        trained = _trained_now(model)
    for name, parameter in trained.items():
        parameter.requires_grad = named.requires_grad[name]
    for label, value in named.labels.items():
        setattr(model.config, label, value)
    if named.saver is not None:
        model.save_pretrained = named.saver
    named.tensors = {}


def _trained_now(model: PreTrainedModel) -> dict[str, nn.Parameter]:
    """Return every trained parameter by its name in the adapted model. The names are kept while the adapter is in the
    model, because a pass over the model would be most of a switch."""
    adaptation = adaptation_of(model)
    if adaptation.trained_names is not None:
        with contextlib.suppress(KeyError):  # a module was replaced, so the names may have changed
            return {name: _parameter_at(model, name) for name in adaptation.trained_names}
    plain, originals = adaptation.plain, adaptation.originals
    trained = {n: p for n, p in model.named_parameters() if n not in plain or plain[n] in originals}
    if not adaptation.method.replaces_parameters:
        adaptation.trained_names = list(trained)
    return trained


def _parameter_at(model: PreTrainedModel, name: str) -> nn.Parameter:
    """Return the parameter of a name; raise KeyError. It is faster than ``model.get_parameter``."""
    *modules, last = name.split(".")
    module: nn.Module = model
    for each in modules:
        module = module._modules[each]
    return module._parameters[last]


def _placed(model: PreTrainedModel) -> tuple[torch.device, torch.dtype]:
    first = next(model.parameters())
    return first.device, first.dtype


def delete_adapter(model: PreTrainedModel, name: str) -> None:
    """Forget the adapter of that name. If it was active, the model is the plain backbone afterwards.

    Raises:
        UsageError: as :func:`set_adapter`.
    """
    kept, model = _kept(model), unwrapped(model)
    if kept is None or name not in kept.by_name or name == kept.active:
        set_adapter(model, name)  # this refuses an unknown name
        set_adapter(model, None)
    _check_free(model)
    del kept.by_name[name]
    if not kept.by_name:
        forget_names(model)


@contextmanager
def adapter_set(model: PreTrainedModel, name: Optional[str]) -> Iterator[None]:
    """Set the adapter of that name within the block, and afterwards the one that was active before."""
    before = active_adapter(model)
    set_adapter(model, name)
    try:
        yield
    finally:
        set_adapter(model, before)


def forget_names(model: PreTrainedModel) -> None:
    """Remove all named adapters, so that the model is the plain backbone, bit for bit."""
    if _kept(model) is None:
        return
    set_adapter(model, None)
    del model.__dict__[_KEPT]
    unwrap_forward(model)


def check_no_names(model: PreTrainedModel) -> None:
    """Refuse to add an adapter without a name to a model with named ones; raise UsageError."""
    if adapter_names(model) and active_adapter(model) is None:
        raise UsageError("the model's adapters have names; load_adapter(model, folder, name=...) adds one more")


def load_named(model: PreTrainedModel, name: str, load: Callable[[PreTrainedModel], Any]) -> None:
    """Let ``load`` adapt the plain backbone, and give the adapter a name. It is active afterwards.

    Raises:
        UsageError: if the name is taken or empty, or the model has an adapter without a name, or as ``load`` raises
            it. The model is as before then.
    """
    kept = _kept(model)
    if not isinstance(name, str) or not name:
        raise UsageError(f"name={quoted(name)}: an adapter's name is a text")
    if model is not unwrapped(model):
        raise UsageError("load named adapters on the model itself, and compile it afterwards")
    if kept is None and getattr(model, "adaptation", None) is not None:
        raise UsageError("the model has an adapter without a name; remove_adapters(model) first")
    if kept is not None and name in kept.by_name:
        raise UsageError(f"the model has an adapter {quoted(name)}; delete_adapter(model, {quoted(name)}) first")
    before = active_adapter(model)
    set_adapter(model, None)
    model.__dict__.pop(_KEPT, None)  # `load` must find a model without names
    kept = kept or NamedAdapters()
    try:
        load(model)
        head, prefix = adaptation_of(model).in_place["head"], base_prefix(model)
        newly_initialized = frozenset(each for each in head if each.startswith(prefix))
        saver = model.__dict__.get("save_pretrained")
        kept.by_name[name] = Named(adaptation_of(model).config, newly_initialized, saver)
        kept.active = name
    finally:
        if kept.by_name:
            setattr(model, _KEPT, kept)
            if kept.active is None:
                set_adapter(model, before)
            wrap_forward(model)


def _kept(model: PreTrainedModel) -> Optional[NamedAdapters]:
    return unwrapped(model).__dict__.get(_KEPT)


def _check_free(model: PreTrainedModel) -> None:
    adaptation = getattr(model, "adaptation", None)
    if adaptation is None:
        return
    if adaptation.merged is not None or adaptation.off_in is not None:
        raise UsageError("the adapters are merged or off; undo that before another one is set")
    if adaptation.passes.of_others():
        raise UsageError("another thread computes with the model; wait for it before another adapter is set")
