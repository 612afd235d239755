"""Copies and pickles of an adapted model do what the model does."""

import copy
import inspect
import io
import pickle
import threading

import pytest
import torch
from accelerate import Accelerator
from helpers import logits, tokens, trained_a_little
from tiny_models import CONFIGS, build

from tensorized_adapters import (
    UsageError,
    active_adapter,
    adapters_off,
    add_adapters,
    remove_adapters,
    set_adapter,
    updates_off,
)


def two_named():
    model = build("bert")[0]
    for name, key in (("a", "tensorized"), ("b", "lora")):
        trained_a_little(add_adapters(model, CONFIGS[key], name=name))
    return model


def saved_by_torch(model):
    stream = io.BytesIO()
    torch.save(model, stream)
    stream.seek(0)
    return torch.load(stream, weights_only=False)


def unwrapped_by_accelerate(model, pack=lambda model: model):
    accelerator = Accelerator(mixed_precision="bf16", cpu=True)
    return accelerator.unwrap_model(pack(accelerator.prepare_model(copy.deepcopy(model))), keep_fp32_wrapper=False)


WAYS = {
    "pickle": lambda model: pickle.loads(pickle.dumps(model)),
    "torch.save": saved_by_torch,
    "deepcopy": copy.deepcopy,
    "deepcopy of a pickle": lambda model: copy.deepcopy(pickle.loads(pickle.dumps(model))),
    "pickle of a copy": lambda model: pickle.loads(pickle.dumps(copy.deepcopy(model))),
    "accelerate": unwrapped_by_accelerate,
    "copy of a prepared model": lambda model: unwrapped_by_accelerate(model, copy.deepcopy),
}


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_a_copy_computes_by_itself(way):
    model, plain = two_named(), build("bert")[0]
    expected = {None: logits(plain)}
    for name in ("a", "b"):
        set_adapter(model, name)
        expected[name] = logits(model)
    with torch.no_grad():
        mixed = model(tokens(), adapter_names=["a", "b"]).logits
    signature = inspect.signature(model.forward)
    assert signature == inspect.signature(plain.forward)
    copied = way(model)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    assert inspect.signature(copied.forward) == signature
    for name in (active_adapter(copied), "a", None, "b"):
        set_adapter(copied, name)
        assert torch.equal(logits(copied), expected[name])
        with torch.no_grad():
            assert torch.equal(copied(tokens(), adapter_names=["a", "b"]).logits, mixed)
    with pytest.raises(UsageError, match="no adapter 'c' on"):
        copied(tokens(), adapter_names=["a", "c"])
    with adapters_off(copied):
        assert refused_in_another_thread(copied)
    remove_adapters(copied)
    assert torch.equal(logits(copied), expected[None])
    assert torch.equal(logits(pickle.loads(pickle.dumps(copied))), expected[None])


def refused_in_another_thread(model) -> str:
    errors = [""]

    def run():
        try:
            logits(model)
        except UsageError as error:
            errors.append(str(error))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    return errors[-1]


def test_a_copy_of_a_prepared_model_is_prepared():
    """accelerate wraps a bound method so that copies compute with their own parameters."""
    model = two_named()
    prepared = Accelerator(mixed_precision="bf16", cpu=True).prepare_model(model)
    copied = copy.deepcopy(prepared)
    expected = logits(prepared)
    with torch.no_grad():
        for parameter in prepared.parameters():
            parameter.zero_()
    assert torch.equal(logits(copied), expected)
    assert inspect.signature(copied.forward) == inspect.signature(build("bert")[0].forward)
    with torch.no_grad():
        assert copied(tokens(), adapter_names=["a", "b"]).logits.dtype == torch.float32


def test_accelerates_autocast_stays_when_adapters_are_removed():
    model = two_named()
    seen = []
    model.classifier.register_forward_hook(lambda *given: seen.append(torch.is_autocast_enabled("cpu")))
    prepared = Accelerator(mixed_precision="bf16", cpu=True).prepare_model(model)
    logits(prepared)
    remove_adapters(prepared)
    logits(prepared)
    assert seen == [True, True]


@pytest.mark.parametrize("pack", [copy.deepcopy, pickle.dumps])
@pytest.mark.parametrize("context", [adapters_off, updates_off])
def test_a_copy_is_not_taken_while_adapters_are_off(context, pack):
    model = two_named()
    set_adapter(model, "a")
    expected = logits(model)
    with context(model):
        with pytest.raises(UsageError, match="copy the model outside of the block"):
            pack(model)
        assert "compute on a copy made before" in refused_in_another_thread(model)
    assert torch.equal(logits(copy.deepcopy(model)), expected)


def test_a_copy_is_not_taken_during_a_mixed_batch():
    model, found = two_named(), []

    def hook(*_):
        with pytest.raises(UsageError, match="a copy taken now would keep another adapter"):
            copy.deepcopy(model)
        found.append(refused_in_another_thread(model))

    handle = model.classifier.register_forward_pre_hook(hook)
    with torch.no_grad():
        model(tokens(), adapter_names=["a", None])
    handle.remove()
    assert len(found) == 2 and all("compute on a copy made before" in message for message in found)
    assert torch.equal(logits(copy.deepcopy(model)), logits(model))
