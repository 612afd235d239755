"""Dense exports give the same outputs on a plain model, through the code beside them."""

import runpy

import pytest
import torch
from exhaustive import exhaustive_but
from helpers import logits, trained_a_little
from tiny_models import CONFIGS, MODELS, build

from tensorized_adapters import AdapterConfig, UsageError, adapters_off, add_adapters, merge_adapters
from tensorized_adapters.exporting.dense import write_dense

FORMATS = ("cp", "tucker", "tt", "tr", "matrix")
SQUARE = AdapterConfig(adapter_projection_type="tucker", tensorized_layer_rank=2, if_adapter_like=False)
OF_BERT = {
    kind: AdapterConfig(adapter_projection_type=kind, tensorized_layer_rank=2, adapter_size=8) for kind in FORMATS
}
OF_BERT |= {"one matrix": SQUARE} | {
    name: CONFIGS[name]
    for name in ("interleaved", "joint", "parallel", "weights", "weights, joint", "dense", "compacter", "bitfit")
}
OF_BERT |= {name: CONFIGS[name] for name in ("layer_norm", "lora", "full")}


@pytest.mark.parametrize(
    ("name", "config"),
    exhaustive_but(
        [("bert", config) for config in OF_BERT.values()],
        [("bert", config) for config in OF_BERT.values()]
        + [(name, CONFIGS[key]) for name in MODELS if name != "bert" for key in ("parallel", "compacter")],
    ),
    ids=lambda value: value if isinstance(value, str) else value.describe(),
)
def test_the_code_beside_it_computes_the_same_on_a_plain_model(tmp_path, name, config):
    model, _ = build(name)
    trained_a_little(add_adapters(model, config))
    write_dense(model, tmp_path)
    plain, _ = build(name)
    before = logits(plain)
    again = logits(runpy.run_path(tmp_path / "dense_adapter.py")["attach"](plain, tmp_path))
    torch.testing.assert_close(again, logits(model), rtol=0, atol=1e-5)
    assert (again - before).abs().max() > 1e-2


@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_a_decoder_reads_the_last_token_before_its_padding(tmp_path, name):
    """Training may have chosen another token to pad with than the base model's configuration has."""
    model, plain = build(name)[0], build(name)[0]
    model.config.pad_token_id, plain.config.pad_token_id = 2, 0
    trained_a_little(add_adapters(model, CONFIGS["parallel"]))
    write_dense(model, tmp_path)
    attach = runpy.run_path(tmp_path / "dense_adapter.py")["attach"]
    ids = torch.tensor([[5, 6, 7, 8], [9, 10, 2, 2]])
    inputs = {"input_ids": ids, "attention_mask": (ids != 2).long()}
    with torch.no_grad():
        again = attach(plain, tmp_path)(**inputs).logits
        torch.testing.assert_close(again, model.eval()(**inputs).logits, rtol=0, atol=1e-5)
    assert plain.config.pad_token_id == 2


@pytest.mark.parametrize("key", ["ia3", "diff_pruning"])
def test_what_is_no_dense_adapter_is_refused(tmp_path, key):
    model, _ = build("bert")
    with pytest.raises(UsageError, match="cannot be merged"):
        write_dense(add_adapters(model, CONFIGS[key]), tmp_path)
    assert not any(tmp_path.iterdir())


def test_adapters_that_are_merged_or_off_are_refused(tmp_path):
    """Merged updates would be added twice, and original values would be taken for trained ones."""
    model = trained_a_little(add_adapters(build("bert")[0], CONFIGS["lora"]))
    with adapters_off(model), pytest.raises(UsageError, match="merged or off"):
        write_dense(model, tmp_path)
    merge_adapters(model)
    with pytest.raises(UsageError, match="merged or off"):
        write_dense(model, tmp_path)
    assert not any(tmp_path.iterdir())
