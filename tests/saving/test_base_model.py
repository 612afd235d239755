"""An adapter and the base model it was trained on: its kind, its configuration, and where its weights are."""

import json
import shutil

import pytest
import torch
import transformers
from accelerate import disk_offload
from helpers import argv, refused, save_base_of
from tiny_models import CONFIGS, MODELS, build
from transformers import AutoConfig, AutoModel, AutoModelForSequenceClassification

from tensorized_adapters import UsageError, add_adapters, load_adapter, save_adapter

HEAD = CONFIGS["head"]


def classifier(base, **options):
    return AutoModelForSequenceClassification.from_pretrained(base, **options)


def with_config(folder, base, **changes):
    """A copy of a base whose config.json has other values."""
    shutil.copytree(base, folder)
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    return folder


@pytest.mark.parametrize(
    "architecture, changes, fields",
    [
        ("bert", {"num_attention_heads": 4}, "num_attention_heads: 2 there, 4 here"),
        ("bert", {"hidden_act": "relu"}, "hidden_act: 'gelu' there, 'relu' here"),
        ("bert", {"layer_norm_eps": 0.1}, "layer_norm_eps: 1e-12 there, 0.1 here"),
        ("bert", {"num_hidden_layers": 1}, "num_hidden_layers: 2 there, 1 here"),
        ("bert", {"is_decoder": True, "hidden_act": "relu"}, "hidden_act: .*, is_decoder: False there, True here"),
        ("roberta", {"pad_token_id": 3}, "pad_token_id: 0 there, 3 here"),
        ("modernbert", {"classifier_pooling": "mean"}, "classifier_pooling: 'cls' there, 'mean' here"),
        (
            "llama",
            {"rope_parameters": {"rope_type": "default", "rope_theta": 10.0}},
            "rope_parameters.rope_theta: 10000.0 there, 10.0 here",
        ),
    ],
)
def test_the_same_weights_under_another_configuration_are_refused(tmp_path, architecture, changes, fields):
    base = save_base_of(tmp_path / "base", architecture)
    save_adapter(add_adapters(classifier(base), HEAD), tmp_path / "adapter")
    other = with_config(tmp_path / "other", base, **changes)
    with pytest.raises(UsageError, match=rf"another base model: the configuration of '.*/other' .*\({fields}\)$"):
        load_adapter(classifier(other), tmp_path / "adapter")


@pytest.mark.parametrize("architecture", MODELS)
def test_the_same_base_is_accepted_however_it_is_loaded(tmp_path, architecture):
    """Options of ``from_pretrained`` that leave the computation as it is, and a base that was saved once more."""
    base, folder = save_base_of(tmp_path / "base", architecture), tmp_path / "adapter"
    save_adapter(add_adapters(classifier(base, num_labels=3), CONFIGS["layer_norm"]), folder)
    load_adapter(classifier(base, num_labels=3, dtype=torch.bfloat16), folder)
    load_adapter(classifier(base, num_labels=3, attn_implementation="eager"), folder)
    load_adapter(classifier(base, num_labels=5), folder, new_head=True)
    config = AutoConfig.from_pretrained(base, num_labels=3)
    for name in config.to_dict():
        if "drop" in name:
            setattr(config, name, 0.3)
    config.update({"use_cache": False, "output_hidden_states": True, "initializer_range": 0.5, "eos_token_id": 7})
    load_adapter(classifier(base, config=config), folder)
    classifier(base, config=config).base_model.save_pretrained(tmp_path / "again")
    load_adapter(classifier(tmp_path / "again", num_labels=3), folder)
    model = load_adapter(classifier(base, num_labels=3), folder)
    if MODELS[architecture][1].get("bos_token_id") and architecture != "modernbert":
        model.config.pad_token_id = 1  # for a decoder the user chooses it
    save_adapter(model, tmp_path / "saved again")
    load_adapter(classifier(base, num_labels=3), tmp_path / "saved again")

    plain = classifier(base, num_labels=3)
    plain.resize_token_embeddings(48)
    plain.base_model.save_pretrained(tmp_path / "resized base")
    save_adapter(add_adapters(plain, HEAD), tmp_path / "resized")
    load_adapter(classifier(tmp_path / "resized base", num_labels=3), tmp_path / "resized")


def test_a_new_head_may_be_of_other_settings(tmp_path):
    base = save_base_of(tmp_path / "base", "modernbert")
    save_adapter(add_adapters(classifier(base), CONFIGS["tensorized"]), tmp_path / "adapter")
    load_adapter(classifier(base, classifier_pooling="mean"), tmp_path / "adapter", new_head=True)


def test_an_adapter_of_a_bare_model_loads_onto_one(tmp_path, base):
    save_adapter(add_adapters(AutoModel.from_pretrained(base), CONFIGS["tensorized"]), tmp_path)
    load_adapter(AutoModel.from_pretrained(base), tmp_path)


def test_another_architecture_is_named_first(tmp_path, base):
    save_adapter(add_adapters(classifier(base), CONFIGS["tensorized"]), tmp_path)
    for name in ("roberta", "distilbert", "gpt2"):
        with pytest.raises(UsageError, match=rf"another base model: '.*' is a bert model, and '.*' a {name} model$"):
            load_adapter(build(name)[0], tmp_path)


@pytest.mark.parametrize("kind", ["TokenClassification", "QuestionAnswering"])
@pytest.mark.parametrize("architecture", ["bert", "distilbert"])
def test_another_kind_of_model_is_named(tmp_path, architecture, kind):
    base = save_base_of(tmp_path / "base", architecture)
    save_adapter(add_adapters(classifier(base, num_labels=2), CONFIGS["tensorized"]), tmp_path / "adapter")
    model = getattr(transformers, f"AutoModelFor{kind}").from_pretrained(base, num_labels=2)
    name = f"a {type(model).__name__} is a model of another kind"
    with pytest.raises(UsageError, match=f"{name}; load it with AutoModelForSequenceClassification$"):
        load_adapter(model, tmp_path / "adapter")


@pytest.mark.parametrize("key", ["tensorized", "lora"])
def test_an_adapter_is_no_base_model(capsys, flags, tmp_path, base, key):
    save_adapter(add_adapters(classifier(base), CONFIGS[key]), tmp_path / "run" / "adapter")
    for folder in (tmp_path / "run", tmp_path / "run" / "adapter"):
        for flag in ("model_name_or_path", "tokenizer_name"):
            error = refused(capsys, argv(flags, **{flag: folder}), flags["output_dir"])
            assert f"--{flag} {folder} is an adapter's folder; name that of its base model" in error
            assert error.endswith(", and give an adapter of this program as --adapter_path\n")
    (folder / "tokenizer.json").write_text("{")  # what is damaged is named, if there is more than an adapter
    error = refused(capsys, argv(flags, tokenizer_name=folder), flags["output_dir"])
    assert f"--tokenizer_name {folder} cannot be loaded: " in error


def test_offloaded_weights_are_refused(tmp_path, base):
    """accelerate keeps them on the disk, and their parameters are empty. So they are after a model was adapted."""
    save_adapter(add_adapters(classifier(base), HEAD), tmp_path / "adapter")
    places = {"bert.embeddings": "cpu", "bert.encoder": "disk", "bert.pooler": "cpu", "classifier": "cpu"}
    model = classifier(base, device_map=places, offload_folder=tmp_path / "offloaded")
    adapted = disk_offload(add_adapters(classifier(base), HEAD), tmp_path / "later")
    for act in (
        lambda: load_adapter(model, tmp_path / "adapter"),
        lambda: add_adapters(model, HEAD),
        lambda: save_adapter(adapted, tmp_path / "saved"),
    ):
        with pytest.raises(UsageError, match="^device_map left .* weights .* offloaded, .*; load the model without"):
            act()
    assert not (tmp_path / "saved").exists()
    load_adapter(classifier(base, device_map="cpu"), tmp_path / "adapter")
