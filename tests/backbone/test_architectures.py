"""Insertion in every supported architecture: which parameters are frozen and trained, and which methods are
refused."""

import copy
from dataclasses import replace

import pytest
import torch
import transformers
from helpers import tiny_model
from tiny_models import MODELS, build

from tensorized_adapters import AdapterConfig, UsageError, adapters_off, add_adapters, count_trained, remove_adapters
from tensorized_adapters.adapters.insertion import adapters_of
from tensorized_adapters.backbone.parts import ARCHITECTURES

CONFIG = AdapterConfig(adapter_projection_type="tt", tensorized_layer_rank=2, adapter_size=8)


def test_every_supported_architecture_is_tested():
    assert set(MODELS) == set(ARCHITECTURES)


@pytest.mark.cells("identity at start", "gradients")
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
    counts = count_trained(model)
    sizes = [16] if name in ("electra", "albert") else []  # the norm of narrower embeddings
    sizes += [16] * 4 if name == "qwen3" else []  # of queries and keys, as wide as a head
    sizes += [32] * (norms - len(sizes))
    without_bias = name in ("modernbert", "llama", "qwen2", "qwen3")
    assert counts["layer_norm"] == sum(sizes) * (1 if without_bias else 2)
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


# The last linear layers of the two sublayers, in a layer.
LAST = (
    dict.fromkeys(MODELS, ("attention.output.dense", "output.dense"))
    | {
        "distilbert": ("attention.out_lin", "ffn.lin2"),
        "albert": ("attention.dense", "ffn_output"),
        "mpnet": ("attention.attn.o", "output.dense"),
        "modernbert": ("attn.Wo", "mlp.Wo"),
        "gpt2": ("attn.c_proj", "mlp.c_proj"),
    }
    | dict.fromkeys(["llama", "qwen2", "qwen3"], ("self_attn.o_proj", "mlp.down_proj"))
)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("number, sites", enumerate(["attention", "ffn"]))
def test_the_adapter_stands_between_a_sublayers_last_layer_and_the_residual_sum(name, number, sites):
    """At this site a constant update equals a shift of that layer's bias."""
    model, _ = build(name)
    tokens, shift = torch.randint(3, 40, (2, 11)), torch.randn(32)
    shifted = copy.deepcopy(model)
    ends = f".{LAST[name][number]}"
    layers = [
        module
        for path, module in shifted.named_modules()
        if path.endswith(ends) and not (number and "attention.output" in path)  # which ends in output.dense too
    ]
    for layer in layers:
        layer.bias = torch.nn.Parameter(shift if layer.bias is None else layer.bias.detach() + shift)
    add_adapters(model, AdapterConfig(method="dense", adapter_size=4, adapter_sites=sites))
    assert len(layers) == len(list(adapters_of(model))) == 2
    for _, adapter in adapters_of(model):
        adapter.up.bias.data.copy_(shift)
    expected = shifted(input_ids=tokens).logits
    torch.testing.assert_close(model(input_ids=tokens).logits, expected, rtol=1e-4, atol=1e-5)
    with adapters_off(model):
        assert (model(input_ids=tokens).logits - expected).abs().max() > 1e-4


def test_a_site_may_be_a_block_that_returns_a_tuple(monkeypatch):
    """MPNet's attention returns (hidden states, ...). Without dropout an adapter right behind it is equivalent."""
    config = AdapterConfig(method="dense", adapter_size=4, adapter_sites="attention")
    outputs = []
    for site in ("attention.dropout", "attention.attn"):
        monkeypatch.setitem(ARCHITECTURES, "mpnet", replace(ARCHITECTURES["mpnet"], attention=site))
        model = add_adapters(build("mpnet")[0], config)
        for _, adapter in adapters_of(model):
            torch.nn.init.constant_(adapter.up.bias, 0.5)
        outputs.append(model(input_ids=torch.arange(3, 14)[None]).logits)
    assert torch.equal(*outputs)


def test_the_adapter_hangs_on_the_dropout():
    model = add_adapters(tiny_model(), CONFIG)
    site = model.bert.encoder.layer[0].output.dropout
    assert isinstance(site, torch.nn.Dropout) and [name for name, _ in site.named_children()] == ["adapter"]


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
    xlm = transformers.XLMForSequenceClassification(
        transformers.XLMConfig(vocab_size=40, emb_dim=32, n_layers=1, n_heads=2)
    )
    with pytest.raises(UsageError, match="'xlm'.*not supported.*bert, camembert, deberta"):
        add_adapters(xlm, CONFIG)
    with pytest.raises(UsageError, match="hidden size 62 has no useful split"):
        add_adapters(tiny_model(hidden_size=62), CONFIG)
    with pytest.raises(UsageError, match="the largest is 4"):
        add_adapters(tiny_model(), AdapterConfig(adapter_projection_type="tucker", tensorized_layer_rank=5))
    adapted = add_adapters(tiny_model(), CONFIG)
    with pytest.raises(UsageError, match="adapted already"):
        add_adapters(adapted, CONFIG)
