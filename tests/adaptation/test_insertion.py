"""What a model is adapted with: once, and in a state that can be trained."""

import pytest
import torch
from helpers import tiny_model, trained_a_little
from tiny_models import CONFIGS

from tensorized_adapters import UsageError, add_adapters, load_adapter, remove_adapters, save_adapter


@pytest.mark.parametrize("key", ["tensorized", "lora", "bitfit"])
def test_a_model_and_its_base_model_are_not_adapted_both(key):
    model = add_adapters(tiny_model(), CONFIGS[key])
    with pytest.raises(UsageError, match="^the model is adapted already; remove_adapters.model. first"):
        add_adapters(model, CONFIGS["dense"])
    with pytest.raises(UsageError, match="^the model is the base model of one that is adapted already; call remove_"):
        add_adapters(model.bert, CONFIGS["dense"])
    remove_adapters(model)
    add_adapters(model.bert, CONFIGS[key])
    with pytest.raises(UsageError, match="^the model's bert is adapted already; remove_adapters.model.bert. first"):
        add_adapters(model, CONFIGS["dense"])
    remove_adapters(model.bert)
    add_adapters(model, CONFIGS[key])


@pytest.mark.parametrize("key", ["tensorized", "dense", "lora", "weights", "bitfit"])
def test_what_was_added_or_loaded_in_inference_mode_can_be_trained(tmp_path, key):
    save_adapter(add_adapters(tiny_model(), CONFIGS[key]), tmp_path)
    added, loaded = tiny_model(), tiny_model()
    with torch.inference_mode():
        add_adapters(added, CONFIGS[key])
        load_adapter(loaded, tmp_path)
    for model in (added, loaded):
        trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
        before = [parameter.detach().clone() for parameter in trained]
        trained_a_little(model)
        assert trained and not any(map(torch.equal, before, trained))
