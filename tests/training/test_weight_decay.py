"""Weight decay acts on the weight that a method trains, not on each of its factors."""

import pytest
import torch
from exhaustive import exhaustive_but
from helpers import logits, optimizer_of, tiny_model, trained_a_little
from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING
from peft_cases import LORA, config_of
from tiny_models import CONFIGS

from tensorized_adapters import AdapterConfig, add_adapters, optimizer_groups
from tensorized_adapters.adapters.fast import factorized_weights
from tensorized_adapters.methods.peft_settings import REFUSED

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


TYPES = sorted({kind.value.lower() for kind in PEFT_TYPE_TO_CONFIG_MAPPING} - set(REFUSED) - {"tensorized"})
SETTINGS_OF_TYPES = {
    **{kind: config_of(kind) for kind in TYPES},
    **{name: config_of("lora", **settings) for name, settings in LORA.items()},
    "lokr, four factors": config_of("lokr", r=2, decompose_both=True, decompose_factor=4),
    "gralora, hybrid": config_of("gralora", r=8, hybrid_r=4),
    "supertuning with a product": config_of("supertuning", r=4),
}
# These methods train parts of the pre-trained weights, which decay as in full fine-tuning.
PARTS_OF_WEIGHTS = {"osf", "trainable_tokens", "PiSSA", "OLoRA"}
# Each update of these methods is the product of all factors of a layer, or a sum of products of two.
PRODUCTS = {"adamss", "deft", "gralora", "gralora, hybrid", "hira", "loha", "lokr", "lokr, four factors", "lora"}
PRODUCTS |= {"peanut", "randlora", "rsLoRA", "supertuning with a product", "vera"}


@pytest.mark.parametrize("name", sorted(SETTINGS_OF_TYPES.keys() - PARTS_OF_WEIGHTS))
def test_a_start_without_effect_stays_without_effect(name):
    """A vector that starts as a scale is not decayed, as it would take the pre-trained weights with it."""
    model = tiny_model()
    plain = logits(model)
    add_adapters(model, SETTINGS_OF_TYPES[name])
    before = logits(model)
    decayed(torch.optim.AdamW(optimizer_groups(model, RATE, head=0.0, layer_norm=0.0, weight_decay=DECAY)), model)
    if torch.allclose(before, plain, atol=1e-6):
        torch.testing.assert_close(logits(model), before, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", sorted(PRODUCTS))
def test_a_product_of_peft_decays_as_a_dense_weight_does(name):
    model = trained_a_little(add_adapters(tiny_model(), SETTINGS_OF_TYPES[name]))

    @torch.no_grad()
    def updates():
        return torch.stack([delta.norm() for _, delta in model.adaptation.method.deltas(model)])

    before = updates()
    decayed(torch.optim.AdamW(optimizer_groups(model, RATE, weight_decay=DECAY)), model)
    left = updates() / before
    assert before.min() > 0 and (left / (1 - RATE * DECAY) ** STEPS - 1).abs().max() < 0.05
