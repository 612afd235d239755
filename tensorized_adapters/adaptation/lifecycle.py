"""The two verbs, and what lies between them: a model is adapted, computes without what was done to it, is as
before."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from transformers import PreTrainedModel

from ..backbone.parts import base_prefix
from ..config import AdapterConfig
from ..errors import UsageError
from ..methods.bottleneck import ResidualAdapters
from ..methods.registry import method_of
from .merging import unmerge_adapters
from .named import adapter_names, check_no_names, forget_names
from .parameters import Adaptation, adaptation_of, added_parameters, pretrained_parameters, unwrapped


def adapt(model: PreTrainedModel, config: AdapterConfig, newly_initialized: Iterable[str] = ()) -> PreTrainedModel:
    """Freeze ``model``, insert what ``config`` describes and mark as trainable what the method trains. In place.

    Trained is also everything outside the base model (the head) and ``newly_initialized``: parameters of the base that
    ``from_pretrained`` did not find in the checkpoint (for some models the pooler) and no saved base could give back.

    Args:
        model: a model for sequence classification, not adapted yet.
        config: the method and its settings.
        newly_initialized: parameter names, as in ``output_loading_info["missing_keys"]``.

    Returns:
        The same model; what was done to it is ``model.adaptation``.

    Raises:
        UsageError: if the model is adapted already, or the method cannot be built on it.
    """
    model = unwrapped(model)
    check_no_names(model)
    if getattr(model, "adaptation", None) is not None or hasattr(model, "peft_config"):
        raise UsageError("the model is adapted already; remove_adapters(model) first, or load a fresh one")
    method = method_of(config)
    method.check(model)
    before, prefix = dict(model.named_parameters()), base_prefix(model)
    backbone = {name for name in before if name.startswith(prefix)}
    head = (set(before) - backbone) | (set(newly_initialized) & backbone)
    in_place = {
        "backbone": method.backbone_names(model) - head,
        "layer_norm": method.layer_norm_names(model) - head,
        "head": head,
    }
    trained = set().union(*in_place.values())
    originals = {name: before[name].detach().clone() for name in before if name in trained}
    requires_grad = {name: parameter.requires_grad for name, parameter in before.items()}
    method.insert(model, head)
    plain_of = {id(parameter): name for name, parameter in before.items()}
    plain = {name: plain_of[id(p)] for name, p in model.named_parameters() if id(p) in plain_of}
    labels = {name: getattr(model.config, name) for name in ("id2label", "label2id", "problem_type")}
    model.adaptation = Adaptation(method, in_place, plain, originals, requires_grad, labels)
    for name, parameter in pretrained_parameters(model).items():
        parameter.requires_grad = name in trained
    for parameter in added_parameters(model).values():
        parameter.requires_grad = True
    return model


@torch.no_grad()
def remove_adapters(model: PreTrainedModel) -> None:
    """Make the model what it was before ``add_adapters``, bit for bit, head and labels included.

    Of a model that is not adapted nothing changes. Of named adapters all are removed.

    Raises:
        UsageError: within :func:`adapters_off`, or if a parameter that was trained has another shape now, and so
            cannot be put back; nothing was changed then.
    """
    model = unwrapped(model)
    adaptation = getattr(model, "adaptation", None)
    if adaptation is None:
        forget_names(model)
        return
    if adaptation.off:
        raise UsageError("within adapters_off(model) adapters are not removed; leave it first")
    pretrained = pretrained_parameters(model)
    for name, original in adaptation.originals.items():
        if name not in pretrained or pretrained[name].shape != original.shape:
            raise UsageError(f"{name} was replaced since add_adapters; put it back, or load a fresh model")
    unmerge_adapters(model)
    if adapter_names(model):
        forget_names(model)
        return
    adaptation.method.remove(model)
    model.__dict__.pop("save_pretrained", None)
    del model.adaptation
    for name, parameter in pretrained.items():
        parameter.requires_grad = adaptation.requires_grad[name]
        if name in adaptation.originals:
            parameter.copy_(adaptation.originals[name])
    for name, value in adaptation.labels.items():
        setattr(model.config, name, value)


@contextmanager
def adapters_off(model: PreTrainedModel) -> Iterator[None]:
    """Within it the model computes as before ``add_adapters``, head included; afterwards it is as it was.

    Raises:
        UsageError: if the model is not adapted, or its adapters are merged.
    """
    model = unwrapped(model)
    adaptation = _not_merged(model)
    if adaptation.off:  # nested: it computes so already
        yield
        return
    pretrained = pretrained_parameters(model)
    trained = {name: pretrained[name].data for name in adaptation.originals}
    adaptation.off = True
    with _switched_off(model, adaptation):
        try:
            for name, original in adaptation.originals.items():
                pretrained[name].data = original.to(trained[name].device, trained[name].dtype)
            yield
        finally:
            for name, values in trained.items():
                pretrained[name].data = values
            adaptation.off = False


@contextmanager
def updates_off(model: PreTrainedModel) -> Iterator[None]:
    """Within it every adapter h -> h + update(h) hands h on, bit for bit; LayerNorms and head stay as trained.

    What the model then loses is what its adapters account for. :func:`adapters_off` puts back all that was trained.

    Raises:
        UsageError: if the model is not adapted, its adapters are merged, or its method inserts no such adapters.
    """
    model = unwrapped(model)
    adaptation = _not_merged(model)
    if not isinstance(adaptation.method, ResidualAdapters):
        raise UsageError(f"--method {adaptation.config.method} inserts no adapters h + update(h); use adapters_off")
    with _switched_off(model, adaptation):
        yield


def _not_merged(model: PreTrainedModel) -> Adaptation:
    adaptation = adaptation_of(model)
    if adaptation.merged is not None:
        raise UsageError("the adapters are merged into the weights; unmerge_adapters(model) first")
    return adaptation


@contextmanager
def _switched_off(model: PreTrainedModel, adaptation: Adaptation) -> Iterator[None]:
    """What the method inserted does not compute; of nested ones the outermost switches."""
    if adaptation.switched_off:
        yield
        return
    adaptation.switched_off = True
    adaptation.method.switch(model, on=False)
    try:
        yield
    finally:
        adaptation.method.switch(model, on=True)
        adaptation.switched_off = False
