"""Weight decay acts on the weight that a method trains, not on each of its factors."""

import pytest
import torch
from exhaustive import exhaustive_but
from helpers import optimizer_of, tiny_model, trained_a_little
from tiny_models import CONFIGS

from tensorized_adapters import AdapterConfig, add_adapters, optimizer_groups
from tensorized_adapters.adapters.fast import factorized_weights

RATE, DECAY, STEPS = 5e-3, 0.1, 400
ALL_RATES = {"adapters": RATE, "backbone": RATE, "layer_norm": RATE, "head": RATE}
FACTORISED = {
    f"{kind}{', ' + split if split != 'separate' else ''}": AdapterConfig(
        adapter_projection_type=kind, tensorized_layer_rank=2, adapter_size=8, tensor_split=split
    )
    for kind, split in (
        ("cp", "separate"),
        ("tucker", "separate"),
        ("tt", "separate"),
        ("tr", "separate"),
        ("matrix", "separate"),
        ("tr", "interleaved"),
    )
}
FACTORISED |= {key: CONFIGS[key] for key in ("joint", "weights", "weights, joint", "compacter", "dense", "lora")}


def weights_of(model):
    """The norm of every weight that the method trains, as the model applies it."""
    factorised = [weight.matrix().norm() for weight in factorized_weights(model)]
    method = model.adaptation.config.method
    if method == "dense":
        factorised = [p.norm() for n, p in model.named_parameters() if n.endswith(("down.weight", "up.weight"))]
    if method == "lora":
        factorised = [delta.norm() for _, delta in model.adaptation.method.deltas(model)]
    return torch.stack(factorised).detach()


def decayed(optimizer, model):
    """Steps without any gradient: only weight decay moves the parameters."""
    for _ in range(STEPS):
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                parameter.grad = torch.zeros_like(parameter)
        optimizer.step()


@pytest.mark.parametrize("own_loop", exhaustive_but([False], [True, False]), ids=["own loop", "Trainer"])
@pytest.mark.parametrize("config", FACTORISED.values(), ids=FACTORISED)
def test_an_assembled_weight_decays_as_a_dense_one_does(config, own_loop, tmp_path):
    model = trained_a_little(add_adapters(tiny_model(), config))
    if own_loop:
        optimizer = torch.optim.AdamW(optimizer_groups(model, RATE, 1.0, 1.0, weight_decay=DECAY))
    else:
        optimizer = optimizer_of(model, ALL_RATES, tmp_path, weight_decay=DECAY)
    before = weights_of(model)
    decayed(optimizer, model)
    left = weights_of(model) / before
    expected = (1 - RATE * DECAY) ** STEPS
    assert (left / expected - 1).abs().max() < 0.05
    assert len(optimizer.param_groups) <= 4


def test_vectors_that_start_at_one_are_not_decayed():
    model = add_adapters(tiny_model(), CONFIGS["ia3"])
    vectors = {name: p for name, p in model.named_parameters() if "ia3_l" in name}
    decayed(torch.optim.AdamW(optimizer_groups(model, RATE, weight_decay=DECAY)), model)
    assert vectors and all((vector == 1).all() for vector in vectors.values())
