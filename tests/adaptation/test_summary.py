"""adapter_summary has a row for each adapter and leaves the model as it was; new adapters get names."""

import pytest
import torch
from helpers import logits, tiny_model, trained_a_little
from tiny_models import CONFIGS

from tensorized_adapters import (
    UsageError,
    active_adapter,
    adapter_names,
    adapter_summary,
    add_adapters,
    count_trained,
    load_adapter,
    remove_adapters,
    save_adapter,
    set_adapter,
)


def test_a_row_for_each_adapter(tmp_path):
    model, counts = tiny_model(), {}
    with pytest.raises(UsageError, match="not adapted"):
        adapter_summary(model)
    for name in ("tensorized", "lora", "bitfit"):
        one = add_adapters(tiny_model(), CONFIGS[name])
        counts[name] = count_trained(one)
        save_adapter(one, tmp_path / name)
        load_adapter(model, tmp_path / name, name=name)
    assert adapter_summary(one).loc[0, ["name", "active"]].tolist() == ["-", True]
    set_adapter(model, "lora")
    before, table = logits(model), adapter_summary(model)
    assert table["name"].tolist() == ["tensorized", "lora", "bitfit"]
    assert table["method"].tolist() == ["tt-2", "lora-2", "bitfit"]
    assert table["decomposition"].fillna("").tolist() == ["tt", "", ""]
    assert table["rank"].fillna(0).tolist() == [2, 2, 0]
    assert table["parameters"].tolist() == [counts[name]["trained"] for name in table["name"]]
    assert table["percent"].tolist() == [100 * c["trained"] / c["model"] for c in counts.values()]
    assert table["active"].tolist() == [False, True, False]
    assert active_adapter(model) == "lora" and torch.equal(logits(model), before)


def test_new_adapters_under_names(tmp_path):
    model = tiny_model()
    plain = logits(model)
    for name in ("dense", "bitfit"):
        assert add_adapters(model, CONFIGS[name], name=name) is model
        trained_a_little(model)
        save_adapter(model, tmp_path / name)
    assert adapter_names(model) == ["dense", "bitfit"] and active_adapter(model) == "bitfit"
    for name in ("dense", "bitfit"):
        set_adapter(model, name)
        assert torch.equal(logits(model), logits(load_adapter(tiny_model(), tmp_path / name)))
    with pytest.raises(UsageError, match="the model has an adapter 'dense'"):
        add_adapters(model, CONFIGS["dense"], name="dense")
    remove_adapters(model)
    assert torch.equal(logits(model), plain)


@pytest.mark.parametrize("config", [None, {"method": "dense"}, tiny_model().config])
@pytest.mark.parametrize("name", [None, "a"])
def test_another_config_than_ours_is_refused(config, name):
    """As one of PEFT's would be; the model stays as it was."""
    model = tiny_model()
    with pytest.raises(UsageError, match=f"config is of the type {type(config).__name__}"):
        add_adapters(model, config, name=name)
    assert add_adapters(model, CONFIGS["tensorized"]).adaptation.config == CONFIGS["tensorized"]
