"""Telling the pre-trained parameters of an adapted model from those that a method added, by their plain names."""

import re

from torch import nn
from transformers import PreTrainedModel

from ..adapters.insertion import adapters_of
from ..architectures import base_prefix

_PARAMETRIZED = re.compile(r"(.*)\.parametrizations\.(\w+)\.original")
_ADDED = re.compile(r".*\.(lora_[AB]\.|parametrizations\.\w+\.\d+\.).*")


def plain_name(name: str) -> str:
    """A parameter's name as in the model before peft or a parametrization wrapped its module."""
    match = _PARAMETRIZED.fullmatch(name)
    return f"{match[1]}.{match[2]}" if match else name.replace(".base_layer.", ".")


def added_parameters(model: PreTrainedModel) -> dict[str, nn.Parameter]:
    """What a method added: adapters, LoRA matrices, differences; in the model's order."""
    adapters = tuple(f"{name}." for name, _ in adapters_of(model))
    return {
        name: parameter
        for name, parameter in model.named_parameters()
        if _ADDED.fullmatch(name) or (adapters and name.startswith(adapters))
    }


def pretrained_parameters(model: PreTrainedModel) -> dict[str, nn.Parameter]:
    """All other parameters, head included, by their plain names."""
    added = added_parameters(model)
    return {plain_name(name): parameter for name, parameter in model.named_parameters() if name not in added}


def backbone_parameters(model: PreTrainedModel) -> dict[str, nn.Parameter]:
    """The base model's pre-trained parameters, by their plain names."""
    prefix = base_prefix(model)
    return {name: p for name, p in pretrained_parameters(model).items() if name.startswith(prefix)}
