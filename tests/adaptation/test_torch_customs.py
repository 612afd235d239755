"""Usual operations of PyTorch on an adapted model: hooks, wrapped forwards, precision, copies, threads."""

import copy
import functools
import sys

import pytest
import torch
from helpers import logits, tiny_model, tokens, trained_a_little
from tiny_models import CONFIGS, build

from tensorized_adapters import (
    UsageError,
    active_adapter,
    add_adapters,
    load_adapter,
    merge_adapters,
    remove_adapters,
    save_adapter,
    set_adapter,
    unmerge_adapters,
)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Adapters of several methods, and "same", which has the settings of "tensorized"."""
    folders = {}
    for key in ("tensorized", "same", "lora", "weights", "diff_pruning", "full"):
        folders[key] = tmp_path_factory.mktemp("adapter")
        config = CONFIGS["tensorized" if key == "same" else key]
        save_adapter(trained_a_little(add_adapters(build("bert")[0], config), 5 if key == "same" else 3), folders[key])
    return folders


def loaded(folders, *keys, model=None):
    model = model or build("bert")[0]
    for key in keys:
        load_adapter(model, folders[key], name=key)
    return model


@pytest.mark.parametrize("keys", [("tensorized", "same"), ("tensorized", "lora"), ("diff_pruning", "full")])
def test_a_hook_survives_a_switch_and_is_removed_under_any_name(folders, keys):
    model, calls = loaded(folders, *keys), []
    handles = [
        model.classifier.register_forward_hook(lambda *_: calls.append("head")),
        model.bert.encoder.layer[0].output.register_forward_pre_hook(lambda *_: calls.append("output")),
        model.register_forward_hook(lambda *_: calls.append("model")),
    ]
    for name in (*keys, None, *keys):
        set_adapter(model, name)
        calls.clear()
        logits(model)
        assert calls == ["output", "head", "model"]
    set_adapter(model, keys[0])
    for handle in handles:
        handle.remove()
    for name in (*keys, None):
        set_adapter(model, name)
        calls.clear()
        logits(model)
        assert calls == []


def counting(model):
    """Wrap ``forward`` as accelerate does, in a partial of a function that finds the earlier forward in the model."""

    def forward(model, *args, **kwargs):
        model.calls += 1
        return model.forward_below(*args, **kwargs)

    model.calls, model.forward_below = 0, model.forward
    model.forward = functools.update_wrapper(functools.partial(forward, model), model.forward_below)


@pytest.mark.parametrize("key", ["tensorized", "lora"])
def test_a_wrapper_of_forward_is_kept_whenever_it_was_put_on(folders, key):
    plain = logits(build("bert")[0])
    early, late, named = build("bert")[0], build("bert")[0], build("bert")[0]
    counting(early)
    add_adapters(early, CONFIGS[key])
    counting(named)
    loaded(folders, key, "same", model=named)
    for name in (key, None, "same"):
        set_adapter(named, name)
        logits(named)
    mixed = named(tokens(), adapter_names=[key, None]).logits
    set_adapter(named, key)
    torch.testing.assert_close(mixed[0], logits(named)[0], rtol=1e-5, atol=1e-5)
    assert named.calls == 6
    add_adapters(late, CONFIGS[key])
    counting(late)
    for model in (early, late, named):
        remove_adapters(model)
        model.calls = 0
        assert torch.equal(logits(model), plain) and model.calls == 1
        copied = copy.deepcopy(model)
        logits(copied)
        assert (model.calls, copied.calls) == (1, 2)
        add_adapters(model, CONFIGS[key])
        logits(model)
        assert model.calls == 2


def test_accelerates_hooks_come_and_go(folders):
    from accelerate.hooks import ModelHook, add_hook_to_module, remove_hook_from_module

    class Counting(ModelHook):
        calls = 0

        def pre_forward(self, module, *args, **kwargs):
            self.calls += 1
            return args, kwargs

    model, hook = build("bert")[0], Counting()
    plain = logits(model)
    add_hook_to_module(model, hook)
    loaded(folders, "tensorized", "lora", model=model)
    set_adapter(model, "tensorized")
    logits(model)
    assert hook.calls == 1
    remove_hook_from_module(model)
    set_adapter(model, None)
    mixed = model(tokens(), adapter_names=["lora", None]).logits
    set_adapter(model, "lora")
    torch.testing.assert_close(mixed[0], logits(model)[0], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(mixed[1], plain[1], rtol=1e-5, atol=1e-5)


def test_a_float32_head_over_a_bfloat16_backbone_stays_float32(folders):
    model = loaded(folders, "tensorized", "lora").bfloat16()
    model.classifier.float()
    for name in ("tensorized", "lora", None, "lora"):
        set_adapter(model, name)
        assert {p.dtype for p in model.classifier.parameters()} == {torch.float32}
        assert next(model.bert.parameters()).dtype == torch.bfloat16
    remove_adapters(model)
    assert model.classifier.weight.dtype == torch.float32


def test_what_an_adapter_adds_keeps_its_precision(folders):
    model = loaded(folders, "tensorized", "same", "lora").double()
    model.bert.embeddings.word_embeddings.float()
    for name in ("tensorized", "same"):
        set_adapter(model, name)
        first = model.bert.encoder.layer[0].attention.output.dropout.adapter
        first.double()
        with torch.no_grad():
            next(first.parameters()).add_(1e-12)
        kept = next(first.parameters()).clone()
        set_adapter(model, "lora")
        set_adapter(model, name)
        again = next(model.bert.encoder.layer[0].attention.output.dropout.adapter.parameters())
        assert torch.equal(again, kept)


def test_frozen_factors_stay_frozen(folders):
    model = loaded(folders, "weights", "lora")
    set_adapter(model, "weights")
    frozen = [name for name, p in model.named_parameters() if ".adapter." in name][::2]
    for name in frozen:
        model.get_parameter(name).requires_grad = False
    flags = {name: p.requires_grad for name, p in model.named_parameters()}
    merge_adapters(model)
    unmerge_adapters(model)
    assert {name: p.requires_grad for name, p in model.named_parameters()} == flags
    set_adapter(model, "lora")
    set_adapter(model, "weights")
    assert {name: p.requires_grad for name, p in model.named_parameters()} == flags


@pytest.mark.parametrize("active", ["diff_pruning", "tensorized", None])
def test_a_model_with_diff_pruning_among_named_adapters_is_copied(folders, active):
    model = loaded(folders, "diff_pruning", "tensorized")
    expected = {}
    for name in ("diff_pruning", "tensorized", None):
        set_adapter(model, name)
        expected[name] = logits(model)
    set_adapter(model, active)
    copied = copy.deepcopy(model)
    trained_a_little(copied) if active else None
    for name in expected:
        for each in (model, copied):
            set_adapter(each, name)
            assert torch.equal(logits(each), expected[name]) == (each is model or name != active or name is None)
    remove_adapters(copied)
    assert torch.equal(logits(copied), expected[None]) and active_adapter(model) is None


def test_a_search_goes_on_after_a_switch():
    """During its search diff pruning has dense values and gates, which a switch keeps."""
    from tensorized_adapters.adaptation.named import load_named

    model = build("bert")[0]
    for name in ("one", "two"):
        load_named(model, name, lambda plain: add_adapters(plain, CONFIGS["diff_pruning"]))
    trained_a_little(model)
    expected, state = logits(model), copy.deepcopy(model.state_dict())
    set_adapter(model, "one")
    assert not torch.equal(logits(model), expected)
    set_adapter(model, "two")
    assert torch.equal(logits(model), expected)
    assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items())
    assert any(p.requires_grad for n, p in model.named_parameters() if n.endswith(".gate"))


def test_a_switch_draws_nothing(folders):
    model = loaded(folders, "tensorized", "lora")
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    set_adapter(model, "tensorized")
    assert torch.equal(torch.rand(3), expected)


def test_a_mixed_batch_refuses_what_it_cannot_split():
    from tensorized_adapters.adaptation.named import load_named

    model = build("gpt2")[0]
    for name in ("a", "b"):
        load_named(model, name, lambda plain: add_adapters(plain, CONFIGS["tensorized"]))
    cache = model(tokens(), use_cache=True).past_key_values
    refused = {
        r"past_key_values \(DynamicCache\) cannot be split": {"past_key_values": cache},
        "use_cache=True": {"use_cache": True},
    }
    for message, options in refused.items():
        with pytest.raises(UsageError, match=message):
            model(tokens(), adapter_names=["a", "b"], **options)
    with pytest.raises(UsageError, match=r"argument 2 \(DynamicCache\) cannot be split"):
        model(tokens(), cache, adapter_names=["a", "b"])
    with pytest.raises(UsageError, match="the batch is empty"):
        model(tokens()[:0], adapter_names=[])
    assert model(tokens(), adapter_names=["a", "b"]).past_key_values is None
    with pytest.raises(UsageError, match="no named adapters"):
        add_adapters(build("bert")[0], CONFIGS["lora"])(tokens(), adapter_names=["a", None])


def test_data_parallel_is_refused(monkeypatch):
    """The copies of the model are refused. On a machine without GPUs numbers are not copied."""
    replicate = sys.modules["torch.nn.parallel.replicate"]
    monkeypatch.setattr(replicate, "_broadcast_coalesced_reshape", lambda tensors, devices, detach=False: [[], []])
    model = add_adapters(tiny_model(), CONFIGS["bitfit"])
    with pytest.raises(UsageError, match="nn.DataParallel copies a model"):
        replicate.replicate(torch.nn.Sequential(model), [0, 1])
    remove_adapters(model)
    assert "_replicate_for_data_parallel" not in model.__dict__


def test_new_modules_evaluate_in_a_model_that_evaluates():
    model = add_adapters(tiny_model(), CONFIGS["lora"])
    assert not any(module.training for module in model.modules())
