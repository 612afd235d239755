"""Models outside of the table of architectures: with the configuration of a text part, without a vocabulary, or with
another padding token than their tokenizer."""

import pytest
import torch
import transformers
from helpers import OWN, argv, refused, save_base, save_base_of

from run_glue_tensorized import main
from tensorized_adapters import AdapterConfig, UsageError, add_adapters, load_adapter, load_pipeline, save_adapter
from tensorized_adapters.backbone.parts import usable_positions

TEXT = {"vocab_size": 40, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "head_dim": 16}
TEXT |= {"num_key_value_heads": 1, "intermediate_size": 64, "max_position_embeddings": 64, "pad_token_id": None}
IMAGES = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
IMAGES |= {"image_size": 28, "patch_size": 14}


def gemma3(folder, **changes):
    """A base with a text and an image part, and the tokenizer of a decoder, which has no token to pad with."""
    save_base_of(folder, "gpt2")
    torch.manual_seed(0)
    config = transformers.Gemma3Config(text_config=TEXT | changes, vision_config=IMAGES)
    transformers.AutoModelForSequenceClassification.from_config(config).save_pretrained(folder)
    return folder


def canine(folder, seed=0):
    """A base that reads characters, whose configuration has no size of a vocabulary."""
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    config = transformers.CanineConfig(**sizes, num_hash_buckets=64, local_transformer_stride=16)
    torch.manual_seed(seed)
    transformers.CanineModel(config).save_pretrained(folder)
    transformers.CanineTokenizer().save_pretrained(folder)
    return folder


@pytest.mark.parametrize("base", [gemma3, canine])
@pytest.mark.parametrize("method", ["head", "full", "bitfit"])
def test_methods_that_need_no_row_train_it(base, method, flags, tmp_path):
    changes = dict.fromkeys(OWN) | {"method": method, "num_train_epochs": 1, "max_seq_length": 32}
    assert main(argv(flags, model_name_or_path=base(tmp_path / "base"), **changes)) == 0
    pipeline = load_pipeline(flags["output_dir"])
    texts = [{"text": "the cat saw a", "text_pair": "the dog"}, {"text": "a bird", "text_pair": "saw"}]
    together = [answer["score"] for answer in pipeline(texts, batch_size=2)]
    assert together == pytest.approx([pipeline(text)["score"] for text in texts], abs=1e-5)


@pytest.mark.parametrize(
    "kind, changes, padding",
    [
        (transformers.MistralConfig, {}, 0),
        (transformers.OPTConfig, {"ffn_dim": 64, "word_embed_proj_dim": 32}, 0),
        (transformers.RobertaPreLayerNormConfig, {}, 9),  # its positions are counted from this id
    ],
)
def test_the_head_of_a_decoder_takes_the_padding_of_the_tokenizer(kind, changes, padding, flags, tmp_path):
    """Else the label of a text depends on the length of the texts beside it."""
    base = save_base(tmp_path / "base")
    torch.manual_seed(0)
    config = kind(**TEXT | {"pad_token_id": 9, "num_labels": 2} | changes)
    transformers.AutoModelForSequenceClassification.from_config(config).save_pretrained(base)
    own = dict.fromkeys(OWN) | {"method": "head", "num_train_epochs": 1, "max_seq_length": 32}
    assert main(argv(flags, model_name_or_path=base, **own)) == 0
    pipeline = load_pipeline(flags["output_dir"])
    assert pipeline.model.config.pad_token_id == padding and pipeline.tokenizer.pad_token_id == 0
    texts = [{"text": "the cat", "text_pair": "a"}, {"text": "a bird saw a woman", "text_pair": "the old house"}]
    together = [answer["score"] for answer in pipeline(texts, batch_size=2)]
    assert together == pytest.approx([pipeline(text)["score"] for text in texts], abs=1e-5)


def test_the_text_part_gives_the_sizes(capsys, flags, tmp_path):
    base = gemma3(tmp_path / "base", vocab_size=20)
    assert usable_positions(transformers.AutoConfig.from_pretrained(base)) == 64
    error = refused(
        capsys, argv(flags | dict.fromkeys(OWN), model_name_or_path=base, method="head"), flags["output_dir"]
    )
    assert "its 30 tokens are more than the model's 20" in error


def test_an_adapter_of_another_base_is_refused(tmp_path):
    save_adapter(
        add_adapters(classifier(canine(tmp_path / "one")), AdapterConfig(method="head")), tmp_path / "adapter"
    )
    with pytest.raises(UsageError, match="was trained on another base model"):
        load_adapter(classifier(canine(tmp_path / "two", seed=1)), tmp_path / "adapter")


def classifier(base):
    return transformers.AutoModelForSequenceClassification.from_pretrained(base)
