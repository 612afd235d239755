"""Under autocast, whose cache keeps copies of weights, a model computes with the adapter that is active."""

import contextlib
import functools

import pytest
import torch
from accelerate import Accelerator
from helpers import tokens, trained_a_little
from safetensors.torch import load_file
from tiny_models import CONFIGS, build

from tensorized_adapters import (
    add_adapters,
    load_adapter,
    merge_adapters,
    remove_adapters,
    save_adapter,
    set_adapter,
    unmerge_adapters,
)
from tensorized_adapters.exporting.dense import write_dense

CACHED = functools.partial(torch.autocast, "cpu", torch.bfloat16)
UNCACHED = functools.partial(torch.autocast, "cpu", torch.bfloat16, cache_enabled=False)


def two_named(key, other, model=None):
    """Return a model with the trained adapters "a" and "b"."""
    model = model or build("bert")[0]
    for seed, (name, of) in enumerate((("a", key), ("b", other))):
        torch.manual_seed(seed)
        trained_a_little(add_adapters(model, CONFIGS[of], name=name), steps=3 + 2 * seed)
    return model


def switches(model):
    """Compute with each adapter in turn, in one block."""
    outputs = []
    for name in ("a", "b", None, "b", "a"):
        set_adapter(model, name)
        outputs.append(model(tokens()).logits)
    return outputs


def mixed(model):
    return [model(tokens(), adapter_names=["a", "b"]).logits, model(tokens(), adapter_names=["b", None]).logits]


@pytest.mark.parametrize("compute", [switches, mixed])
@pytest.mark.parametrize(
    "key, other", [("tensorized", "tensorized"), ("lora", "full"), ("weights", "bitfit"), ("diff_pruning", "lora")]
)
def test_a_switch_within_autocast_computes_with_the_adapter_that_is_set(key, other, compute):
    model, outputs = two_named(key, other), []
    for autocast in (UNCACHED, CACHED):
        with torch.no_grad(), autocast():
            outputs.append(compute(model))
    assert all(torch.equal(one, two) for one, two in zip(*outputs, strict=True))


@pytest.mark.parametrize("key", ["tensorized", "full"])
def test_loading_and_removing_within_autocast(tmp_path, key):
    for steps in (2, 5):
        save_adapter(trained_a_little(add_adapters(build("bert")[0], CONFIGS[key]), steps), tmp_path / str(steps))
    outputs = []
    for autocast in (UNCACHED, CACHED):
        model, found = build("bert")[0], []
        with torch.no_grad(), autocast():
            for steps in (2, 5):
                load_adapter(model, tmp_path / str(steps))
                found.append(model(tokens()).logits)
            remove_adapters(model)
            found.append(model(tokens()).logits)
        outputs.append(found)
    assert all(torch.equal(one, two) for one, two in zip(*outputs, strict=True))


@pytest.mark.parametrize("key", ["weights", "weights, joint", "lora", "peft"])
def test_merging_and_exporting_within_autocast_round_nothing(tmp_path, key):
    model = trained_a_little(add_adapters(build("bert")[0], CONFIGS[key]))
    found = []
    for autocast in (contextlib.nullcontext, CACHED):
        with autocast():
            merge_adapters(model)
            assert torch.is_autocast_enabled("cpu") == (autocast is CACHED)
            merged = model(tokens()).logits if autocast is CACHED else None
        found.append([layer.weight.clone() for layer, _ in model.adaptation.merged])
        with autocast():
            unmerge_adapters(model)
            write_dense(model, tmp_path)
        found[-1] += [*load_file(tmp_path / "dense_adapter.safetensors").values()]
    assert merged.dtype == torch.bfloat16
    assert all(torch.equal(one, two) for one, two in zip(*found, strict=True))


@pytest.mark.parametrize("early", [True, False], ids=["before", "after"])
def test_a_mixed_batch_under_accelerates_autocast_leaves_autocast_off(early):
    """accelerate enters one autocast object around ``forward``, which must not be entered again within itself."""
    prepare = Accelerator(mixed_precision="bf16", cpu=True).prepare_model
    if early:
        prepared = two_named("tensorized", "lora", prepare(build("bert")[0]))
    else:
        prepared = prepare(two_named("tensorized", "lora"))
    set_adapter(prepared, "a")
    with torch.no_grad():
        outputs = prepared(tokens(), adapter_names=["a", "b"]).logits
        assert not torch.is_autocast_enabled("cpu") and outputs.dtype == torch.float32
        for row, name in enumerate(("a", "b")):
            set_adapter(prepared, name)
            torch.testing.assert_close(outputs[row], prepared(tokens()).logits[row], rtol=0.02, atol=0.02)
            assert not torch.is_autocast_enabled("cpu")
