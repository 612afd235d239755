"""Several adapters on one backbone, each under a name; one of them, or none, is in the model at a time.

If the new adapter has the settings of the active one, its tensors are copied into the model. Otherwise the active
adapter is removed and the new one is added. So hooks, precision, devices and copies behave as PyTorch's users expect.

An optimizer holds Parameter objects, not names. An adapter that is set again therefore gets its earlier Parameters
back, so that its optimizer goes on.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any, Optional

import torch
from torch import nn
from transformers import PreTrainedModel

from ..backbone.parts import base_prefix
from ..errors import UsageError, quoted
from .forward import adapted_pass, alone, unwrap_forward, wrap_forward
from .insertion import check_removable, insert_method, take_out_method, trainable_in_inference_mode
from .mixed import in_groups
from .named_adapter import NamedAdapter, put_back, trained_by_present_name
from .parameters import adaptation_of, added_parameters, unwrapped

_KEPT = "named_adapters"  # the model's attribute with its NamedAdapters


@dataclass
class NamedAdapters:
    """All named adapters of a model, as ``model.named_adapters``."""

    by_name: dict[str, NamedAdapter] = field(default_factory=dict)
    active: Optional[str] = None
    # Parameters of adapters that are not in the model, by settings. They are reused when such an adapter is set again,
    # so that optimizers that hold them stay valid.
    removed: dict[Any, dict[str, nn.Parameter]] = field(default_factory=dict, repr=False)

    def mixed(
        self, model: PreTrainedModel, names: Sequence[Optional[str]], args: tuple, kwargs: dict[str, Any]
    ) -> Any:
        """Return the outputs of a pass in which each row of the batch has its own adapter. Passes of other threads are
        refused meanwhile, as they would compute with the adapter of some of the rows."""
        if model.training:
            raise UsageError("adapter_names is for predictions; model.eval() first")

        def compute(name: Optional[str], args: tuple, kwargs: dict[str, Any]) -> Any:
            set_adapter(model, name)
            # Not model.forward: wrappers put on later run once a batch, and may break if entered within themselves.
            return adapted_pass(model, *args, **kwargs)

        with model.adapter_passes.counted(), alone(model), adapter_set(model, self.active):
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

    Only the active adapter is trained, counted and saved. Each adapter needs an optimizer of its own, which goes on
    when the adapter is set again. Gradients stay with their adapter. A hook on a module of the backbone stays. A hook
    on a module of an adapter is removed with the module. No other thread may compute meanwhile, and a model is
    compiled again afterwards.

    Raises:
        UsageError: for an unknown name, a compiled model, while adapters are merged or off or another thread computes,
            or if a parameter that the adapter trained was replaced by one of another shape.
    """
    if model is not unwrapped(model):
        raise UsageError("a compiled model keeps its adapter; set_adapter on the model itself, and compile it anew")
    kept = _kept(model)
    if name is not None and name not in adapter_names(model):  # a list, so an unhashable name is unknown
        raise UsageError(f"no adapter {quoted(name)} on the model; there are {quoted(adapter_names(model))}")
    if kept is None:
        if getattr(model, "adaptation", None) is not None:
            raise UsageError("the model's adapter has no name to come back by; adapters_off(model) leaves it out")
        return
    with alone(model):
        adaptation = getattr(model, "adaptation", None)
        if adaptation is not None and adaptation.merged_or_off:
            raise UsageError("the adapters are merged or off; undo that before another one is set")
        if name != kept.active:
            _exchange(model, kept, name)
            wrap_forward(model)


def _exchange(model: PreTrainedModel, kept: NamedAdapters, name: Optional[str]) -> None:
    """Take the active adapter out of the model, and put the one of that name in, or none."""
    before, old, new = kept.active, kept.by_name.get(kept.active), kept.by_name.get(name)
    with trainable_in_inference_mode(model), torch.no_grad():  # a mixed batch may run in inference mode
        if old is not None and new is not None and new.settings == old.settings:
            trained = trained_by_present_name(model)
            new.check_fits(model, trained)
            old.take_from(model, trained)
            new.put_into(model, trained)
        else:
            if old is not None:
                check_removable(model)
                old.take_from(model, trained_by_present_name(model))
                if not adaptation_of(model).method.replaces_parameters:
                    kept.removed[old.settings] = added_parameters(model)
                take_out_method(model, keep_forward=True)
                kept.active = None
            if new is not None:
                device = next(model.parameters()).device
                with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
                    insert_method(model, new.config, new.newly_initialized)  # its random start is overwritten
                try:
                    new.check_fits(model, trained_by_present_name(model))
                except UsageError:
                    take_out_method(model, keep_forward=True)
                    set_adapter(model, before)
                    raise
                put_back(model, kept.removed.pop(new.settings, {}))
                new.put_into(model, trained_by_present_name(model))
        kept.active = name


def delete_adapter(model: PreTrainedModel, name: str) -> None:
    """Forget the adapter of that name. If it was active, the model is the plain backbone afterwards.

    Raises:
        UsageError: as :func:`set_adapter`.
    """
    kept, model = _kept(model), unwrapped(model)
    if name not in adapter_names(model):
        set_adapter(model, name)  # this refuses it
    set_adapter(model, None if name == kept.active else kept.active)
    removed = kept.by_name.pop(name)
    if all(each.settings != removed.settings for each in kept.by_name.values()):
        kept.removed.pop(removed.settings, None)
    if not kept.by_name:
        forget_names(model)


@contextmanager
def adapter_set(model: PreTrainedModel, name: Optional[str]) -> Iterator[None]:
    """Set the adapter of that name within the block, and afterwards the one that was active before."""
    before = active_adapter(model)
    with nullcontext() if name == before else alone(model):
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
    kept = kept or NamedAdapters()
    with alone(model):
        before = active_adapter(model)
        set_adapter(model, None)
        model.__dict__.pop(_KEPT, None)  # `load` must find a model without names
        try:
            load(model)
            head, prefix = adaptation_of(model).in_place["head"], base_prefix(model)
            newly_initialized = frozenset(each for each in head if each.startswith(prefix))
            saver = model.__dict__.get("save_pretrained")
            loaded = NamedAdapter(adaptation_of(model).config, newly_initialized, saver)
            put_back(model, kept.removed.pop(loaded.settings, {}))
            kept.by_name[name], kept.active = loaded, name
        finally:
            if kept.by_name:
                setattr(model, _KEPT, kept)
                wrap_forward(model)
                if kept.active is None:
                    set_adapter(model, before)


def _kept(model: PreTrainedModel) -> Optional[NamedAdapters]:
    return unwrapped(model).__dict__.get(_KEPT)
