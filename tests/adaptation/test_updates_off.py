"""Adapters' updates left out for a while: everything else stays as trained."""

import pytest
import torch
from helpers import logits, tiny_model, trained_a_little
from tiny_models import CONFIGS

from tensorized_adapters import AdapterConfig, UsageError, adapters_off, add_adapters, updates_off
from tensorized_adapters.adaptation.parameters import pretrained_parameters

WITH_UPDATES = (
    "tensorized",
    "interleaved",
    "joint",
    "parallel",
    "weights",
    "weights, joint",
    "dense",
    "compacter",
    "compacter++",
)
SQUARE = AdapterConfig(adapter_projection_type="cp", tensorized_layer_rank=2, if_adapter_like=False)


@pytest.mark.parametrize("config", [*map(CONFIGS.get, WITH_UPDATES), SQUARE], ids=[*WITH_UPDATES, "one matrix"])
def test_the_model_computes_as_without_adapters_bit_for_bit(config):
    """The outputs equal those of a plain model with the trained LayerNorms and head."""
    model = trained_a_little(add_adapters(tiny_model(), config))
    trained, plain = logits(model), tiny_model()
    before = logits(plain)
    plain.load_state_dict(
        {name: values.detach() for name, values in pretrained_parameters(model).items()}, strict=True
    )
    with pytest.raises(KeyError), updates_off(model):
        assert torch.equal(logits(model), logits(plain))
        raise KeyError
    assert torch.equal(logits(model), trained)
    assert not torch.equal(logits(plain), trained) and not torch.equal(logits(plain), before)


def test_both_ways_of_switching_off_nest():
    model = tiny_model()
    before = logits(model)
    trained = logits(trained_a_little(add_adapters(model, CONFIGS["tensorized"])))
    with updates_off(model):
        without = logits(model)
        with adapters_off(model), updates_off(model):
            assert torch.equal(logits(model), before)
        assert torch.equal(logits(model), without) and not torch.equal(without, trained)
    with adapters_off(model):
        with updates_off(model):
            pass
        assert torch.equal(logits(model), before)
    assert torch.equal(logits(model), trained)


@pytest.mark.parametrize("key", sorted(CONFIGS.keys() - set(WITH_UPDATES)))
def test_methods_without_updates_are_refused(key):
    model = add_adapters(tiny_model(), CONFIGS[key])
    with pytest.raises(UsageError, match=f"--method {CONFIGS[key].method} inserts no adapters"), updates_off(model):
        pass
