"""Insertion in every supported architecture; what is frozen, trained and refused."""

import copy

import pytest
import torch
import transformers
from helpers import MODELS, build, tiny_model

from tensorized_adapters import AdapterConfig, UsageError, add_adapters, parameter_groups, remove_adapters
from tensorized_adapters.adapters.insertion import adapters_of
from tensorized_adapters.architectures import ARCHITECTURES

CONFIG = AdapterConfig(adapter_projection_type="tt", tensorized_layer_rank=2, adapter_size=8)


def test_every_supported_architecture_is_tested():
    assert set(MODELS) == set(ARCHITECTURES)


@pytest.mark.parametrize("name", MODELS)
def test_the_adapted_model_starts_as_the_backbone_bit_for_bit(name):
    model, norms = build(name)
    tokens = torch.randint(3, 40, (2, 11))
    before = model(input_ids=tokens).logits
    names = set(dict(model.named_parameters()))
    add_adapters(model, CONFIG)
    assert torch.equal(model(input_ids=tokens).logits, before)

    adapters = list(adapters_of(model))
    assert len(adapters) == 4
    assert names <= set(dict(model.named_parameters()))  # the backbone's names are what they were
    counts = parameter_groups(model)
    sizes = [16] if name == "electra" else []  # the norm of ELECTRA's narrower embeddings
    sizes += [32] * (norms - len(sizes))
    assert counts["layer_norm"] == 2 * sum(sizes)
    assert counts["head"] > 0

    # Training moves the adapters, and the adapters move the logits.
    model.train()
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=1.0)
    frozen = {n: p.clone() for n, p in model.named_parameters() if not p.requires_grad}
    loss = model(input_ids=tokens, labels=torch.tensor([0, 1])).loss
    loss.backward()
    optimizer.step()
    assert all(adapter.up.factors[-1].abs().max() > 0 for _, adapter in adapters)
    assert all(torch.equal(p, dict(model.named_parameters())[n]) for n, p in frozen.items())


def test_the_adapter_stands_between_dropout_and_the_residual_sum():
    model = add_adapters(tiny_model(), CONFIG)
    site = model.bert.encoder.layer[0].output.dropout
    assert [name for name, _ in site.named_children()] == ["dropout", "adapter"]
    assert isinstance(site.dropout, torch.nn.Dropout)


@pytest.mark.parametrize("sites, expected", [("both", 4), ("attention", 2), ("ffn", 2)])
def test_sites(sites, expected):
    config = AdapterConfig(adapter_projection_type="cp", tensorized_layer_rank=1, adapter_size=4, adapter_sites=sites)
    names = [name for name, _ in adapters_of(add_adapters(tiny_model(), config))]
    assert len(names) == expected
    if sites != "both":
        assert all((".attention." in name) == (sites == "attention") for name in names)


@pytest.mark.parametrize(
    "config, trained",
    [
        (AdapterConfig(method="head"), {"classifier"}),
        (AdapterConfig(method="layer_norm"), {"classifier", "LayerNorm"}),
        (CONFIG, {"classifier", "LayerNorm", "adapter"}),
        (
            AdapterConfig(
                adapter_projection_type="tt", tensorized_layer_rank=2, adapter_size=8, train_layer_norm=False
            ),
            {"classifier", "adapter"},
        ),
    ],
)
def test_each_methods_gradients_reach_exactly_what_it_names(config, trained):
    model = add_adapters(tiny_model(), config).train()
    model(input_ids=torch.randint(5, 20, (2, 7)), labels=torch.tensor([0, 1])).loss.backward()
    for name, parameter in model.named_parameters():
        assert (parameter.grad is not None) == any(part in name for part in trained), name


def test_what_from_pretrained_drew_anew_is_head():
    model = add_adapters(tiny_model(), AdapterConfig(method="head"), newly_initialized=["bert.pooler.dense.weight"])
    assert model.bert.pooler.dense.weight.requires_grad
    assert not model.bert.pooler.dense.bias.requires_grad


def test_remove_gives_the_backbone_back():
    model = tiny_model()
    tokens = torch.randint(5, 20, (2, 7))
    names, before = list(model.state_dict()), model(input_ids=tokens).logits
    add_adapters(model, CONFIG)
    remove_adapters(model)
    assert list(model.state_dict()) == names
    assert torch.equal(model(input_ids=tokens).logits, before)
    add_adapters(model, CONFIG)  # and it can be adapted again


def test_copies_are_independent():
    model = add_adapters(tiny_model(), CONFIG)
    twin = copy.deepcopy(model)
    with torch.no_grad():
        next(adapters_of(twin))[1].up.factors[-1].add_(1)
    assert next(adapters_of(model))[1].up.factors[-1].abs().max() == 0


def test_refusals():
    distilbert = transformers.DistilBertForSequenceClassification(
        transformers.DistilBertConfig(vocab_size=40, dim=32, n_layers=1, n_heads=2, hidden_dim=64)
    )
    with pytest.raises(UsageError, match="'distilbert'.*not supported.*bert, camembert, deberta"):
        add_adapters(distilbert, CONFIG)
    with pytest.raises(UsageError, match="hidden size 62 has no useful split"):
        add_adapters(tiny_model(hidden_size=62), CONFIG)
    with pytest.raises(UsageError, match="the largest is 4"):
        add_adapters(tiny_model(), AdapterConfig(adapter_projection_type="tucker", tensorized_layer_rank=5))
    adapted = add_adapters(tiny_model(), CONFIG)
    with pytest.raises(UsageError, match="adapted already"):
        add_adapters(adapted, CONFIG)
