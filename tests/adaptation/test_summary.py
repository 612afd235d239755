"""adapter_summary: a line for each adapter, and the model as it was."""

import pytest
import torch
from helpers import CONFIGS, logits, tiny_model, trained_a_little

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


def test_a_line_for_each_adapter(tmp_path):
    model, counts = tiny_model(), {}
    with pytest.raises(UsageError, match="not adapted"):
        adapter_summary(model)
    for name in ("tensorized", "lora"):
        one = add_adapters(tiny_model(), CONFIGS[name])
        counts[name] = f"{count_trained(one)['trained']:,}"
        save_adapter(one, tmp_path / name)
        load_adapter(model, tmp_path / name, name=name)
    assert adapter_summary(one).splitlines()[1].split()[:3] == ["-", "lora-2", counts["lora"]]
    before = logits(model)
    header, *lines = (line.split() for line in adapter_summary(model).splitlines())
    assert header == ["name", "method", "parameters", "percent", "active"]
    assert [(*line[:3], line[-1]) for line in lines] == [
        ("tensorized", "tt-2", counts["tensorized"], "no"),
        ("lora", "lora-2", counts["lora"], "yes"),
    ]
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
