"""Transformers' own methods of saving write the adapter or the complete model of an adapted model."""

import contextlib
import copy
import os
import pickle

import pytest
import safetensors.torch
import torch
import transformers
from exhaustive import exhaustive_but
from helpers import logits, save_base, tiny_model, tokens, trained_a_little
from tiny_models import CONFIGS, build
from transformers import AutoModelForSequenceClassification, Trainer, TrainingArguments

from tensorized_adapters import (
    UsageError,
    adapters_off,
    add_adapters,
    load_adapter,
    merge_adapters,
    remove_adapters,
    save_adapter,
)

MERGING = ["weights", "weights, joint", "lora"]
IN_PLACE = ["bitfit", "layer_norm", "head", "full"]
ADDING = [key for key in CONFIGS if key not in IN_PLACE and not key.startswith("bitfit")]


def from_pretrained(folder):
    model, info = AutoModelForSequenceClassification.from_pretrained(folder, output_loading_info=True)
    assert not info["missing_keys"] and not info["unexpected_keys"]
    return model


@pytest.mark.parametrize("key", ADDING)
def test_an_adapted_model_is_written_as_its_adapter(tmp_path, key):
    model = tiny_model()
    model.save_pretrained(tmp_path / "base")
    trained_a_little(add_adapters(model, CONFIGS[key])).save_pretrained(tmp_path / "adapter", max_shard_size="1KB")
    assert not (tmp_path / "adapter" / "config.json").exists()  # from_pretrained would take it for a model
    again = load_adapter(from_pretrained(tmp_path / "base"), tmp_path / "adapter")
    assert torch.equal(logits(again), logits(model))
    with pytest.raises((OSError, ValueError, KeyError, TypeError)):  # rather than a model without adapters
        from_pretrained(tmp_path / "adapter")
    with pytest.raises(UsageError, match="base holds a complete model; name another folder"):
        model.save_pretrained(tmp_path / "base")
    with pytest.raises(UsageError, match="other values than the model's; save_adapter"):
        model.save_pretrained(tmp_path / "other", state_dict={"classifier.bias": torch.zeros(2)})
    copy.deepcopy(model).save_pretrained(tmp_path / "copy")
    assert torch.equal(logits(load_adapter(from_pretrained(tmp_path / "base"), tmp_path / "copy")), logits(model))
    remove_adapters(model)
    model.save_pretrained(tmp_path / "removed")
    assert torch.equal(logits(from_pretrained(tmp_path / "removed")), logits(from_pretrained(tmp_path / "base")))


def test_all_files_of_an_adapter_have_the_rights_of_the_users_umask(tmp_path):
    before = os.umask(0o027)
    try:
        add_adapters(tiny_model(), CONFIGS["lora"]).save_pretrained(tmp_path / "adapter")
    finally:
        os.umask(before)
    assert {path.stat().st_mode & 0o777 for path in (tmp_path / "adapter").iterdir()} == {0o640}


@pytest.mark.parametrize("name", ["bert", "albert", "modernbert"])
@pytest.mark.parametrize("key", [*MERGING, *IN_PLACE])
def test_a_merged_model_or_one_trained_in_place_is_written_as_a_model(tmp_path, name, key):
    if (name, key) == ("modernbert", "bitfit"):
        key = "layer_norm"
    model = trained_a_little(add_adapters(build(name)[0], CONFIGS[key]))
    if key in MERGING:
        merge_adapters(model)
    model.save_pretrained(tmp_path / "complete", max_shard_size="20KB")
    assert len(list((tmp_path / "complete").glob("model-*.safetensors"))) > 1
    assert torch.equal(logits(from_pretrained(tmp_path / "complete")), logits(model))
    (tmp_path / "adapter").mkdir()
    (tmp_path / "adapter" / "adapter_config.json").touch()
    with pytest.raises(UsageError, match="holds an adapter; name another folder"):  # from_pretrained would load that
        model.save_pretrained(tmp_path / "adapter")
    remove_adapters(model)
    add_adapters(model, CONFIGS["head"])
    with pytest.raises(UsageError, match="holds a complete model; name another folder"):  # it would load no longer
        save_adapter(model, tmp_path / "complete")


@contextlib.contextmanager
def _propagating():
    """Transformers' log reaches pytest's."""
    transformers.utils.logging.enable_propagation()
    try:
        yield
    finally:
        transformers.utils.logging.disable_propagation()


BY_A_TRAINER = exhaustive_but(
    [("tensorized", False), ("joint", False), ("dense", False), ("lora", False), ("peft", False)]
    + [("diff_pruning", False), ("full", False), ("tensorized", True), ("diff_pruning", True)],
    [(key, False) for key in CONFIGS] + [(key, True) for key in ("tensorized", "lora", "diff_pruning")],
)


@pytest.mark.parametrize("key, named", BY_A_TRAINER)
def test_any_trainer_saves_resumes_and_keeps_the_best(tmp_path, base, key, named, caplog):
    """Hugging Face's Trainer alone resumes to the same result as without an interruption, and reports no missing
    key."""
    if named:
        start = add_adapters(AutoModelForSequenceClassification.from_pretrained(base), CONFIGS[key])
        save_adapter(trained_a_little(start), tmp_path / "start")

    def adapted():
        model = AutoModelForSequenceClassification.from_pretrained(base)
        return load_adapter(model, tmp_path / "start", name="a") if named else add_adapters(model, CONFIGS[key])

    def trainer(folder, steps):
        torch.manual_seed(0)
        model = adapted()
        rows = [{"input_ids": tokens()[0], "labels": i % 2} for i in range(8)]
        arguments = TrainingArguments(
            str(tmp_path / folder), max_steps=steps, save_steps=2, eval_steps=2, eval_strategy="steps", use_cpu=True,
            learning_rate=0.01, lr_scheduler_type="constant", report_to="none", disable_tqdm=True,
            load_best_model_at_end=True, per_device_train_batch_size=2,
        )  # fmt: skip
        return Trainer(model=model, args=arguments, train_dataset=rows, eval_dataset=rows)

    complete = trainer("complete", 4)
    complete.train()
    trainer("parts", 2).train()
    resumed = trainer("parts", 4)
    with caplog.at_level("WARNING"), _propagating():
        resumed.train(resume_from_checkpoint=True)
    assert "missing keys" not in caplog.text
    assert resumed.state.best_model_checkpoint[-1] == complete.state.best_model_checkpoint[-1]
    assert torch.equal(logits(resumed.model), logits(complete.model))
    resumed.save_model(str(tmp_path / "saved"))
    for folder in (tmp_path / "saved", resumed.state.best_model_checkpoint):
        if key in ADDING:
            again = load_adapter(AutoModelForSequenceClassification.from_pretrained(base), folder)
        else:  # pre-trained parameters alone were trained: a complete model
            again = from_pretrained(folder)
        assert torch.equal(logits(again), logits(resumed.model))


@pytest.mark.parametrize("key", ["tensorized", "joint", "lora", "diff_pruning"])
def test_a_state_of_all_that_is_trained_lacks_nothing_and_any_other_does(tmp_path, key):
    model = add_adapters(tiny_model(), CONFIGS[key])
    model.save_pretrained(tmp_path)
    state = safetensors.torch.load_file(tmp_path / "model.safetensors")
    for each in (model, copy.deepcopy(model)):
        assert not each.load_state_dict(state, strict=False).missing_keys
        last = dict([*state.items()][:-1])
        assert each.load_state_dict(last, strict=False).missing_keys
    remove_adapters(model)
    assert model.load_state_dict({}, strict=False).missing_keys
    assert not model._load_state_dict_post_hooks


def test_a_model_that_was_resized_in_training_is_saved_as_a_model(tmp_path):
    """An adapter of it would load onto no base: neither onto one of the old size nor onto one of the new."""
    model = trained_a_little(add_adapters(build("bert")[0], CONFIGS["full"]))
    model.resize_token_embeddings(45)
    with pytest.raises(UsageError, match="word_embeddings.weight has another shape than .* model.save_pretrained"):
        save_adapter(model, tmp_path / "adapter")
    assert not (tmp_path / "adapter").exists()
    model.save_pretrained(tmp_path / "model")
    assert torch.equal(logits(from_pretrained(tmp_path / "model")), logits(model))


def test_the_hub_gets_the_adapter(tmp_path, monkeypatch):
    pushed = []
    model = add_adapters(tiny_model(), CONFIGS["tensorized"])
    monkeypatch.setattr(type(model), "push_to_hub", lambda self, name, **options: pushed.append((name, options)))
    model.save_pretrained(tmp_path / "mine", push_to_hub=True, token="t", is_main_process=False)
    assert not pushed and not (tmp_path / "mine").exists()
    model.save_pretrained(tmp_path / "mine", push_to_hub=True, token="t")
    assert pushed == [("mine", {"token": "t"})] and (tmp_path / "mine" / "adapter_model.safetensors").exists()


@pytest.mark.parametrize("key", ["tensorized", "joint", "parallel", "weights", "dense", "compacter", "lora", "ia3"])
def test_a_pickled_model_computes_and_saves_as_itself(tmp_path, key):
    base = save_base(tmp_path / "base")
    model = AutoModelForSequenceClassification.from_pretrained(base)
    trained_a_little(add_adapters(model, CONFIGS[key]))
    again = pickle.loads(pickle.dumps(model))
    assert torch.equal(logits(again), logits(model)) or torch.allclose(logits(again), logits(model), atol=1e-6)
    again.save_pretrained(tmp_path / "adapter")
    loaded = load_adapter(AutoModelForSequenceClassification.from_pretrained(base), tmp_path / "adapter")
    assert torch.equal(logits(loaded), logits(model))


@pytest.mark.parametrize("key", [*IN_PLACE, "tensorized"])
def test_nothing_is_saved_while_the_trained_parameters_are_put_away(tmp_path, key):
    model = add_adapters(tiny_model(), CONFIGS[key])
    with adapters_off(model), pytest.raises(UsageError, match="leave adapters_off"):
        model.save_pretrained(tmp_path / "adapter")
    assert not (tmp_path / "adapter").exists()
    model.save_pretrained(tmp_path / "adapter")
