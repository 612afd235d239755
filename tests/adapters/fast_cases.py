"""Configurations that differ in how they are computed, and the gradients of a tiny model with each of them."""

import torch
from helpers import tiny_model

from tensorized_adapters import AdapterConfig, add_adapters

CONFIGS = [
    AdapterConfig(adapter_projection_type=kind, tensorized_layer_rank=2, adapter_size=8, if_adapter_like=mode)
    for kind in ("cp", "tucker", "tt", "tr", "matrix")
    for mode in (True, False)
]
COMPACTER = AdapterConfig(method="compacter", adapter_size=8)
CONFIGS += [COMPACTER]
CONFIGS += [
    AdapterConfig(adapter_projection_type=kind, tensorized_layer_rank=2, adapter_size=8, tensor_split="interleaved")
    for kind in ("cp", "tr")
]
CONFIGS += [
    AdapterConfig(adapter_projection_type=kind, tensorized_layer_rank=2, adapter_size=8, tensor_scope="model", **more)
    for kind, more in (("cp", {}), ("tucker", {"if_adapter_like": False}), ("tt", {"tensor_split": "interleaved"}))
]
CONFIGS += [
    AdapterConfig(adapter_projection_type="cp", tensorized_layer_rank=2, adapter_size=8, adapter_placement="parallel"),
    AdapterConfig(adapter_projection_type="tt", tensorized_layer_rank=2, adapter_placement="weights"),
]


def name(config):
    return config.describe()


def batch():
    generator = torch.Generator().manual_seed(1)
    return {"input_ids": torch.randint(5, 20, (3, 9), generator=generator), "labels": torch.tensor([0, 1, 1])}


def model_of(config, **changes):
    """Return an adapted model without dropout, in which every trained number differs from its start."""
    backbone = tiny_model(hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0, **changes)
    model = add_adapters(backbone, config).double()
    torch.manual_seed(2)
    for parameter in model.parameters():
        if parameter.requires_grad:
            torch.nn.init.normal_(parameter, std=0.3)
    return model


def gradients(model, forward=None, **options):
    model.train().zero_grad()
    torch.manual_seed(4)
    output = (model if forward is None else forward)(**batch(), **options)
    output.loss.backward()
    return output.logits.detach(), {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}


def assert_same(one, other):
    torch.testing.assert_close(one[0], other[0], rtol=1e-10, atol=1e-12)
    assert one[1].keys() == other[1].keys()
    for key, gradient in one[1].items():
        torch.testing.assert_close(gradient, other[1][key], rtol=1e-8, atol=1e-10)
