"""Unregistered architectures, architectures that a user registers, and the needs of decoders."""

import pytest
import torch
import transformers
from helpers import argv, logits, record_of, refused, save_base_of, tokens, trained_a_little, write_rows
from tiny_models import CONFIGS, MODELS, build

from run_glue_tensorized import main
from tensorized_adapters import (
    AdapterConfig,
    Architecture,
    UsageError,
    add_adapters,
    count_trained,
    load_adapter,
    load_pipeline,
    register_architecture,
    save_adapter,
)
from tensorized_adapters.backbone.architectures import ARCHITECTURES, BERT, ROBERTA
from tensorized_adapters.backbone.parts import usable_positions

# Unregistered architecture -> (config class, changes, LoRA's targets).
OTHERS = {
    "roberta-prelayernorm": (transformers.RobertaPreLayerNormConfig, {}, "query,value"),
    "xlm": (transformers.XLMConfig, {"emb_dim": 32, "n_layers": 2, "n_heads": 2}, "q_lin,v_lin"),
    "opt": (transformers.OPTConfig, {"ffn_dim": 64, "word_embed_proj_dim": 32}, "q_proj,v_proj"),
}
ARCHITECTURE_FREE = ["head", "full", "bitfit", "diff_pruning", "lora"]


@pytest.fixture(autouse=True)
def others(monkeypatch):
    """Add these architectures to the helpers, and remove each registered one after a test."""
    for name, (kind, changes, _) in OTHERS.items():
        monkeypatch.setitem(MODELS, name, (kind, changes, None))
        monkeypatch.setitem(ARCHITECTURES, name, BERT)
        del ARCHITECTURES[name]


@pytest.mark.parametrize("name", OTHERS)
@pytest.mark.parametrize("method", ARCHITECTURE_FREE)
def test_methods_that_need_no_row_work_on_any_architecture(name, method, tmp_path):
    config = CONFIGS[method] if method != "lora" else AdapterConfig(method="lora", lora_targets=OTHERS[name][2])
    model, before = build(name)[0], logits(build(name)[0])
    frozen = {n: p.clone() for n, p in model.named_parameters()}
    add_adapters(model, config)
    assert torch.equal(logits(model), before)
    counts = count_trained(model)
    assert counts["head"] > 0 and counts["layer_norm"] == 0
    assert (counts["trained"] > counts["head"]) == (method != "head")
    trained_a_little(model)
    if method == "head":
        assert all(torch.equal(p, frozen[n]) for n, p in model.base_model.named_parameters(prefix=_prefix(model)))
    save_adapter(model, tmp_path)
    assert torch.equal(logits(load_adapter(build(name)[0], tmp_path)), logits(model))


def _prefix(model):
    return model.base_model_prefix


@pytest.mark.parametrize("key", [key for key, config in CONFIGS.items() if config.method not in ARCHITECTURE_FREE[:4]])
def test_the_others_ask_for_an_architecture(key):
    if CONFIGS[key].lora_targets is None:  # those with targets name their layers themselves
        with pytest.raises(UsageError, match="'xlm' model, which is not supported.*work --method head, full"):
            add_adapters(build("xlm")[0], CONFIGS[key])


def test_without_a_row_from_the_command_line(flags, tmp_path, capsys):
    own = dict.fromkeys(("adapter_projection_type", "tensorized_layer_rank", "adapter_size"))
    flags |= own | {
        "model_name_or_path": save_base_of(tmp_path / "base", "roberta-prelayernorm"),
        "num_train_epochs": 1,
    }
    assert "is not supported by this method" in refused(capsys, argv(flags, method="lora"), flags["output_dir"])
    assert main(argv(flags, method="head")) == 0
    assert "--max_seq_length 128 is more than the model takes; using 63" in capsys.readouterr().out
    assert record_of(flags["output_dir"])["parameters"]["layer_norm"] == 0
    assert usable_positions(transformers.XLNetConfig()) > 10**9  # it has no limit


def test_a_registered_architecture_makes_every_method_work():
    register_architecture("roberta-prelayernorm", ROBERTA)
    register_architecture("roberta-prelayernorm", Architecture(positions_after_padding=True))  # the same again
    for key in ("tensorized", "parallel", "dense", "ia3", "layer_norm"):
        model = build("roberta-prelayernorm")[0]
        before = logits(model)
        add_adapters(model, CONFIGS[key])
        assert torch.equal(logits(model), before)
        assert not torch.equal(logits(trained_a_little(model)), before)
    with pytest.raises(UsageError, match="'roberta-prelayernorm' is a supported architecture already"):
        register_architecture("roberta-prelayernorm", BERT)
    register_architecture("xlm", BERT)
    with pytest.raises(UsageError, match="has no layers encoder.layer"):
        add_adapters(build("xlm")[0], CONFIGS["tensorized"])


@pytest.fixture(params=["gpt2", "llama"])
def decoder(request, flags, tmp_path):
    base = save_base_of(tmp_path / "base", request.param)
    return flags | {"model_name_or_path": base, "max_seq_length": 32, "num_train_epochs": 1}


def test_a_decoder_pads_with_what_its_head_looks_for_and_says_so(decoder, capsys):
    assert main(argv(decoder)) == 0
    message = capsys.readouterr().out
    assert "no token to pad with; taking its end of text, '</s>'" in message
    assert "pads on the left; padding on the right" in message
    assert "--head_start label_prior: the head has no new bias" in message
    pipeline = load_pipeline(decoder["output_dir"])
    assert pipeline.model.config.pad_token_id == pipeline.tokenizer.pad_token_id == 2
    texts = [
        {"text": "the cat saw a", "text_pair": "the dog"},
        {"text": "a bird", "text_pair": "saw a dog"},
    ]
    together = [answer["score"] for answer in pipeline(texts, batch_size=2)]
    alone = [pipeline(text)["score"] for text in texts]
    assert together == pytest.approx(alone, abs=1e-6)  # so padding is neither read nor pooled


def test_the_head_reads_the_last_token_that_is_not_padding(decoder):
    """Padding after it, which no token attends to, changes nothing."""
    model = transformers.AutoModelForSequenceClassification.from_pretrained(decoder["model_name_or_path"])
    model.config.pad_token_id = 2
    add_adapters(model, CONFIGS["parallel"])
    trained_a_little(model)
    ids = tokens()
    padded = torch.cat([ids, torch.full((2, 3), 2)], dim=1)
    mask = torch.cat([torch.ones(2, 9), torch.zeros(2, 3)], dim=1).long()
    with torch.no_grad():
        torch.testing.assert_close(model(input_ids=padded, attention_mask=mask).logits, logits(model))


def test_a_text_without_a_token_is_refused(decoder, capsys, tmp_path):
    rows = [("the cat", "a dog", 1, 0), ("", "", 0, 1)] * 4
    words = argv(decoder, train_file=write_rows(tmp_path / "empty.csv", rows))
    assert "example 2 of 8 has no text in sentence1, sentence2" in refused(capsys, words, decoder["output_dir"])


def test_a_decoders_frozen_prefix_from_the_command_line(decoder):
    assert (
        main(
            argv(
                decoder,
                adapter_layers=1,
                cache_frozen_prefix=True,
                prefix_cache_dir=decoder["output_dir"].parent / "c",
            )
        )
        == 0
    )
    assert record_of(decoder["output_dir"])["status"] == "finished"
