"""What belongs to one named adapter stays with it: frozen flags, gradients and labels."""

import pytest
import torch
from helpers import logits, tokens
from tiny_models import CONFIGS, build

from tensorized_adapters import (
    add_adapters,
    delete_adapter,
    load_adapter,
    remove_adapters,
    save_adapter,
    set_adapter,
)

METHODS = ["tensorized", "lora", "diff_pruning", "bitfit"]


def backward(model):
    model.train()(tokens(), labels=torch.tensor([0, 1])).loss.backward()
    return gradients(model)


def gradients(model):
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def flags(model):
    return {name: p.requires_grad for name, p in model.named_parameters()}


@pytest.mark.parametrize("delete", [False, True])
@pytest.mark.parametrize("load", [False, True])
@pytest.mark.parametrize("key", METHODS)
def test_a_new_adapter_trains_what_it_would_alone(tmp_path, key, load, delete):
    """Flags and gradients of an adapter with its settings are not its own."""
    alone = add_adapters(build("bert")[0], CONFIGS[key])
    save_adapter(alone, tmp_path)
    model = add_adapters(build("bert")[0], CONFIGS[key], name="a")
    before = backward(model)
    frozen = [name for name, p in model.named_parameters() if p.requires_grad][::2]
    for name in frozen:
        model.get_parameter(name).requires_grad = False
    if delete:
        add_adapters(model, CONFIGS["dense"], name="other")
        delete_adapter(model, "a")
    if load:
        load_adapter(model, tmp_path, name="b")
    else:
        add_adapters(model, CONFIGS[key], name="b")
    assert flags(model) == flags(alone) or (load and key == "diff_pruning")  # which is loaded after its search
    assert gradients(model) == {}
    if not delete:
        set_adapter(model, "a")
        expected = flags(alone) | dict.fromkeys(frozen, False)
        assert flags(model) == expected or (load and key == "diff_pruning")
        found = gradients(model)
        assert found.keys() == before.keys() and all(torch.equal(found[name], before[name]) for name in found)


@pytest.mark.parametrize("other", METHODS)
@pytest.mark.parametrize("key", METHODS)
def test_gradients_stay_with_their_adapter(key, other):
    model = build("bert")[0]
    for name, of in (("a", key), ("b", other)):
        add_adapters(model, CONFIGS[of], name=name)
    set_adapter(model, "a")
    expected = backward(model)
    set_adapter(model, "b")
    assert gradients(model) == {}
    before = logits(model)
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=1.0)
    optimizer.step()
    assert torch.equal(logits(model), before)
    backward(model)
    set_adapter(model, None)
    assert gradients(model) == {}
    set_adapter(model, "a")
    found = gradients(model)
    assert found.keys() == expected.keys() and all(torch.equal(found[name], expected[name]) for name in found)
    set_adapter(model, None)
    model.double()
    set_adapter(model, "a")  # its gradients had another precision
    assert all(gradient.dtype == torch.float64 for gradient in gradients(model).values())
    remove_adapters(model)
    assert gradients(model) == {}


def test_parameters_of_deleted_adapters_are_forgotten():
    model = build("bert")[0]
    for name, key in (("a", "tensorized"), ("b", "tensorized"), ("c", "dense")):
        add_adapters(model, CONFIGS[key], name=name)
    removed = model.named_adapters.removed
    assert len(removed) == 1
    delete_adapter(model, "a")
    assert len(removed) == 1  # b has the same ones
    delete_adapter(model, "b")
    assert removed == {}
    delete_adapter(model, "c")
    assert removed == {}


def test_labels_that_are_changed_in_place_stay_with_their_adapter(tmp_path):
    model = build("bert")[0]
    plain = dict(model.config.id2label)
    for name in ("a", "b"):
        add_adapters(model, CONFIGS["tensorized"], name=name)
    for name in ("b", "a", "b"):
        set_adapter(model, name)
        model.config.id2label[0], model.config.label2id[name] = name, 0
    for name in ("a", "b"):
        set_adapter(model, name)
        assert model.config.id2label == plain | {0: name} and {"a", "b"} & set(model.config.label2id) == {name}
    set_adapter(model, None)
    assert model.config.id2label == plain
    model.config.id2label[0] = plain[0] = "of the plain model"
    set_adapter(model, "a")
    assert model.config.id2label[0] == "a"
    remove_adapters(model)
    assert model.config.id2label == plain and not {"a", "b"} & set(model.config.label2id)
    add_adapters(model, CONFIGS["lora"])
    model.config.id2label[1] = "x"
    remove_adapters(model)
    assert model.config.id2label == plain
