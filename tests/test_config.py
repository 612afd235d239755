"""AdapterConfig: ranges, ownership, and the round trip through the file."""

import pytest

from tensorized_adapters import AdapterConfig, UsageError


@pytest.mark.parametrize(
    "values, message",
    [
        ({}, "no method chosen: give --adapter_projection_type {cp,tucker,tt,tr,matrix}"),
        ({"method": "tensorized"}, "--method tensorized needs --adapter_projection_type"),
        ({"adapter_projection_type": "svd"}, "--adapter_projection_type must be one of cp, tucker, tt, tr, matrix"),
        ({"method": "head", "adapter_projection_type": "cp"}, "does not belong to --method head"),
        ({"method": "adapter"}, "--method must be one of tensorized"),
        ({"adapter_projection_type": "cp", "tensorized_layer_rank": 0}, "--tensorized_layer_rank must be .* got 0"),
        ({"adapter_projection_type": "cp", "tensorized_layer_rank": -3}, "--tensorized_layer_rank must be .* got -3"),
        ({"adapter_projection_type": "cp", "tensorized_layer_rank": 2.5}, "--tensorized_layer_rank must be an"),
        ({"adapter_projection_type": "cp", "adapter_size": 0}, "--adapter_size must be .* got 0"),
        ({"adapter_projection_type": "cp", "adapter_sites": "all"}, "--adapter_sites must be one of both"),
        ({"adapter_projection_type": "cp", "if_adapter_like": "yes"}, "--if_adapter_like must be True or False"),
    ],
)
def test_refused(values, message):
    with pytest.raises(UsageError, match=message.replace("{", r"\{").replace("}", r"\}")):
        AdapterConfig(**values)


@pytest.mark.parametrize(
    "config",
    [
        AdapterConfig(adapter_projection_type="tr", tensorized_layer_rank=3, if_adapter_like=False),
        AdapterConfig(method="layer_norm"),
        AdapterConfig(method="head"),
    ],
)
def test_round_trip(config):
    assert AdapterConfig.from_dict(config.to_dict()) == config


def test_a_file_with_foreign_settings_is_refused():
    values = AdapterConfig(adapter_projection_type="cp").to_dict()
    with pytest.raises(UsageError, match="method 'tensorized' has no settings \\['extra'\\]"):
        AdapterConfig.from_dict(values | {"extra": 1})
    with pytest.raises(UsageError, match="unknown method 'future'"):
        AdapterConfig.from_dict({"method": "future"})


def test_a_file_without_a_setting_has_its_default():
    """A file that an earlier version wrote lacks the settings that were added later."""
    config = AdapterConfig(adapter_projection_type="cp", tensorized_layer_rank=2)
    values = {name: value for name, value in config.to_dict().items() if name != "tensor_split"}
    assert AdapterConfig.from_dict(values) == config
