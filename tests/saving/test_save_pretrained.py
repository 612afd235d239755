"""Transformers' own door for saving, which anybody's Trainer uses, on an adapted model: nothing is lost in silence."""

import copy

import pytest
import torch
from helpers import CONFIGS, logits, save_base, tokens, trained_a_little
from transformers import AutoModelForSequenceClassification, Trainer, TrainingArguments

from tensorized_adapters import (
    AdapterConfig,
    UsageError,
    add_adapters,
    load_adapter,
    merge_adapters,
    remove_adapters,
)

WEIGHTS = AdapterConfig(adapter_projection_type="tt", tensorized_layer_rank=2, adapter_placement="weights")
CP = AdapterConfig(adapter_projection_type="cp", tensorized_layer_rank=2, adapter_size=8)
plain = AutoModelForSequenceClassification.from_pretrained


def adapted(folder, config):
    return trained_a_little(add_adapters(plain(folder), config))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A base whose head is saved with it, so that whatever loads it draws nothing."""
    folder = tmp_path_factory.mktemp("plain") / "base"
    save_base(folder)
    plain(folder).save_pretrained(folder)
    return folder


@pytest.mark.parametrize(
    "config",
    [CP, WEIGHTS, *(CONFIGS[name] for name in ("dense", "compacter", "lora", "ia3"))],
    ids=AdapterConfig.describe,
)
def test_it_writes_the_adapter_folder(folder, tmp_path, config):
    model = adapted(folder, config)
    model.save_pretrained(tmp_path)
    assert not (tmp_path / "model.safetensors").exists()
    assert torch.equal(logits(load_adapter(plain(folder), tmp_path)), logits(model))
    copy.deepcopy(model).save_pretrained(tmp_path / "copy")
    assert torch.equal(logits(load_adapter(plain(folder), tmp_path / "copy")), logits(model))


def test_the_plain_model_is_not_loaded_from_it_in_silence(folder, tmp_path):
    adapted(folder, CP).save_pretrained(tmp_path)
    with pytest.raises((OSError, ValueError, KeyError, TypeError)):
        plain(tmp_path)


@pytest.mark.parametrize("name", ["full", "layer_norm", "bitfit", "head"])
def test_what_is_trained_in_place_is_an_ordinary_model(folder, tmp_path, name):
    model = adapted(folder, CONFIGS.get(name) or AdapterConfig(method=name))
    model.save_pretrained(tmp_path)
    assert torch.equal(logits(plain(tmp_path)), logits(model))


@pytest.mark.parametrize("config", [WEIGHTS, CONFIGS["lora"]], ids=AdapterConfig.describe)
def test_a_merged_model_is_an_ordinary_model(folder, tmp_path, config):
    model = adapted(folder, config)
    merge_adapters(model)
    model.save_pretrained(tmp_path)
    again, info = plain(tmp_path, output_loading_info=True)
    assert not any(info[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    assert torch.equal(logits(again), logits(model))
    remove_adapters(model)
    model.save_pretrained(tmp_path / "before")
    assert torch.equal(logits(plain(tmp_path / "before")), logits(plain(folder)))


def test_anybodys_trainer_saves_adapters(folder, tmp_path):
    rows = [{"input_ids": ids, "labels": label} for ids, label in zip(tokens().tolist(), (0, 1))]
    arguments = TrainingArguments(tmp_path / "run", max_steps=2, save_steps=1, use_cpu=True, report_to="none")
    model = add_adapters(plain(folder), CP)
    trainer = Trainer(model=model, args=arguments, train_dataset=rows)
    trainer.train()
    trainer.save_model(tmp_path / "end")
    for saved in (tmp_path / "end", tmp_path / "run" / "checkpoint-2"):
        assert torch.equal(logits(load_adapter(plain(folder), saved)), logits(model))


def test_adapters_are_not_pushed_by_it(folder, tmp_path):
    with pytest.raises(UsageError, match="does not push"):
        adapted(folder, CP).save_pretrained(tmp_path / "x", push_to_hub=True)
    assert not (tmp_path / "x").exists()
