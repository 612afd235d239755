"""Each baseline against an independent statement of it: numpy's Kronecker product, peft alone, plain arithmetic."""

import copy
import json
import math

import numpy as np
import pytest
import torch
from helpers import logits, tiny_model, tokens, trained_a_little
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoModelForSequenceClassification

from tensorized_adapters import AdapterConfig, UsageError, add_adapters, count_trained, load_adapter, save_adapter
from tensorized_adapters.adapters.compacter import CompacterAdapter, PHMWeight
from tensorized_adapters.adapters.dense import DenseAdapter
from tensorized_adapters.adapters.fast import factorized_weights
from tensorized_adapters.adapters.insertion import adapters_of
from tensorized_adapters.tensors.factorized_weight import project


@pytest.mark.parametrize("n, n_in, n_out", [(2, 12, 8), (4, 32, 8), (4, 8, 32), (8, 64, 64)])
def test_a_phm_weight_is_a_sum_of_kronecker_products(n, n_in, n_out):
    weight = PHMWeight(n_in, n_out, torch.nn.Parameter(torch.randn(n, n, n))).double()
    for parameter in (weight.left, weight.right):
        torch.nn.init.normal_(parameter)
    rule, left, right = (p.detach().numpy() for p in (weight.rule, weight.left, weight.right))
    explicit = sum(np.kron(rule[i], np.outer(left[i], right[i])) for i in range(n))
    assert np.abs(weight.to_tensor().detach().numpy() - explicit).max() < 1e-12
    assert np.abs(weight.matrix().detach().numpy() - explicit).max() < 1e-12

    x = torch.randn(3, 5, n_in, dtype=torch.float64)
    assert np.abs(project(x, weight.matrices()).detach().numpy() - x.numpy() @ explicit).max() < 1e-12

    # The gradients are those of the explicit sum.
    dense = [torch.tensor(values, requires_grad=True) for values in (rule, left, right)]
    assembled = sum(torch.kron(dense[0][i], torch.outer(dense[1][i], dense[2][i])) for i in range(n))
    target = torch.randn(3, 5, n_out, dtype=torch.float64)
    ((x @ assembled) * target).sum().backward()
    (project(x, weight.matrices()) * target).sum().backward()
    for ours, theirs in zip((weight.rule, weight.left, weight.right), dense):
        torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-10, atol=1e-10)


def test_compacter_shares_its_slow_matrices_over_all_adapters():
    model = add_adapters(tiny_model(), AdapterConfig(method="compacter", adapter_size=8))
    weights = [weight for _, adapter in adapters_of(model) for weight in factorized_weights(adapter)]
    assert len(weights) == 8 and len({id(weight.rule) for weight in weights}) == 1
    assert sum(name.endswith(".rule") for name, _ in model.named_parameters()) == 1
    model.double()
    assert len({id(weight.rule) for weight in weights}) == 1


def test_compacters_rule_stays_shared_when_a_state_dict_is_assigned(tmp_path):
    config = AdapterConfig(method="compacter", adapter_size=8)
    model, again = (add_adapters(tiny_model(), config) for _ in range(2))
    again.load_state_dict(copy.deepcopy(trained_a_little(model).state_dict()), assign=True)
    assert torch.equal(logits(again), logits(model)) and count_trained(again) == count_trained(model)
    save_adapter(trained_a_little(again), tmp_path)
    assert torch.equal(logits(load_adapter(tiny_model(), tmp_path)), logits(again))


@pytest.mark.parametrize("kind, method", [(DenseAdapter, "dense"), (CompacterAdapter, "compacter")])
def test_dense_and_compacter_start_as_the_tensorized_adapters(kind, method):
    torch.manual_seed(0)
    adapter = kind(AdapterConfig(method=method, adapter_size=16), 96)
    down = adapter.down.weight if method == "dense" else adapter.down.matrix()
    assert down.std(correction=0).item() == pytest.approx(1 / math.sqrt(96), rel=1e-5)
    x = torch.randn(2, 5, 96)
    assert torch.equal(adapter(x), x)


@pytest.mark.parametrize("kind, method", [(DenseAdapter, "dense"), (CompacterAdapter, "compacter")])
def test_their_forward_pass(kind, method):
    adapter = kind(AdapterConfig(method=method, adapter_size=16), 96).double()
    for parameter in adapter.parameters():
        torch.nn.init.normal_(parameter)
    if method == "dense":
        weights, biases = (adapter.down.weight.T, adapter.up.weight.T), (adapter.down.bias, adapter.up.bias)
    else:
        weights, biases = (adapter.down.matrix(), adapter.up.matrix()), (adapter.down_bias, adapter.up_bias)
    x = torch.randn(2, 5, 96, dtype=torch.float64)
    expected = x + torch.relu(x @ weights[0] + biases[0]) @ weights[1] + biases[1]
    torch.testing.assert_close(adapter(x), expected, rtol=1e-12, atol=1e-10)


def test_one_rate_moves_compacters_weights_like_a_dense_layers():
    """A coherent sign step of every factor by the rate changes the down weight by about the rate."""
    torch.manual_seed(0)
    adapter, rate = CompacterAdapter(AdapterConfig(method="compacter"), 384), 1e-4
    before = adapter.down.matrix().detach().double()
    with torch.no_grad():
        for parameter in adapter.down.parameters():
            parameter += rate * torch.sign(parameter)
        adapter.up.right += rate * torch.randn_like(adapter.up.right).sign()
    assert 0.4 * rate < (adapter.down.matrix().double() - before).std().item() < 1.6 * rate
    assert adapter.up.matrix().std().item() == pytest.approx(rate, rel=0.35)


@pytest.mark.parametrize("size, hidden", [(10, 32), (8, 30)])
def test_a_phm_dim_that_does_not_divide_is_refused(size, hidden):
    config = AdapterConfig(method="compacter", adapter_size=size)
    with pytest.raises(UsageError, match="--phm_dim 4 does not divide"):
        add_adapters(tiny_model(hidden_size=hidden, num_attention_heads=2), config)


def test_lora_equals_a_model_made_with_peft_alone(base):
    """The same seed draws the same matrices, and the same steps give the same numbers, bit for bit."""
    ours = AutoModelForSequenceClassification.from_pretrained(base)
    theirs = AutoModelForSequenceClassification.from_pretrained(base)
    theirs.load_state_dict(ours.state_dict())
    torch.manual_seed(3)
    add_adapters(ours, AdapterConfig(method="lora", lora_r=3, lora_alpha=7))
    torch.manual_seed(3)
    config = LoraConfig(task_type="SEQ_CLS", r=3, lora_alpha=7, target_modules=["query", "value"])
    theirs = get_peft_model(theirs, config)
    trained = {n: p for n, p in theirs.named_parameters() if p.requires_grad}
    assert len(trained) == sum(p.requires_grad for p in ours.parameters())
    for model in (ours, theirs):
        torch.manual_seed(4)
        trained_a_little(model)
    assert torch.equal(logits(ours), logits(theirs))
    for name, parameter in ours.named_parameters():
        if "lora_" in name:
            assert torch.equal(parameter, trained[f"base_model.model.{name}"])


@pytest.mark.parametrize("new", [(), ("bert.pooler.dense.weight", "bert.pooler.dense.bias")])
def test_peft_loads_a_saved_lora_folder(base, tmp_path, new):
    model = AutoModelForSequenceClassification.from_pretrained(base)
    config = AdapterConfig(method="lora", lora_r=2, lora_targets="query, intermediate.dense")
    save_adapter(trained_a_little(add_adapters(model, config, newly_initialized=new)), tmp_path)
    fresh = AutoModelForSequenceClassification.from_pretrained(base)
    theirs = PeftModel.from_pretrained(fresh, tmp_path)
    assert torch.equal(logits(theirs), logits(model))
    assert json.loads((tmp_path / "adapter_config.json").read_text())["peft_type"] == "LORA"
    assert json.loads((tmp_path / "tensorized_adapters.json").read_text())["adapter"]["lora_r"] == 2
    (tmp_path / "tensorized_adapters.json").unlink()
    with pytest.raises(UsageError, match="is not an adapter of this program"):
        load_adapter(AutoModelForSequenceClassification.from_pretrained(base), tmp_path)


def test_a_folder_that_held_lora_holds_what_was_saved_last(base, tmp_path):
    for config in (AdapterConfig(method="lora", lora_r=2), AdapterConfig(method="head")):
        save_adapter(add_adapters(AutoModelForSequenceClassification.from_pretrained(base), config), tmp_path)
        again = load_adapter(AutoModelForSequenceClassification.from_pretrained(base), tmp_path)
        assert again.adaptation.config == config


@pytest.mark.parametrize("targets", ["quarry", "query,nothing", "LayerNorm", "classifier"])
def test_unknown_lora_targets_are_refused(targets):
    with pytest.raises(UsageError, match="no linear layer is called so; known: .*attention|self.query"):
        add_adapters(tiny_model(), AdapterConfig(method="lora", lora_targets=targets))


def test_lora_reaches_every_layer_it_names():
    targets = "query,key,value,attention.output.dense,intermediate.dense,output.dense"
    model = add_adapters(tiny_model(), AdapterConfig(method="lora", lora_r=1, lora_targets=targets))
    layers = {name.rpartition(".lora_A")[0] for name, _ in model.named_parameters() if ".lora_A." in name}
    assert len(layers) == 6 * 2
    before = logits(model)
    model(input_ids=tokens(), labels=torch.tensor([0, 1])).loss.backward()
    assert torch.equal(before, logits(model))


def test_a_lora_target_that_is_new_is_trained_in_full(base, tmp_path):
    new = ["bert.pooler.dense.weight", "bert.pooler.dense.bias"]
    model = AutoModelForSequenceClassification.from_pretrained(base)
    config = AdapterConfig(method="lora", lora_r=2, lora_targets="query,pooler.dense")
    trained_a_little(add_adapters(model, config, newly_initialized=new))
    assert not any("pooler" in name and "lora" in name for name, _ in model.named_parameters())
    save_adapter(model, tmp_path)
    fresh = AutoModelForSequenceClassification.from_pretrained(base)
    torch.nn.init.zeros_(fresh.bert.pooler.dense.weight)
    assert torch.equal(logits(load_adapter(fresh, tmp_path)), logits(model))


def test_an_r_that_stores_more_than_the_matrix_is_refused():
    with pytest.raises(UsageError, match="--lora_r 17 stores more than .*the largest is 16"):
        add_adapters(tiny_model(), AdapterConfig(method="lora", lora_r=17))
    add_adapters(tiny_model(), AdapterConfig(method="lora", lora_r=16))
