"""What adapting a model does to its modules, as patches: the dictionaries of parameters, children and hooks that one
has with an adapter and without. To switch is to put such dictionaries in place; no number is touched.

Whatever an adapter trains in place (LayerNorms, biases, head) it has as parameters of its own.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

from .parameters import adaptation_of, pretrained_parameters

_LABELS = ("id2label", "label2id", "problem_type")


@dataclass
class Patch:
    """What a module has with an adapter and without: its class, and those of its attributes that differ."""

    module: nn.Module
    kinds: tuple[type, type]
    with_adapter: dict[str, Any]
    without: dict[str, Any]

    def put(self, on: bool) -> None:
        """Put the one in place, and keep the other as it is now: hooks may have come and tensors have moved."""
        new, old = (self.with_adapter, self.without) if on else (self.without, self.with_adapter)
        attributes = self.module.__dict__
        for name in old:
            old[name] = attributes.pop(name)
        attributes.update(new)
        if self.kinds[0] is not self.kinds[1]:
            self.module.__class__ = self.kinds[not on]


@dataclass
class Named:
    """One adapter, whether it is in the model or not."""

    patches: list[Patch]
    modules: list[nn.Module]  # those that it brings along
    parameters: tuple[list[nn.Parameter], list[nn.Parameter]]  # of the model with it alone, and without it alone
    labels: dict[str, Any]


def patched(model: PreTrainedModel, load: Callable[[PreTrainedModel], Any]) -> Named:
    """Run ``load`` and take down what it changed. It works on copies of the modules' dictionaries, so that those that
    the plain backbone has stay whole."""
    modules, parameters = list(model.modules()), list(model.parameters())
    before = [(type(module), dict(module.__dict__)) for module in modules]
    for module in modules:
        for name, value in module.__dict__.items():
            if isinstance(value, (dict, set)):
                module.__dict__[name] = value.copy()
    try:
        load(model)
    except BaseException:
        for module, (kind, attributes) in zip(modules, before):
            module.__class__ = kind
            module.__dict__.clear()
            module.__dict__.update(attributes)
        raise
    _own_parameters(model)
    patches = []
    for module, (kind, plain) in zip(modules, before):
        now = module.__dict__
        for name in now.keys() & plain.keys():
            if _same(now[name], plain[name]):
                now[name] = plain[name]
        changed = [name for name in now.keys() | plain.keys() if now.get(name) is not plain.get(name)]
        if changed or kind is not type(module):
            new, old = ({name: of[name] for name in changed if name in of} for of in (now, plain))
            patches.append(Patch(module, (type(module), kind), new, old))
    known, adapted = {id(module) for module in modules}, list(model.parameters())
    alone = [[p for p in ours if id(p) not in set(map(id, theirs))] for ours, theirs in
             ((adapted, parameters), (parameters, adapted))]  # fmt: skip
    brought = [module for module in model.modules() if id(module) not in known]
    return Named(patches, brought, (alone[0], alone[1]), labels_of(model))


@torch.no_grad()
def _own_parameters(model: PreTrainedModel) -> None:
    """Give the adapter parameters of its own in place of those that it trained, and these their values before."""
    pretrained, own = pretrained_parameters(model), {}
    for name, original in adaptation_of(model).originals.items():
        plain = pretrained[name]
        own[id(plain)] = nn.Parameter(plain.detach().clone(), requires_grad=plain.requires_grad)
        plain.copy_(original)
    for module in model.modules():
        for name, parameter in module._parameters.items():
            if id(parameter) in own:
                module._parameters[name] = own[id(parameter)]


def _same(one: Any, other: Any) -> bool:
    """Whether two attributes are one, or copies with the same contents."""
    if type(one) is not type(other) or not isinstance(one, (dict, set)):
        return one is other
    if isinstance(one, set):
        return one == other
    return list(one) == list(other) and all(value is other[key] for key, value in one.items())


def labels_of(model: PreTrainedModel) -> dict[str, Any]:
    return {name: getattr(model.config, name) for name in _LABELS}
