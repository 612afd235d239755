"""A head that was replaced by one of another structure is refused in one line wherever its parameters are needed."""

import pytest
import torch
from helpers import logits, tokens
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


HEADS = {"another size": nn.Linear(32, 5), "another structure": nn.Sequential(nn.Linear(32, 8), nn.Linear(8, 3))}


@pytest.mark.parametrize("head", HEADS.values(), ids=HEADS)
@pytest.mark.parametrize("key", ["tensorized", "lora", "bitfit", "diff_pruning"])
def test_a_refused_switch_changes_nothing(key, head):
    model = build("bert")[0]
    for name, of in (("b", key), ("other", "dense"), ("a", key)):
        add_adapters(model, CONFIGS[of], name=name)
    plain = model.classifier
    model.train()(tokens(), labels=torch.tensor([0, 1])).loss.backward()
    gradients = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    model.classifier = head
    for name in ("b", "other", None):
        with pytest.raises(UsageError, match="classifier.* was replaced"):
            set_adapter(model, name)
    model.classifier = plain
    now = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    assert active_adapter(model) == "a" and now.keys() == gradients.keys()
    assert all(torch.equal(now[name], gradients[name]) for name in now)
    expected = logits(model)
    set_adapter(model, None)
    before = logits(model)
    model.classifier = head
    with pytest.raises(UsageError, match="classifier.* was replaced"):
        set_adapter(model, "a")
    assert active_adapter(model) is None and not hasattr(model, "adaptation")
    model.classifier = plain
    assert torch.equal(logits(model), before)
    set_adapter(model, "a")
    assert torch.equal(logits(model), expected)
