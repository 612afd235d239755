"""One named adapter: its config, and while another one is active its tensors, labels, notes, flags and gradients."""

import contextlib
from dataclasses import dataclass, field
from typing import Any, Optional

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from ..config import AdapterConfig
from .parameters import adaptation_of, added_parameters, check_present, labels_of, replaced


@dataclass
class NamedAdapter:
    """One adapter. While it is active its tensors are in the model, and ``tensors`` is empty."""

    config: AdapterConfig
    newly_initialized: frozenset[str]  # parameters of the base that are trained like the head
    saver: Any  # model.save_pretrained while it is active
    labels: dict[str, Any] = field(default_factory=dict)
    notes: dict[str, Any] = field(default_factory=dict)
    tensors: dict[str, Tensor] = field(default_factory=dict)
    requires_grad: dict[str, bool] = field(default_factory=dict)
    gradients: dict[str, Optional[Tensor]] = field(default_factory=dict, repr=False)
    backbone_when_stored: Optional[tuple[torch.device, torch.dtype]] = None  # device and precision
    # The added parameters of a method that makes new ones when its state is put into the model.
    parameters: dict[str, nn.Parameter] = field(default_factory=dict, repr=False)

    @property
    def settings(self) -> tuple[AdapterConfig, frozenset[str]]:
        """Return the settings that decide which modules are inserted. Adapters with equal ones can share modules."""
        return self.config, self.newly_initialized

    def check_fits(self, model: PreTrainedModel, trained: dict[str, nn.Parameter]) -> None:
        """Refuse a model that has a parameter of another name or shape now, as in another head; raise UsageError."""
        plain = adaptation_of(model).plain
        for name, parameter in trained.items():
            stored = self.tensors.get(name)
            fits = name not in plain if stored is None else stored.shape == parameter.shape
            if not fits:
                raise replaced(name)

    def take_from(self, model: PreTrainedModel, trained: dict[str, nn.Parameter]) -> None:
        """Store what belongs to this adapter, which is active; ``trained`` are its parameters by name. Its gradients
        are taken off them, since the next adapter may have the same ones."""
        self.tensors = adaptation_of(model).method.state(trained)
        self.requires_grad = {name: parameter.requires_grad for name, parameter in trained.items()}
        self.gradients = {name: parameter.grad for name, parameter in trained.items()}
        for parameter in trained.values():
            parameter.grad = None
        self.labels, self.backbone_when_stored = labels_of(model), _device_and_dtype(model)
        self.notes = adaptation_of(model).notes
        if adaptation_of(model).method.replaces_parameters:
            self.parameters = added_parameters(model)

    def put_into(self, model: PreTrainedModel, trained: dict[str, nn.Parameter]) -> None:
        """Copy everything into a model that has an adapter of equal settings, whose parameters are ``trained``."""
        adaptation, backbone = adaptation_of(model), _device_and_dtype(model)
        state = self.tensors
        if backbone != self.backbone_when_stored:  # the model was moved while this adapter was inactive
            device, dtype = backbone[0], backbone[1] if backbone[1] != self.backbone_when_stored[1] else None
            state = {n: t.to(device, dtype if t.is_floating_point() else None) for n, t in state.items()}
        for name, parameter in trained.items():
            # Added parameters keep their own precision. Pre-trained ones that it trains have the model's.
            if name in state and name not in adaptation.plain and parameter.dtype != state[name].dtype:
                parameter.data = parameter.data.to(state[name].dtype)
        adaptation.method.put_state(trained, state)
        if adaptation.method.replaces_parameters:
            put_back(model, self.parameters)
            self.parameters = {}
            trained = trained_by_present_name(model)
        for name, parameter in trained.items():
            parameter.requires_grad = self.requires_grad[name]
            gradient = self.gradients.get(name)
            fits = gradient is not None and (gradient.device, gradient.dtype) == (parameter.device, parameter.dtype)
            parameter.grad = gradient if fits else None
        model.config.update(self.labels)
        adaptation.notes = self.notes
        if self.saver is not None:
            model.save_pretrained = self.saver
        self.tensors, self.gradients = {}, {}


def put_back(model: PreTrainedModel, removed: dict[str, nn.Parameter]) -> None:
    """Put the Parameter objects of an earlier adapter of equal settings back, with the present values and flags and
    without gradients, so that its optimizer stays valid."""
    replaced = {id(parameter): removed[name] for name, parameter in added_parameters(model).items() if name in removed}
    for module in model.modules():
        for name, parameter in module._parameters.items():
            if (old := replaced.get(id(parameter))) is not None:
                old.grad, old.data, old.requires_grad = None, parameter.data, parameter.requires_grad
                module._parameters[name] = old


def trained_by_present_name(model: PreTrainedModel) -> dict[str, nn.Parameter]:
    """Return every trained parameter by its name in the adapted model. :func:`parameters.trained_parameters` has the
    names before adaptation. The names are cached, because finding them would take a third of a switch."""
    adaptation = adaptation_of(model)
    if adaptation.trained_names is not None:
        with contextlib.suppress(KeyError):  # a module was replaced, so the names may have changed
            return {name: _parameter_at(model, name) for name in adaptation.trained_names}
    plain, originals = adaptation.plain, adaptation.originals
    trained = {n: p for n, p in model.named_parameters() if n not in plain or plain[n] in originals}
    check_present(adaptation, {plain[name] for name in trained if name in plain})
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


def _device_and_dtype(model: PreTrainedModel) -> tuple[torch.device, torch.dtype]:
    first = next(model.parameters())
    return first.device, first.dtype
