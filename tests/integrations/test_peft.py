"""Tensorized adapters through peft, against the same adapters without it."""

import copy
import importlib
import importlib.util
import json
import sys

import pytest
import torch
from helpers import logits, trained_a_little
from peft import LoraConfig, PeftModel, get_peft_model
from peft.tuners.tuners_utils import BaseTuner
from safetensors.torch import load_file, save_file
from tiny_models import build
from transformers import Trainer, TrainingArguments

from tensorized_adapters import AdapterConfig, UsageError, add_adapters, count_trained, remove_adapters
from tensorized_adapters.adaptation.parameters import trained_parameters
from tensorized_adapters.integrations.peft import TensorizedAdapterConfig

TT = {"adapter_projection_type": "tt", "tensorized_layer_rank": 2, "adapter_size": 8}
SETTINGS = {
    "sequential": TT,
    "joint": TT | {"adapter_projection_type": "cp", "tensor_scope": "model"},
    "one matrix": TT | {"if_adapter_like": False, "adapter_init": "published"},
    "upper layer": TT | {"adapter_projection_type": "tr", "adapter_layers": "1", "adapter_sites": "ffn"},
    "parallel": TT | {"adapter_placement": "parallel", "train_layer_norm": False},
    "weights": TT | {"adapter_placement": "weights", "lora_targets": "query,intermediate.dense"},
    "weights, joint": TT | {"adapter_placement": "weights", "tensor_scope": "model"},
}
# Of each kind of site, and with heads of one part and of several.
ARCHITECTURES = [
    ("deberta-v2", "sequential"),
    ("distilbert", "parallel"),
    ("albert", "joint"),
    ("gpt2", "weights, joint"),
]
ARCHITECTURES += [("modernbert", "parallel"), ("llama", "sequential")]


def through_peft(model, settings, name="default"):
    return get_peft_model(model, TensorizedAdapterConfig(**settings, task_type="SEQ_CLS"), adapter_name=name)


def saved(folder, architecture="bert", key="sequential"):
    """A trained adapter's folder, its base model anew, and the logits of both."""
    base, _ = build(architecture)
    model = trained_a_little(through_peft(copy.deepcopy(base), SETTINGS[key]))
    model.save_pretrained(folder)
    return base, model, logits(model)


@pytest.mark.parametrize(
    "architecture, key", [*(("bert", key) for key in SETTINGS), *ARCHITECTURES], ids=lambda value: value
)
def test_a_trained_adapter_is_ours_and_comes_back_under_any_name(tmp_path, architecture, key):
    base, model, trained = saved(tmp_path, architecture, key)
    assert (trained - logits(base)).abs().max() > 1e-2
    loaded = PeftModel.from_pretrained(copy.deepcopy(base), tmp_path, adapter_name="other")
    assert torch.equal(logits(loaded), trained)
    assert not any(parameter.requires_grad for parameter in loaded.parameters())

    # A model without peft has the same trained parameters, names, counts and outputs.
    ours = add_adapters(copy.deepcopy(base), AdapterConfig(**SETTINGS[key]))
    tensors = {
        name.removeprefix("base_model.model.").replace(".tensorized_adapter.", ".adapter."): tensor
        for name, tensor in load_file(tmp_path / "adapter_model.safetensors").items()
    }
    parameters = trained_parameters(ours)
    assert parameters.keys() == tensors.keys()
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(tensors[name])
    assert torch.allclose(logits(ours), trained, atol=1e-5)
    trainable = {name: p for name, p in model.named_parameters() if p.requires_grad}
    assert sum(p.numel() for p in trainable.values()) == count_trained(ours)["trained"]
    assert all(".default." in name for name in trainable)


def test_an_adapter_starts_as_the_identity_and_is_switched_off():
    base, _ = build("bert")
    before = logits(base)
    for settings in (SETTINGS["sequential"], SETTINGS["parallel"], SETTINGS["weights"]):
        model = through_peft(copy.deepcopy(base), settings)
        assert torch.equal(logits(model), before)
        trained_a_little(model)
        with model.disable_adapter():
            assert torch.equal(logits(model), before)


def test_several_adapters_share_a_model(tmp_path):
    base, _, first = saved(tmp_path)
    model = PeftModel.from_pretrained(copy.deepcopy(base), tmp_path, adapter_name="first")
    for name in ("weights", "parallel"):
        model.add_adapter(name, TensorizedAdapterConfig(**SETTINGS[name], task_type="SEQ_CLS"))
    outputs = {"first": first}
    for name in ("weights", "parallel"):
        model.set_adapter(name)
        assert torch.equal(logits(model), logits(base))
        trainable = [n for n, parameter in model.named_parameters() if parameter.requires_grad]
        assert trainable and all(f".{name}." in n for n in trainable)
        outputs[name] = logits(trained_a_little(model))
    for name, before in outputs.items():
        model.set_adapter(name)
        assert torch.equal(logits(model), before)
    model.save_pretrained(tmp_path / "all", selected_adapters=["weights"])
    again = PeftModel.from_pretrained(copy.deepcopy(base), tmp_path / "all" / "weights")
    assert torch.equal(logits(again), outputs["weights"])
    model.delete_adapter("first")
    model.set_adapter("parallel")
    assert torch.equal(logits(copy.deepcopy(model)), outputs["parallel"])
    assert not any(module._forward_pre_hooks for module in model.unload().modules())


@pytest.mark.parametrize("architecture", ["bert", "gpt2"])
def test_updates_of_weights_merge(architecture):
    base, _ = build(architecture)
    plain = {name: tuple(parameter.shape) for name, parameter in base.named_parameters()}
    settings = TT | {"adapter_placement": "weights", "train_layer_norm": False}
    model = trained_a_little(through_peft(base, settings))
    trained = logits(model)
    model.merge_adapter(safe_merge=True)
    assert torch.allclose(logits(model), trained, atol=1e-5)
    model.unmerge_adapter()
    assert torch.equal(logits(model), trained)
    merged = model.merge_and_unload()
    assert torch.allclose(logits(merged), trained, atol=1e-5)
    assert {name: tuple(parameter.shape) for name, parameter in merged.named_parameters()} == plain


def test_an_update_of_a_tied_weight_does_not_merge():
    base, _ = build("bert")
    query, other = (layer.attention.self.query for layer in base.bert.encoder.layer)
    other.weight = query.weight
    model = trained_a_little(through_peft(base, SETTINGS["weights"]))
    trained = logits(model)
    for merge in (model.merge_and_unload, model.merge_adapter):
        with pytest.raises(UsageError, match="shares its weight with another module"):
            merge()
    assert torch.equal(logits(model), trained)


def test_other_adapters_do_not_merge():
    model = trained_a_little(through_peft(build("bert")[0], TT))
    model.add_adapter("other", TensorizedAdapterConfig(**SETTINGS["weights"]))
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    for merge in (model.merge_and_unload, model.merge_adapter, lambda: model.merge_adapter(["other", "default"])):
        with pytest.raises(UsageError, match="'default' has adapter_placement 'sequential', .* cannot be merged"):
            merge()
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    model.merge_adapter(["other"])


@pytest.mark.parametrize(
    "settings, name, message",
    [
        ({}, "default", "--method tensorized needs --adapter_projection_type"),
        (TT | {"tensorized_layer_rank": 999}, "default", "--tensorized_layer_rank 999 is above"),
        (TT | {"adapter_layers": "7"}, "default", "--adapter_layers 7 is beyond"),
        (TT | {"target_modules": ["query"]}, "default", r"target_modules=\['query'\]: sites follow from"),
        *(
            (TT, name, f"adapter_name '{name}': it must be without dots")
            for name in ("up", "bert", "dropout", "train", "a.b", "")
        ),
    ],
)
def test_what_cannot_be_is_refused(settings, name, message):
    base, _ = build("bert")
    before = dict(base.named_parameters())
    with pytest.raises(UsageError, match=message):
        through_peft(base, settings, name)
    assert dict(base.named_parameters()).keys() == before.keys()


@pytest.mark.parametrize("modules", [["layer.1.output"], ["embeddings"], ["attention.output"], ["layer.1"]])
def test_a_module_to_save_may_contain_layer_norms(tmp_path, modules):
    base, _ = build("bert")
    model = trained_a_little(through_peft(copy.deepcopy(base), TT | {"modules_to_save": modules}))
    model.save_pretrained(tmp_path)
    loaded = PeftModel.from_pretrained(copy.deepcopy(base), tmp_path)
    assert torch.equal(logits(loaded), logits(model))
    trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    norms = [name for name, _ in base.named_parameters() if "LayerNorm" in name]
    assert sum("LayerNorm" in name for name in trained) == len(norms)


@pytest.mark.parametrize("modules", [["intermediate.dense"], ["intermediate"], ["attention.self"]])
def test_a_module_to_save_may_not_hold_the_input_of_a_parallel_adapter(modules):
    message = r"modules_to_save=\['.*'\] with adapter_placement='parallel': the adapter at .* takes the input of"
    with pytest.raises(UsageError, match=message):
        through_peft(build("bert")[0], SETTINGS["parallel"] | {"modules_to_save": modules})
    model = through_peft(build("bert")[0], SETTINGS["parallel"] | {"modules_to_save": ["layer.1", "query"]})
    trained_a_little(model)


def test_models_that_take_no_adapter_are_refused():
    with pytest.raises(UsageError, match="into a model of Transformers, not into a Sequential"):
        get_peft_model(torch.nn.Sequential(torch.nn.Linear(8, 8)), TensorizedAdapterConfig(**TT))
    adapted = add_adapters(build("bert")[0], AdapterConfig(**TT))
    with pytest.raises(UsageError, match="adapted already"):
        through_peft(adapted, TT)
    remove_adapters(adapted)
    add_adapters(adapted.bert, AdapterConfig(**TT))
    with pytest.raises(UsageError, match="the model's bert is adapted already"):
        through_peft(adapted, TT)
    model = through_peft(build("bert")[0], TT)
    with pytest.raises(UsageError, match="adapter_names: a batch of several adapters does not go through peft"):
        model(input_ids=torch.ones(1, 2, dtype=torch.long), adapter_names=["default"])
    with pytest.raises(ValueError, match="different peft types"):
        model.add_adapter("other", LoraConfig())


def test_a_folder_that_does_not_fit_is_refused(tmp_path):
    base, _, _ = saved(tmp_path)
    weights, settings = tmp_path / "adapter_model.safetensors", tmp_path / "adapter_config.json"
    tensors, values = load_file(weights), json.loads(settings.read_text())
    assert "target_modules" not in values
    lost = next(name for name in tensors if ".tensorized_adapter." in name)
    save_file({name: tensor for name, tensor in tensors.items() if name != lost}, weights)
    with pytest.raises(UsageError, match="1 tensors missing or foreign"):
        PeftModel.from_pretrained(copy.deepcopy(base), tmp_path)
    save_file(tensors, weights)
    settings.write_text(json.dumps(values | {"adapter_sites": "ffn"}))
    with pytest.raises(UsageError, match="12 tensors missing or foreign"):
        PeftModel.from_pretrained(copy.deepcopy(base), tmp_path)
    settings.write_text(json.dumps(values | {"tensorized_layer_rank": 1}))
    with pytest.raises(RuntimeError, match="size mismatch"):
        PeftModel.from_pretrained(copy.deepcopy(base), tmp_path)


def test_precisions_and_loading_without_a_draw(tmp_path):
    base, _, trained = saved(tmp_path)
    lean = PeftModel.from_pretrained(copy.deepcopy(base), tmp_path, low_cpu_mem_usage=True)
    assert torch.equal(logits(lean), trained)
    half = PeftModel.from_pretrained(copy.deepcopy(base).bfloat16(), tmp_path)
    assert {p.dtype for name, p in half.named_parameters() if "tensorized_" in name} == {torch.float32}
    assert logits(half).dtype == torch.bfloat16
    assert torch.allclose(logits(half).float(), trained, atol=0.1)


@pytest.mark.parametrize("key", SETTINGS)
def test_low_cpu_mem_usage_injects_without_memory_and_loads(tmp_path, key):
    base, _, trained = saved(tmp_path, key=key)
    settings = TensorizedAdapterConfig(**SETTINGS[key], task_type="SEQ_CLS")
    empty = get_peft_model(copy.deepcopy(base), settings, low_cpu_mem_usage=True)
    assert {p.is_meta for name, p in empty.named_parameters() if ".tensorized_adapter." in name} == {True}
    full = PeftModel.from_pretrained(copy.deepcopy(base), tmp_path)
    lean = PeftModel.from_pretrained(copy.deepcopy(base), tmp_path, low_cpu_mem_usage=True)
    assert torch.equal(logits(lean), trained)
    assert [name for name, _ in lean.named_parameters()] == [name for name, _ in full.named_parameters()]


def test_the_status_names_the_method(tmp_path):
    _, model, _ = saved(tmp_path)
    assert model.get_model_status().peft_types == {"default": "TENSORIZED"}
    assert json.loads((tmp_path / "adapter_config.json").read_text())["peft_type"] == "TENSORIZED"


def test_a_trainer_resumes_without_a_warning(tmp_path, capfd, caplog, recwarn):
    class Data(torch.utils.data.Dataset):
        def __len__(self):
            return 4

        def __getitem__(self, i):
            return {"input_ids": torch.tensor([1, 2, 3]), "attention_mask": torch.ones(3).long(), "labels": i % 2}

    def trainer(steps):
        arguments = TrainingArguments(str(tmp_path), max_steps=steps, save_steps=1, report_to="none", use_cpu=True)
        return Trainer(through_peft(copy.deepcopy(base), SETTINGS["joint"]), arguments, train_dataset=Data())

    base, _ = build("bert")
    first = trainer(1)
    first.train()
    capfd.readouterr()
    recwarn.clear()
    again = trainer(1)
    again.train(resume_from_checkpoint=True)
    assert "missing" not in caplog.text + "".join(capfd.readouterr())
    assert not [w for w in recwarn if "missing" in str(w.message)]
    assert torch.equal(logits(again.model), logits(first.model))


def test_without_a_peft_that_it_knows_it_says_so(monkeypatch):
    module = "tensorized_adapters.integrations.peft"
    monkeypatch.delitem(sys.modules, module)
    with monkeypatch.context() as patch:
        patch.delattr(BaseTuner, "_remap_adapter_state_dict_for_load")
        with pytest.raises(UsageError, match="does not work with peft .* it does with peft 0.21"):
            importlib.import_module(module)
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "peft" else find_spec(name))
    with pytest.raises(UsageError, match="integrations.peft needs peft, which is missing: pip install"):
        importlib.import_module(module)
