"""The adapter folder through the Python API: its files, and a round trip on every kind of base."""

import json
from pathlib import Path

import pytest
import safetensors.torch
import torch
from helpers import logits as seen
from helpers import rewrite, save_base, tiny_model
from peft import PeftConfig, PeftModel
from tiny_models import CONFIGS
from transformers import AutoModel, AutoModelForMaskedLM, AutoModelForSequenceClassification

from tensorized_adapters import AdapterConfig, RunFailed, UsageError, add_adapters, load_adapter, save_adapter
from tensorized_adapters.tensors.formats import FORMATS

CONFIG = AdapterConfig(adapter_projection_type="tr", tensorized_layer_rank=2, adapter_size=8)


def trained(model):
    for parameter in model.parameters():
        if parameter.requires_grad:
            torch.nn.init.normal_(parameter)
    return model


def logits(model):
    torch.manual_seed(1)
    return model.eval()(input_ids=torch.randint(5, 20, (2, 9))).logits


@pytest.mark.parametrize("config", [CONFIG, AdapterConfig(method="layer_norm"), AdapterConfig(method="head")])
def test_round_trip_holds_every_trained_tensor_and_nothing_else(tmp_path, base, config):
    model = trained(add_adapters(AutoModelForSequenceClassification.from_pretrained(base), config))
    model.config.id2label = {0: "no", 1: "yes"}
    save_adapter(model, tmp_path / "adapter")
    assert {p.name for p in (tmp_path / "adapter").iterdir()} == {
        "adapter_config.json",
        "adapter_model.safetensors",
        "README.md",
    }
    stored = safetensors.torch.load_file(tmp_path / "adapter" / "adapter_model.safetensors")
    assert set(stored) == {name for name, p in model.named_parameters() if p.requires_grad}
    again = load_adapter(AutoModelForSequenceClassification.from_pretrained(base), tmp_path / "adapter")
    assert torch.equal(logits(again), logits(model))
    assert again.config.id2label == {0: "no", 1: "yes"} and again.config.label2id == {"no": 0, "yes": 1}
    save_adapter(again, tmp_path / "again")
    for path in (tmp_path / "adapter").iterdir():
        assert path.read_bytes() == (tmp_path / "again" / path.name).read_bytes(), path.name


def test_a_pooler_that_the_base_lacks_is_saved_with_the_head(tmp_path, base):
    model, info = AutoModelForSequenceClassification.from_pretrained(base, output_loading_info=True)
    new = {*info["missing_keys"], "bert.pooler.dense.weight", "bert.pooler.dense.bias"}
    trained(add_adapters(model, CONFIG, newly_initialized=new))
    save_adapter(model, tmp_path)
    fresh = AutoModelForSequenceClassification.from_pretrained(base)
    torch.nn.init.zeros_(fresh.bert.pooler.dense.weight)
    assert torch.equal(logits(load_adapter(fresh, tmp_path)), logits(model))


def test_a_moved_base_is_accepted_and_a_same_shaped_other_one_is_not(tmp_path, base, other_base):
    model = trained(add_adapters(AutoModelForSequenceClassification.from_pretrained(base), CONFIG))
    save_adapter(model, tmp_path / "adapter")
    moved = save_base(tmp_path / "moved")  # the same seed, so the same weights at another path
    load_adapter(AutoModelForSequenceClassification.from_pretrained(moved), tmp_path / "adapter")
    with pytest.raises(UsageError, match="trained on another base model"):
        load_adapter(AutoModelForSequenceClassification.from_pretrained(other_base), tmp_path / "adapter")


def test_a_base_stored_in_half_precision_is_the_same_base_however_it_is_loaded(tmp_path, base):
    half = AutoModelForSequenceClassification.from_pretrained(base).half()
    half.base_model.save_pretrained(tmp_path / "half")
    trained_on = AutoModelForSequenceClassification.from_pretrained(tmp_path / "half", dtype=torch.float32)
    save_adapter(add_adapters(trained_on, CONFIG), tmp_path / "adapter")
    for dtype in (torch.float16, torch.float32, torch.float64):
        model = AutoModelForSequenceClassification.from_pretrained(tmp_path / "half", dtype=dtype)
        load_adapter(model, tmp_path / "adapter")


PRECISIONS = (torch.float32, torch.float16, torch.bfloat16)


def in_precision(base, dtype):
    return AutoModelForSequenceClassification.from_pretrained(base, dtype=dtype)


@pytest.mark.parametrize("trained_in", PRECISIONS)
def test_a_base_is_known_again_in_every_precision_and_no_other_is(tmp_path, base, other_base, trained_in):
    save_adapter(add_adapters(in_precision(base, trained_in), CONFIG), tmp_path)
    for dtype in PRECISIONS:
        load_adapter(in_precision(base, dtype), tmp_path)
        with pytest.raises(UsageError, match="another base model"):
            load_adapter(in_precision(other_base, dtype), tmp_path)
    for dtype in {trained_in, torch.float32}:  # if the recorded bits can be computed, one number is enough
        changed = in_precision(base, dtype)
        with torch.no_grad():
            changed.bert.encoder.layer[1].attention.self.query.weight[3, 5] *= 1.01
        with pytest.raises(UsageError, match="another base model"):
            load_adapter(changed, tmp_path)


def test_a_base_that_changed_after_a_save_has_another_fingerprint(tmp_path, base):
    model = add_adapters(AutoModelForSequenceClassification.from_pretrained(base), CONFIG)
    save_adapter(model, tmp_path / "one")
    with torch.no_grad():
        model.bert.encoder.layer[0].attention.self.query.weight.mul_(2)
    save_adapter(model, tmp_path / "two")
    load_adapter(AutoModelForSequenceClassification.from_pretrained(base), tmp_path / "one")
    with pytest.raises(UsageError, match="another base model"):
        load_adapter(AutoModelForSequenceClassification.from_pretrained(base), tmp_path / "two")


@pytest.mark.parametrize("way", ["data", "detach", "numpy", "in inference mode"])
def test_every_way_of_changing_the_base_is_seen_by_the_next_save(tmp_path, base, way):
    """This includes changes that autograd's version counter does not count."""
    model = add_adapters(AutoModelForSequenceClassification.from_pretrained(base), CONFIG)
    save_adapter(model, tmp_path / "one")
    before = AutoModelForSequenceClassification.from_pretrained(base)
    weight = model.bert.encoder.layer[0].attention.self.query.weight
    if way == "data":
        weight.data.mul_(2)
    elif way == "detach":
        weight.detach()[0, 0] += 1
    elif way == "numpy":
        weight.detach().numpy()[3, :] = 0.5
    else:
        with torch.inference_mode():
            weight.data.mul_(-1)
    save_adapter(model, tmp_path / "two")
    load_adapter(before, tmp_path / "one")
    with pytest.raises(UsageError, match="another base model"):
        load_adapter(AutoModelForSequenceClassification.from_pretrained(base), tmp_path / "two")
    with pytest.raises(UsageError, match="another base model"):
        load_adapter(model, tmp_path / "one")
    load_adapter(model, tmp_path / "two")


@pytest.mark.parametrize("kind", [AutoModel, AutoModelForMaskedLM])
@pytest.mark.parametrize("labels", [2, 3])
def test_a_model_without_the_head_is_refused(tmp_path, base, kind, labels):
    model = AutoModelForSequenceClassification.from_pretrained(base, num_labels=labels)
    save_adapter(add_adapters(model, CONFIG), tmp_path)
    with pytest.raises(UsageError, match="another kind; load it with AutoModelForSequenceClassification"):
        load_adapter(kind.from_pretrained(base), tmp_path)


def test_tokens_that_were_added_are_named_as_the_difference(tmp_path, base):
    """Tokens that were added before training, or before loading."""

    def model(added):
        made = AutoModelForSequenceClassification.from_pretrained(base)
        made.resize_token_embeddings(made.config.vocab_size + added)
        return made

    size = model(0).config.vocab_size
    save_adapter(add_adapters(model(0), CONFIG), tmp_path / "plain")
    save_adapter(add_adapters(model(2), CONFIG), tmp_path / "more")
    load_adapter(model(0), tmp_path / "plain")
    with pytest.raises(UsageError, match=rf"base model of {size} tokens, .* has {size + 2}; load .* without resize_"):
        load_adapter(model(2), tmp_path / "plain")
    with pytest.raises(UsageError, match=rf"base model of {size + 2} tokens, .* has {size}; load .* with the tokens"):
        load_adapter(model(0), tmp_path / "more")


def test_loaders_of_transformers_and_peft_say_which_loader_it_takes(tmp_path, base):
    save_adapter(add_adapters(AutoModelForSequenceClassification.from_pretrained(base), CONFIG), tmp_path)
    for load in (
        lambda: AutoModelForSequenceClassification.from_pretrained(tmp_path),
        lambda: AutoModelForSequenceClassification.from_pretrained(base).load_adapter(str(tmp_path)),
        lambda: PeftModel.from_pretrained(AutoModelForSequenceClassification.from_pretrained(base), tmp_path),
        lambda: PeftConfig.from_pretrained(tmp_path),
    ):
        with pytest.raises(Exception, match=r"load it with tensorized_adapters.load_adapter\(model, folder\)"):
            load()
    load_adapter(AutoModelForSequenceClassification.from_pretrained(base), tmp_path)


@pytest.mark.parametrize("kind", ["LORA", "TENSORIZED"])
def test_an_adapter_of_peft_is_named_as_one(tmp_path, base, kind):
    (tmp_path / "adapter_config.json").write_text(json.dumps({"peft_type": kind, "base_model_name_or_path": "x"}))
    how = "integrations.peft, then PeftModel" if kind == "TENSORIZED" else ": PeftModel"
    with pytest.raises(UsageError, match=rf"one of peft \('{kind}'\).*{how}.from_pretrained\(model, folder\) loads"):
        load_adapter(AutoModelForSequenceClassification.from_pretrained(base), tmp_path)


def test_saving_does_not_depend_on_requires_grad(tmp_path, base):
    model = trained(add_adapters(AutoModelForSequenceClassification.from_pretrained(base), CONFIG))
    save_adapter(model.requires_grad_(False), tmp_path)
    again = load_adapter(AutoModelForSequenceClassification.from_pretrained(base), tmp_path)
    assert torch.equal(logits(again), logits(model))


@pytest.mark.parametrize(
    "change",
    [
        {"format_version": 2},
        {"adapter": {"method": "tensorized"}},
        {"adapter": {"method": "magic"}},
        {"adapter": CONFIG.to_dict() | {"made_up": 1}},
        {"adapter": CONFIG.to_dict() | {"train_layer_norm": False}},
        {"adapter": CONFIG.to_dict() | {"adapter_size": 10**6}},
        {"num_labels": 3},
    ],
)
def test_a_record_of_another_version_or_model_is_refused_and_leaves_the_model_alone(tmp_path, base, change):
    save_adapter(add_adapters(AutoModelForSequenceClassification.from_pretrained(base), CONFIG), tmp_path)
    rewrite(tmp_path / "adapter_config.json", change)
    model = AutoModelForSequenceClassification.from_pretrained(base)
    names = list(model.state_dict())
    with pytest.raises(UsageError):
        load_adapter(model, tmp_path)
    assert list(model.state_dict()) == names and all(p.requires_grad for p in model.parameters())


def test_another_number_of_labels_is_refused(tmp_path, base):
    save_adapter(add_adapters(AutoModelForSequenceClassification.from_pretrained(base), CONFIG), tmp_path)
    with pytest.raises(UsageError, match="trained for 2 labels, the model's head has 3"):
        load_adapter(AutoModelForSequenceClassification.from_pretrained(base, num_labels=3), tmp_path)


def test_refusals(tmp_path, base):
    with pytest.raises(UsageError, match="not adapted"):
        save_adapter(tiny_model(), tmp_path / "none")
    model = add_adapters(AutoModelForSequenceClassification.from_pretrained(base), CONFIG)
    with torch.no_grad():
        model.classifier.bias[0] = float("nan")
    with pytest.raises(RunFailed, match="classifier.bias holds NaN"):
        save_adapter(model, tmp_path / "nan")
    assert not (tmp_path / "nan").exists()
    with pytest.raises(UsageError, match="cannot be read"):
        load_adapter(tiny_model(), tmp_path / "nowhere")
    (tmp_path / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA"}))
    with pytest.raises(UsageError, match="is not an adapter of this program"):
        load_adapter(tiny_model(), tmp_path)


def test_minilm_cp_4_stays_under_its_size(tmp_path):
    """The complete folder stays small on the real model."""
    from tensorized_adapters.embedded import embedded_model

    model = AutoModelForSequenceClassification.from_pretrained(embedded_model())
    add_adapters(model, AdapterConfig(adapter_projection_type="cp"))
    save_adapter(model, tmp_path)
    assert sum(file.stat().st_size for file in tmp_path.iterdir()) <= 110_000


STORED = Path(__file__).parent.parent / "stored" / "adapters"
FOLDERS = [path.parent for path in sorted(STORED.glob("*/adapter_model.safetensors"))]


@pytest.mark.parametrize("folder", FOLDERS, ids=[folder.name for folder in FOLDERS])
def test_a_stored_adapter_gives_the_outputs_it_had(tmp_path, folder):
    """Later versions must read what this one writes. The stored logits are those of the model that was saved."""
    expected = safetensors.torch.load_file(STORED / "logits.safetensors")[folder.name]
    model = load_adapter(AutoModelForSequenceClassification.from_pretrained(STORED / "base"), folder)
    torch.testing.assert_close(seen(model), expected, rtol=1e-5, atol=1e-6)
    save_adapter(model, tmp_path)
    again = load_adapter(AutoModelForSequenceClassification.from_pretrained(STORED / "base"), tmp_path)
    assert torch.equal(seen(again), seen(model))


def test_every_format_and_mode_is_stored():
    kinds = {f"{kind}{mode}" for kind in FORMATS for mode in ("", "_one_matrix")}
    in_the_layout_of_lora = {"ia3", "peft"}
    methods = {config.method for config in CONFIGS.values()} - {"tensorized", "head"} - in_the_layout_of_lora
    assert kinds | methods <= {path.name for path in STORED.iterdir()}
