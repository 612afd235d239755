"""Every method trains what it names, saves it, and restores the backbone, through the Python interface."""

import copy
import hashlib

import pytest
import safetensors.torch
import torch
from exhaustive import FEW_ARCHITECTURES, exhaustive_but
from helpers import logits, rewrite, tiny_model, tokens, trained_a_little
from tiny_models import COMBINATIONS, CONFIGS, REFUSED, build
from transformers import AutoModelForSequenceClassification

from tensorized_adapters import (
    AdapterConfig,
    UsageError,
    adapters_off,
    add_adapters,
    count_trained,
    load_adapter,
    optimizer_groups,
    remove_adapters,
    save_adapter,
)
from tensorized_adapters.adaptation.parameters import trained_groups
from tensorized_adapters.config import METHODS


@pytest.mark.parametrize("name, key", REFUSED)
def test_what_an_architecture_lacks_is_refused(name, key):
    with pytest.raises(UsageError, match="no such biases|computes in one layer with others"):
        add_adapters(build(name)[0], CONFIGS[key])


@pytest.mark.parametrize("name", [name for name, key in REFUSED if key == "ia3"])
def test_ia3_as_a_type_of_peft_is_refused_where_the_method_is(name):
    with pytest.raises(UsageError, match="^--peft_type ia3 rescales .* in one layer with others"):
        add_adapters(build(name)[0], AdapterConfig(method="peft", peft_type="ia3"))


FEW = [(name, key) for name, key in COMBINATIONS if name in FEW_ARCHITECTURES]


def test_every_method_is_tested():
    assert {config.method for config in CONFIGS.values()} == set(METHODS)


# One method of each kind: adapters, updates of weights, trained biases, a method of peft, and sparse differences.
few_configs = pytest.mark.parametrize(
    "config",
    exhaustive_but(
        [CONFIGS[key] for key in ("joint", "weights", "bitfit", "peft", "diff_pruning")], list(CONFIGS.values())
    ),
    ids=CONFIGS,
)


@pytest.mark.parametrize("name, key", exhaustive_but(FEW, COMBINATIONS))
def test_each_starts_as_the_backbone_bit_for_bit_on_every_architecture(name, key):
    model, _ = build(name)
    before = logits(model)
    add_adapters(model, CONFIGS[key])
    assert torch.equal(logits(model), before)


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_taken_out_or_switched_off_the_model_is_as_before_bit_for_bit(config):
    model = tiny_model()
    model.bert.embeddings.requires_grad_(False)
    before, state = logits(model), copy.deepcopy(model.state_dict())
    trained = logits(trained_a_little(add_adapters(model, config)))
    with pytest.raises(KeyError), adapters_off(model):
        assert torch.equal(logits(model), before)
        raise KeyError
    assert torch.equal(logits(model), trained) and not torch.equal(trained, before)
    remove_adapters(model)
    assert model.state_dict().keys() == state.keys()
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    frozen = {name for name, p in model.named_parameters() if not p.requires_grad}
    assert frozen == {name for name in state if name.startswith("bert.embeddings.")}
    assert not torch.equal(logits(trained_a_little(add_adapters(model, config))), before)  # it can be adapted again


@pytest.mark.parametrize("name, key", exhaustive_but(FEW, COMBINATIONS))
def test_gradients_reach_exactly_what_the_method_trains(name, key):
    model, _ = build(name)
    add_adapters(model, CONFIGS[key]).train()
    model(input_ids=tokens(), labels=torch.tensor([0, 1])).loss.backward()
    named = {name for group in trained_groups(model).values() for name in group}
    assert {name for name, p in model.named_parameters() if p.requires_grad} == named
    assert {name for name, p in model.named_parameters() if p.grad is not None} == named


@pytest.mark.parametrize(
    "key, ends",
    [
        ("bitfit", ("bias", "classifier.weight")),
        ("bitfit, two terms", ("query.bias", "intermediate.dense.bias", "classifier.weight", "classifier.bias")),
        ("head", ("classifier.weight", "classifier.bias")),
        ("lora", ("query.lora_A.default.weight", "query.lora_B.default.weight") + ("value.lora_A.default.weight",)
         + ("value.lora_B.default.weight", "classifier.weight", "classifier.bias")),
    ],
)  # fmt: skip
def test_what_is_trained_by_name(key, ends):
    model = add_adapters(tiny_model(), CONFIGS[key])
    for name, parameter in model.named_parameters():
        assert parameter.requires_grad == name.endswith(ends), name


def test_full_trains_everything():
    assert all(p.requires_grad for p in add_adapters(tiny_model(), CONFIGS["full"]).parameters())


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_round_trip_holds_what_was_trained_and_leaves_the_rest_alone(tmp_path, base, config):
    model = AutoModelForSequenceClassification.from_pretrained(base)
    pretrained = {name: p.detach().clone() for name, p in model.named_parameters()}
    trained_a_little(add_adapters(model, config))
    save_adapter(model, tmp_path / "adapter")
    stored = safetensors.torch.load_file(tmp_path / "adapter" / "adapter_model.safetensors")
    assert (
        sum(t.numel() for name, t in stored.items() if not name.endswith(".indices"))
        == (count_trained(model)["trained"])
    )
    fresh = AutoModelForSequenceClassification.from_pretrained(base)
    again = load_adapter(fresh, tmp_path / "adapter")
    assert torch.equal(logits(again), logits(model))
    assert not torch.equal(logits(again), logits(AutoModelForSequenceClassification.from_pretrained(base)))

    assert (count_trained(again)["backbone"] > 0) == (config.method in ("bitfit", "diff_pruning", "full"))
    remove_adapters(again)  # the head of this one is another than that of ``pretrained``, newly drawn
    changed = {name for name, p in again.named_parameters() if not torch.equal(p, pretrained[name])}
    assert all("classifier" in name for name in changed)
    assert list(again.state_dict()) == list(AutoModelForSequenceClassification.from_pretrained(base).state_dict())


@few_configs
def test_another_base_is_refused(tmp_path, base, other_base, config):
    model = add_adapters(AutoModelForSequenceClassification.from_pretrained(base), config)
    save_adapter(trained_a_little(model), tmp_path)
    with pytest.raises(UsageError, match="trained on another base model"):
        load_adapter(AutoModelForSequenceClassification.from_pretrained(other_base), tmp_path)
    load_adapter(model, tmp_path)  # the same model, trained since


@few_configs
def test_a_failed_load_leaves_the_model_as_it_was(tmp_path, base, config):
    save_adapter(add_adapters(AutoModelForSequenceClassification.from_pretrained(base), config), tmp_path)
    path = next(p for n in ("tensorized_adapters.json", "adapter_config.json") if (p := tmp_path / n).is_file())
    weights = tmp_path / "adapter_model.safetensors"
    tensors = safetensors.torch.load_file(weights)
    safetensors.torch.save_file(dict(list(tensors.items())[1:]), weights)
    rewrite(path, {"weights_sha256": hashlib.sha256(weights.read_bytes()).hexdigest()})
    model = AutoModelForSequenceClassification.from_pretrained(base)
    names, before = list(model.state_dict()), logits(model)
    with pytest.raises(UsageError, match="does not fit|another base model"):
        load_adapter(model, tmp_path)
    assert list(model.state_dict()) == names and torch.equal(logits(model), before)
    assert all(p.requires_grad for p in model.parameters())


def test_switching_off_nests_and_nothing_is_saved_or_loaded_meanwhile(tmp_path):
    model = tiny_model()
    before = logits(model)
    trained_a_little(add_adapters(model, CONFIGS["tensorized"]))
    save_adapter(model, tmp_path / "other")
    with adapters_off(model):
        with adapters_off(model):
            pass
        assert torch.equal(logits(model), before)
        with pytest.raises(UsageError, match=r"leave adapters_off\(model\) first: within it"):
            save_adapter(model, tmp_path / "adapter")
        with pytest.raises(UsageError, match=r"leave adapters_off\(model\) first: within it"):
            load_adapter(model, tmp_path / "other")
        with pytest.raises(UsageError, match=r"leave adapters_off\(model\) first: within it"):
            remove_adapters(model)
    assert not torch.equal(logits(model), before) and not (tmp_path / "adapter").exists()


def test_a_replaced_head_is_not_put_back_in_silence(base, tmp_path):
    model = AutoModelForSequenceClassification.from_pretrained(base)
    labels = dict(model.config.id2label)
    save_adapter(add_adapters(copy.deepcopy(model), CONFIGS["lora"]), tmp_path)
    load_adapter(model, tmp_path).config.id2label = {0: "no", 1: "yes"}
    head, model.classifier = model.classifier, torch.nn.Linear(32, 5)
    with pytest.raises(UsageError, match="classifier.weight was replaced since add_adapters"):
        remove_adapters(model)
    model.classifier = head
    remove_adapters(model)
    assert model.config.id2label == labels and not hasattr(model, "adaptation")


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_layer_norms_and_biases_are_not_decayed(config):
    for name in ("bert", "modernbert"):
        if (name, next(key for key, c in CONFIGS.items() if c is config)) in REFUSED:
            continue
        model = add_adapters(build(name)[0], config)
        decay_of = {
            id(p): g["weight_decay"] for g in optimizer_groups(model, 1.0, weight_decay=0.1) for p in g["params"]
        }
        decayed = {name for name, p in model.named_parameters() if decay_of.get(id(p))}
        assert not [name for name in decayed if "norm" in name.lower() or name.endswith("bias")]
        assert "classifier.weight" in decayed
        assert len(optimizer_groups(model, 1.0, weight_decay=0.1)) <= 4


def test_a_compiled_model_is_the_model_it_wraps(base, tmp_path):
    model = trained_a_little(
        add_adapters(AutoModelForSequenceClassification.from_pretrained(base), CONFIGS["tensorized"])
    )
    compiled = torch.compile(model, backend="eager")
    assert count_trained(compiled) == count_trained(model)
    sizes = [[len(g["params"]) for g in optimizer_groups(m, 1e-3)] for m in (model, compiled)]
    assert sizes[0] == sizes[1]
    save_adapter(compiled, tmp_path)
    again = load_adapter(AutoModelForSequenceClassification.from_pretrained(base), tmp_path)
    assert torch.equal(logits(again), logits(model))


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_copies_are_independent(config):
    model = add_adapters(tiny_model(), config)
    before = logits(model)
    trained_a_little(copy.deepcopy(model))
    assert torch.equal(logits(model), before)


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_a_model_is_adapted_once(config):
    model = add_adapters(tiny_model(), config)
    with pytest.raises(UsageError, match="adapted already"):
        add_adapters(model, CONFIGS["head"])


@few_configs
def test_a_new_pooler_is_head_for_every_method_and_comes_back(tmp_path, base, config):
    new = ["bert.pooler.dense.weight", "bert.pooler.dense.bias", "classifier.weight", "classifier.bias"]
    model = add_adapters(AutoModelForSequenceClassification.from_pretrained(base), config, newly_initialized=new)
    assert set(trained_groups(model)["head"]) == set(new)
    trained_a_little(model)
    save_adapter(model, tmp_path)
    fresh = AutoModelForSequenceClassification.from_pretrained(base)
    torch.nn.init.zeros_(fresh.bert.pooler.dense.weight)
    again = load_adapter(fresh, tmp_path)
    assert torch.equal(logits(again), logits(model))
    assert count_trained(again) == count_trained(model)


def test_a_peft_model_is_adapted_already():
    from peft import LoraConfig, get_peft_model

    model = get_peft_model(tiny_model(), LoraConfig(task_type="SEQ_CLS", target_modules=["query"]))
    with pytest.raises(UsageError, match="adapted already"):
        add_adapters(model, CONFIGS["head"])


def test_a_refusal_names_what_differs(tmp_path, base):
    model = add_adapters(AutoModelForSequenceClassification.from_pretrained(base), CONFIGS["lora"])
    save_adapter(model, tmp_path)
    other = add_adapters(
        AutoModelForSequenceClassification.from_pretrained(base), AdapterConfig(method="lora", lora_r=2, lora_alpha=3)
    )
    with pytest.raises(UsageError, match="lora_alpha 16 there, 3 here"):
        load_adapter(other, tmp_path)


@pytest.mark.parametrize("name", ["tensorized", "lora", "full"])
def test_the_model_cards_code_runs_as_it_stands(tmp_path, base, name):
    model = add_adapters(AutoModelForSequenceClassification.from_pretrained(base), CONFIGS[name])
    save_adapter(trained_a_little(model), tmp_path)
    code = (tmp_path / "README.md").read_text().split("```python\n")[1].split("```")[0]
    space = {}
    exec(code.replace("path/to/this/folder", str(tmp_path)), space)
    assert torch.equal(logits(space["model"]), logits(model))
