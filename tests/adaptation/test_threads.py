"""A thread that changes a model's adapters has the model alone meanwhile."""

from functools import partial

import pytest
import torch
from helpers import in_a_thread, logits, tiny_model, trained_a_little
from tiny_models import CONFIGS

from tensorized_adapters import (
    adapters_off,
    add_adapters,
    load_adapter,
    merge_adapters,
    remove_adapters,
    save_adapter,
    set_adapter,
    unmerge_adapters,
)
from tensorized_adapters.adaptation import lifecycle
from tensorized_adapters.adaptation.named_adapter import NamedAdapter
from tensorized_adapters.methods.base import Method


def switch_off(model):
    with adapters_off(model):
        pass


ACTIONS = (logits, switch_off, remove_adapters, merge_adapters)


def refusals(model, monkeypatch, owner, name):
    """Let another thread do each of ACTIONS whenever ``owner.name`` is called, and return its errors."""
    errors, original = [], getattr(owner, name)

    def during(*args, **kwargs):
        result = original(*args, **kwargs)
        errors.extend(in_a_thread(partial(action, model)) or f"{action.__name__} was permitted" for action in ACTIONS)
        return result

    monkeypatch.setattr(owner, name, during)
    return errors


def assert_refused(errors):
    assert len(errors) >= len(ACTIONS) and all("another thread" in error for error in errors), errors


@pytest.mark.parametrize("settings", [("weights", "weights"), ("weights", "bitfit")])
def test_while_an_adapter_is_set(settings, monkeypatch):
    model, expected = tiny_model(), {}
    for name, key in zip("ab", settings):
        trained_a_little(add_adapters(model, CONFIGS[key], name=name))
        expected[name] = logits(model)
    errors = refusals(model, monkeypatch, NamedAdapter, "put_into")
    set_adapter(model, "a")
    assert_refused(errors)
    monkeypatch.undo()
    assert torch.equal(logits(model), expected["a"])
    set_adapter(model, "b")
    assert torch.equal(logits(model), expected["b"])


def test_while_an_adapter_is_loaded(tmp_path, monkeypatch):
    model = trained_a_little(add_adapters(tiny_model(), CONFIGS["weights"]))
    save_adapter(model, tmp_path)
    saved = logits(model)
    trained_a_little(model)
    errors = refusals(model, monkeypatch, Method, "put_tensors")
    load_adapter(model, tmp_path)
    assert_refused(errors)
    assert torch.equal(logits(model), saved)


def test_while_adapters_are_merged(monkeypatch):
    """A second merge would add the updates twice."""
    model = trained_a_little(add_adapters(tiny_model(), CONFIGS["weights"]))
    adapted = logits(model)
    errors = refusals(model, monkeypatch, lifecycle, "updates_of")
    merge_adapters(model)
    assert_refused(errors)
    unmerge_adapters(model)
    assert torch.equal(logits(model), adapted)
