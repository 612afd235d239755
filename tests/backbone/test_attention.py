"""--attn_implementation: equal logits, one line if it is not available, and another run if it differs."""

import pytest
import torch
from helpers import argv, record_of, refused, tokens
from tiny_models import MODELS, TINY
from transformers import AutoModelForSequenceClassification

from run_glue_tensorized import main
from tensorized_adapters import UsageError
from tensorized_adapters.arguments.parsing import parse_arguments
from tensorized_adapters.backbone import loading
from tensorized_adapters.backbone.loading import use_attention
from tensorized_adapters.backbone.parts import with_ready_mask
from tensorized_adapters.runs.same_run import differences


@pytest.mark.parametrize("name", ["bert", "modernbert", "llama"])
def test_eager_and_sdpa_give_the_same_logits_with_the_masks_of_a_run(name):
    kind, changes, _ = MODELS[name]
    mask = torch.ones_like(tokens())
    mask[1, 6:] = 0
    logits = []
    for implementation in ("eager", "sdpa"):
        config = kind(**(TINY | changes), num_labels=3)
        use_attention(config, implementation)
        torch.manual_seed(0)
        model = AutoModelForSequenceClassification.from_config(config).eval()
        assert model.config._attn_implementation == implementation
        with torch.no_grad():
            logits.append(model(**with_ready_mask(model, {"input_ids": tokens(), "attention_mask": mask})).logits)
    torch.testing.assert_close(*logits, rtol=1e-5, atol=1e-5)


def test_the_flag_reaches_the_loaded_model(flags):
    arguments = parse_arguments(argv(flags, attn_implementation="eager"))
    model, *_ = loading.load_model(
        arguments.model, arguments.model_config, ("no", "yes"), "single_label_classification"
    )
    assert model.config._attn_implementation == "eager"


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"attn_implementation": "flash"}, "--attn_implementation"),
        ({"attn_implementation": "flash_attention_2"}, "half precision alone: give --bf16 or --fp16"),
        ({"attn_implementation": "flash_attention_2", "bf16": True}, "flash_attention_2 needs a GPU"),
    ],
)
def test_what_is_not_to_be_had_is_one_line(flags, capsys, monkeypatch, changes, message):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert message in refused(capsys, argv(flags, **changes), flags["output_dir"])


def test_a_missing_package_and_an_architecture_without_it_are_named(monkeypatch):
    kind, changes, _ = MODELS["deberta-v2"]
    with pytest.raises(UsageError, match="--attn_implementation sdpa does not suit a deberta-v2 model: .*; leave"):
        use_attention(kind(**(TINY | changes)), "sdpa")
    use_attention(kind(**(TINY | changes)), "eager")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr("tensorized_adapters.backbone.loading.is_flash_attn_2_available", lambda: False)
    with pytest.raises(UsageError, match="needs the package flash-attn"):
        use_attention(kind(**(TINY | changes)), "flash_attention_2")


def test_it_is_in_the_record_and_another_one_is_another_run(flags, capsys):
    assert main(argv(flags, attn_implementation="eager", num_train_epochs=1)) == 0
    arguments = record_of(flags["output_dir"])["arguments"]
    assert arguments["attn_implementation"] == "eager"
    error = refused(capsys, argv(flags, num_train_epochs=1))
    assert "--attn_implementation eager there, None now" in error
    default = {name: value for name, value in arguments.items() if name != "attn_implementation"}
    assert differences(default, default | {"attn_implementation": None}) == []
