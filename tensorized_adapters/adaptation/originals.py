"""Gives a model the values from before training for a while.

Constants replace the trained parameters. Overwriting the values instead would give wrong gradients, because autograd
reads them in the backward pass.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn
from transformers import PreTrainedModel

from .parameters import adaptation_of, precisions_before, pretrained_parameters


@contextmanager
def originals_in_place(model: PreTrainedModel) -> Iterator[None]:
    """Replace the trained pre-trained parameters by constants with their original values, within the block."""
    pretrained = pretrained_parameters(model)
    constants: dict[int, nn.Parameter] = {}
    precisions = precisions_before(model)
    made: dict[int, torch.dtype] = {}
    for name, original in adaptation_of(model).originals.items():
        trained = pretrained[name]
        made[id(trained)] = precisions[name]
        constants[id(trained)] = nn.Parameter(original.to(trained.device, precisions[name]), requires_grad=False)
    # All modules that hold a parameter, since layers may share it.
    slots = [
        (module, name, parameter)
        for module in model.modules()
        for name, parameter in module._parameters.items()
        if id(parameter) in constants
    ]
    try:
        for module, name, trained in slots:
            module._parameters[name] = constants[id(trained)]
        yield
    finally:
        for module, name, trained in slots:
            constant = module._parameters[name]
            converted = constant.dtype != made[id(trained)]
            if constant.device != trained.device or converted:  # the model was moved meanwhile
                trained.data = trained.data.to(constant.device, constant.dtype if converted else trained.dtype)
            module._parameters[name] = trained
