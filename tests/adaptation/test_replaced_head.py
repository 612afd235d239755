"""A head that was replaced by one of another structure is refused in one line wherever its parameters are needed."""

import pytest
from helpers import logits
from tiny_models import CONFIGS, build
from torch import nn

from tensorized_adapters import (
    UsageError,
    active_adapter,
    adapter_summary,
    adapters_off,
    add_adapters,
    count_trained,
    optimizer_groups,
    remove_adapters,
    save_adapter,
    set_adapter,
)


def switched_off(model):
    with adapters_off(model):
        pass


@pytest.mark.parametrize("key", ["tensorized", "lora", "bitfit", "diff_pruning"])
def test_a_head_of_another_structure_is_refused(tmp_path, key):
    model, named = add_adapters(build("bert")[0], CONFIGS[key]), build("bert")[0]
    for name in ("a", "b"):
        add_adapters(named, CONFIGS[key], name=name)
    expected = logits(model), logits(named)
    heads = [each.classifier for each in (model, named)]
    actions = [count_trained, optimizer_groups, switched_off, adapter_summary]
    actions += [lambda each: save_adapter(each, tmp_path / "adapter"), remove_adapters]
    for each in (model, named):
        each.classifier = nn.Sequential(nn.Linear(32, 8), nn.Linear(8, 3))
        for action in [*actions, *([lambda named: set_adapter(named, "a")] if each is named else [])]:
            with pytest.raises(UsageError, match="classifier.* was replaced since add_adapters; put it back"):
                action(each)
    assert active_adapter(named) == "b" and not (tmp_path / "adapter").exists()
    for each, head, before in zip((model, named), heads, expected, strict=True):
        each.classifier = head
        assert (logits(each) == before).all()
        for action in actions:
            action(each)
