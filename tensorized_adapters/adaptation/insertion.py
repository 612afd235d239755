"""Inserts a method into a model and removes it. Every other step of an adapter's life uses these two functions."""

from collections.abc import Iterable
from typing import Any

import torch
from transformers import PreTrainedModel

from ..backbone.parts import base_prefix
from ..config import AdapterConfig
from ..errors import UsageError
from ..methods.registry import method_of
from .forward import unwrap_forward, wrap_forward
from .parameters import (
    Adaptation,
    added_parameters,
    check_present,
    labels_of,
    not_off,
    precisions_before,
    pretrained_parameters,
    replaced,
    trained_parameters,
)
from .precision import half_precision_of, raise_precision, restore_classes

_WITHIN = "is_in_adapted_model"  # an attribute of the base model, which does not know the model that holds it


def check_not_adapted(model: PreTrainedModel) -> None:
    """Raise UsageError if the model, a model within it, or one that it is the base model of is adapted."""
    for name, part in model.named_modules():
        part_name, path = (f"the model's {name}", f"model.{name}") if name else ("the model", "model")
        if "adaptation" in part.__dict__:
            raise UsageError(f"{part_name} is adapted already; remove_adapters({path}) first, or load a fresh one")
        if _WITHIN in part.__dict__:
            raise UsageError(
                f"{part_name} is the base model of one that is adapted already; call remove_adapters on that one "
                "first, or load a fresh one"
            )


def trainable_in_inference_mode(model: PreTrainedModel) -> torch.inference_mode:
    """Return a context in which new parameters can be trained if those of the model can. Without it, parameters that
    are made in inference mode could never be trained."""
    return torch.inference_mode(next(model.parameters()).is_inference())


def insert_method(model: PreTrainedModel, config: AdapterConfig, newly_initialized: Iterable[str] = ()) -> None:
    """Freeze a plain model, insert the method of ``config``, and mark as trainable what it trains. Raise UsageError if
    the method cannot be built on the model."""
    method = method_of(config)
    method.check(model)
    half = half_precision_of(model)
    before, prefix, new = dict(model.named_parameters()), base_prefix(model), set(newly_initialized)
    modules = set(map(id, model.modules()))
    head = {name for name in before if name in new or not name.startswith(prefix)}
    in_place = {
        "backbone": method.backbone_names(model) - head,
        "layer_norm": method.layer_norm_names(model) - head,
        "head": head,
    }
    trained = set().union(*in_place.values())
    originals = {name: before[name].detach().clone() for name in before if name in trained}
    requires_grad = {name: parameter.requires_grad for name, parameter in before.items()}
    originals |= method.insert(model, head) or {}
    for module in model.modules():
        if id(module) not in modules:  # a new module's dropout is off in a model that evaluates
            module.training = model.training
    plain_of = {id(parameter): name for name, parameter in before.items()}
    plain = {name: plain_of[id(p)] for name, p in model.named_parameters() if id(p) in plain_of}
    if half is not None:
        raise_precision(model, {id(p) for name, p in model.named_parameters() if plain.get(name) in {None, *trained}})
    model.adaptation = Adaptation(method, in_place, plain, originals, requires_grad, labels_of(model), half=half)
    model.register_load_state_dict_post_hook(_after_loading)
    if model.base_model is not model:
        setattr(model.base_model, _WITHIN, True)
    wrap_forward(model)
    for name, parameter in pretrained_parameters(model).items():
        parameter.requires_grad = name in trained
    for parameter in added_parameters(model).values():
        parameter.requires_grad = True


def check_removable(model: PreTrainedModel) -> None:
    """Refuse to remove a method if a trained parameter was replaced, since its original could not be restored."""
    adaptation, pretrained = model.adaptation, pretrained_parameters(model)
    not_off(adaptation)
    check_present(adaptation, pretrained)
    for name, original in adaptation.originals.items():
        if pretrained[name].shape != original.shape:
            raise replaced(name)


@torch.no_grad()
def take_out_method(model: PreTrainedModel, keep_forward: bool = False) -> None:
    """Make an adapted model the plain one again, bit for bit, labels included. With ``keep_forward`` our ``forward``
    stays, because another adapter follows."""
    adaptation, pretrained = model.adaptation, pretrained_parameters(model)
    precisions = precisions_before(model)
    restore_classes(model)
    adaptation.method.remove(model)
    model.__dict__.pop("save_pretrained", None)
    del model.adaptation
    model.base_model.__dict__.pop(_WITHIN, None)
    hooks = model._load_state_dict_post_hooks
    for key in [key for key, hook in hooks.items() if hook is _after_loading]:
        del hooks[key]
    if not keep_forward:
        unwrap_forward(model)
    for name, parameter in pretrained.items():
        parameter.requires_grad = adaptation.requires_grad[name]
        if name in adaptation.originals:
            if parameter.dtype != precisions[name]:
                parameter.data, parameter.grad = parameter.data.to(precisions[name]), None
            parameter.copy_(adaptation.originals[name])
    torch.clear_autocast_cache()  # it may hold casts of the values that were overwritten
    model.config.update(adaptation.labels)


def _after_loading(model: PreTrainedModel, incompatible: Any) -> None:
    """Tie shared parameters, and report no missing keys if a state dict holds exactly the trained parameters, as a
    checkpoint's does. Otherwise a Trainer that resumes would report every frozen parameter."""
    missing = set(incompatible.missing_keys)
    if getattr(model, "adaptation", None) is None:
        return
    model.adaptation.method.tie(model)
    if missing:
        named = model.named_parameters(remove_duplicate=False)  # a file has one name for a shared parameter
        loaded = {id(parameter) for name, parameter in named if name not in missing}
        if loaded == {id(parameter) for parameter in trained_parameters(model).values()}:
            incompatible.missing_keys.clear()
