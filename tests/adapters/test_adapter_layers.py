"""Adapters in some layers only."""

import pytest
import torch
from helpers import FOUR, adapted_in, tiny_model

from tensorized_adapters import AdapterConfig, UsageError, count_trained, load_adapter, save_adapter
from tensorized_adapters.adapters.insertion import adapters_of
from tensorized_adapters.backbone.parts import layer_names, layer_of


@pytest.mark.parametrize("layers, expected", [("2-3", {2, 3}), ("0,2", {0, 2}), ("3", {3}), (" 1 - 2 , 3", {1, 2, 3})])
def test_only_the_chosen_layers_are_trained(layers, expected):
    model = adapted_in(layers)
    trained = {name for name, p in model.named_parameters() if p.requires_grad and "classifier" not in name}
    assert {layer_of(name, layer_names(model)) for name in trained} == expected
    assert sum(1 for _ in adapters_of(model)) == 2 * len(expected)
    assert count_trained(model)["layer_norm"] == 2 * 2 * 32 * len(expected)


def test_nothing_below_the_lowest_trained_layer_is_differentiated():
    model = adapted_in("2-3").train()
    differentiable = {}
    for i, layer in enumerate(model.bert.encoder.layer):
        layer.register_forward_hook(lambda _, args, out, i=i: differentiable.update({i: out.requires_grad}))
    model(input_ids=torch.randint(5, 20, (2, 7)), labels=torch.tensor([0, 1])).loss.backward()
    assert differentiable == {0: False, 1: False, 2: True, 3: True}


def test_layers_are_saved_and_checked(tmp_path):
    model = adapted_in("1,3")
    save_adapter(model, tmp_path)
    again = load_adapter(tiny_model(**FOUR), tmp_path)
    assert again.adaptation.config == model.adaptation.config
    with pytest.raises(UsageError, match="holds cp-2, the model was adapted with"):
        load_adapter(adapted_in("1,2"), tmp_path)
    with pytest.raises(UsageError, match="--adapter_layers 2-4 is beyond the model's last layer, 3"):
        adapted_in("2-4")
    for wrong in ("", "3-1", "a", "1,,2", "-1", "1-2-3"):
        with pytest.raises(UsageError, match="must be layers such as 6-11 or 0,2,8-11, got"):
            AdapterConfig(method="layer_norm", adapter_layers=wrong)
