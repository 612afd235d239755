"""Tests of adapters_off and updates_off: gradients across them, other threads, and refusals."""

import functools

import pytest
import torch
from helpers import in_a_thread, logits, tiny_model, tokens, trained_a_little
from tiny_models import CONFIGS

from tensorized_adapters import (
    UsageError,
    active_adapter,
    adapter_summary,
    adapters_off,
    add_adapters,
    delete_adapter,
    load_adapter,
    merge_adapters,
    optimizer_groups,
    remove_adapters,
    save_adapter,
    save_adapters,
    set_adapter,
    unmerge_adapters,
    updates_off,
)
from tensorized_adapters.adaptation.named_adapter import NamedAdapter


@pytest.mark.parametrize("key", ["tensorized", "full", "lora", "bitfit", "diff_pruning"])
def test_gradients_are_right_however_forward_and_backward_lie_about_adapters_off(key):
    model = trained_a_little(add_adapters(tiny_model(), CONFIGS[key]))
    trained = [p for p in model.parameters() if p.requires_grad]
    inputs = {"input_ids": tokens(), "labels": torch.tensor([0, 1])}
    expected = torch.autograd.grad(model(**inputs).loss, trained, allow_unused=True)
    embedded = model.get_input_embeddings()(tokens()).detach().requires_grad_()
    plain = tiny_model()
    apart = embedded.detach().requires_grad_()
    plain_loss = plain(inputs_embeds=apart, labels=inputs["labels"]).loss
    (plain_gradient,) = torch.autograd.grad(plain_loss, apart)
    loss = model(**inputs).loss
    with adapters_off(model):
        within = torch.autograd.grad(loss, trained, allow_unused=True)
        off_loss = model(inputs_embeds=embedded, labels=inputs["labels"]).loss
        assert torch.equal(off_loss, plain_loss)
    (gradient,) = torch.autograd.grad(off_loss, embedded)
    torch.testing.assert_close(gradient, plain_gradient)
    for one, other in zip(within, expected):
        assert (one is None and other is None) or torch.equal(one, other)
    assert [id(p) for p in model.parameters() if p.requires_grad] == list(map(id, trained))


@pytest.mark.parametrize("context", [adapters_off, updates_off])
def test_another_thread_is_refused_while_adapters_are_off(context):
    model = add_adapters(tiny_model(), CONFIGS["tensorized"])

    def switch_off():
        with context(model):
            pass

    with context(model):
        assert "another thread computes with the model, or has its adapters off" in in_a_thread(lambda: logits(model))
        assert "another thread computes with the model, or has its adapters off" in in_a_thread(switch_off)
        logits(model)
    found = []
    handle = model.classifier.register_forward_pre_hook(lambda *_: found.append(in_a_thread(switch_off)))
    expected = logits(model)
    handle.remove()
    assert "another thread computes" in found[0]
    assert in_a_thread(lambda: logits(model)) is None and in_a_thread(switch_off) is None
    assert torch.equal(logits(model), expected)


@pytest.mark.parametrize(
    "to_do", [functools.partial(save_adapter, name="b"), save_adapters, lambda model, _: adapter_summary(model)]
)
def test_another_thread_is_refused_while_another_adapter_is_set_for_a_while(tmp_path, monkeypatch, to_do):
    """It would compute with the adapter that is saved or counted."""
    model = tiny_model()
    for name, key in (("a", "tensorized"), ("b", "bitfit")):
        trained_a_little(add_adapters(model, CONFIGS[key], name=name))
    set_adapter(model, "a")
    expected, errors = logits(model), []

    def switch_off():
        with adapters_off(model):
            pass

    actions = (lambda: logits(model), lambda: set_adapter(model, "b"), lambda: delete_adapter(model, "a"), switch_off)

    def put_into(self, *args):
        put(self, *args)
        if active_adapter(model) is None and not errors:  # b is being set
            errors.extend(in_a_thread(action) or "nothing" for action in actions)

    put = NamedAdapter.put_into
    monkeypatch.setattr(NamedAdapter, "put_into", put_into)
    to_do(model, tmp_path / "saved")
    assert len(errors) == 4 and all("another thread" in error for error in errors), errors
    assert active_adapter(model) == "a" and torch.equal(logits(model), expected)
    set_adapter(model, "b")


def test_what_would_be_computed_again_with_adapters_on_is_refused():
    model = add_adapters(tiny_model(), CONFIGS["tensorized"]).train()
    model.activation_checkpointing_enable()
    with adapters_off(model), pytest.raises(UsageError, match="gradient checkpointing computes again"):
        model(tokens())
    with adapters_off(model), torch.no_grad():
        model(tokens())
    model.eval().bert.encoder.train()  # its layers compute again
    with adapters_off(model), pytest.raises(UsageError, match="gradient checkpointing computes again"):
        model(tokens())


def test_an_optimizer_of_parameters_that_are_put_away_is_refused():
    model = add_adapters(tiny_model(), CONFIGS["bitfit"])
    with adapters_off(model), pytest.raises(UsageError, match=r"leave adapters_off\(model\) first"):
        optimizer_groups(model)
    assert all(parameter.requires_grad for group in optimizer_groups(model) for parameter in group["params"])


@pytest.mark.parametrize("key", ["weights", "lora"])
def test_what_changes_the_model_is_refused_while_another_thread_computes(tmp_path, key):
    """Between two layers it would give logits that are neither the adapted nor the plain ones."""
    model = trained_a_little(add_adapters(tiny_model(), CONFIGS[key]))
    save_adapter(model, tmp_path)
    trained_a_little(model)
    adapted, found = logits(model), []

    def during_a_pass(action):
        def between_layers(*_):
            assert "another thread computes with the model" in in_a_thread(lambda: action(model))
            found.append(action)

        before = logits(model)
        handle = model.bert.encoder.layer[1].register_forward_pre_hook(between_layers)
        assert torch.equal(logits(model), before)
        handle.remove()
        assert found.pop() is action
        assert torch.equal(logits(model), before)

    actions = [remove_adapters, merge_adapters, functools.partial(load_adapter, folder=tmp_path)]
    for action in actions:
        during_a_pass(action)
    merge_adapters(model)
    for action in (remove_adapters, unmerge_adapters):
        during_a_pass(action)
    unmerge_adapters(model)
    assert torch.equal(logits(model), adapted)
    merge_adapters(model)
    remove_adapters(model)
    assert torch.equal(logits(model), logits(tiny_model()))


@pytest.mark.parametrize("key", ["weights", "lora"])
def test_a_pass_while_adapters_are_merged_is_refused(monkeypatch, key):
    """It would add the updates twice."""
    model, errors = trained_a_little(add_adapters(tiny_model(), CONFIGS[key])), []

    def switch(self, *args, **kwargs):
        errors.append(in_a_thread(lambda: logits(model)) or "nothing")
        switched(self, *args, **kwargs)

    kind = type(model.adaptation.method)
    switched = kind.switch
    monkeypatch.setattr(kind, "switch", switch)
    expected = logits(model)
    merge_adapters(model)
    unmerge_adapters(model)
    assert len(errors) == 2 and all("for a while" in error for error in errors)
    assert torch.equal(logits(model), expected)
