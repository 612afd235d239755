"""Updates of weights, merged into them and taken out again; adapters beside a sublayer."""

import pytest
import torch
from exhaustive import FEW_ARCHITECTURES, exhaustive_but
from helpers import logits, tiny_model, tokens, trained_a_little
from tiny_models import CONFIGS, MODELS, build

from tensorized_adapters import (
    AdapterConfig,
    UsageError,
    adapters_off,
    add_adapters,
    load_adapter,
    merge_adapters,
    optimizer_groups,
    remove_adapters,
    save_adapter,
    unmerge_adapters,
    updates_off,
)
from tensorized_adapters.adapters.insertion import adapters_of
from tensorized_adapters.exporting.dense import write_dense

EVERY_LAYER = "intermediate.dense,attention.output.dense"
MERGED = {
    "cp": AdapterConfig(adapter_projection_type="cp", tensorized_layer_rank=3, adapter_placement="weights"),
    "tt, interleaved": AdapterConfig(
        adapter_projection_type="tt", tensorized_layer_rank=2, adapter_placement="weights", tensor_split="interleaved"
    ),
    "tr, joint": AdapterConfig(
        adapter_projection_type="tr", tensorized_layer_rank=2, adapter_placement="weights", tensor_scope="model"
    ),
    "matrix": AdapterConfig(
        adapter_projection_type="matrix", tensorized_layer_rank=2, adapter_placement="weights", adapter_scale=2.0
    ),
    "lora": CONFIGS["lora"],
}


@pytest.mark.parametrize("key", MERGED)
@pytest.mark.parametrize("name", exhaustive_but(FEW_ARCHITECTURES, list(MODELS)))
def test_merging_changes_no_output_and_is_undone_bit_for_bit(name, key):
    model, _ = build(name)
    plain, weights = logits(model), {n: p.clone() for n, p in model.named_parameters()}
    trained_a_little(add_adapters(model, MERGED[key]))
    adapted = logits(model)
    state = {n: p.clone() for n, p in model.named_parameters()}
    merge_adapters(model)
    torch.testing.assert_close(logits(model), adapted, rtol=1e-5, atol=1e-5)
    assert (adapted - plain).abs().max() > 1e-3
    unmerge_adapters(model)
    assert torch.equal(logits(model), adapted)
    assert all(torch.equal(p, state[n]) for n, p in model.named_parameters())
    merge_adapters(model)
    remove_adapters(model)
    assert torch.equal(logits(model), plain)
    assert all(torch.equal(p, weights[n]) for n, p in model.named_parameters())


@pytest.mark.parametrize("key", ["tr, joint", "lora"])
def test_merging_rounds_in_the_precision_of_the_weights(key):
    model = trained_a_little(add_adapters(tiny_model().double(), MERGED[key]))
    adapted = logits(model)
    merge_adapters(model)
    assert adapted.dtype == torch.float64
    torch.testing.assert_close(logits(model), adapted, rtol=1e-12, atol=1e-12)


def test_a_merged_model_computes_with_the_plain_models_steps(monkeypatch):
    model = trained_a_little(add_adapters(tiny_model(), MERGED["cp"]))
    merge_adapters(model)
    monkeypatch.setattr("tensorized_adapters.adapters.tensorized.WeightUpdate.beside", None)
    logits(model)
    assert not any(p.requires_grad for n, p in model.named_parameters() if ".adapter." in n)


def test_what_a_merged_model_is_not_for_is_refused(tmp_path):
    model = add_adapters(tiny_model(), MERGED["cp"])
    merge_adapters(model)
    off = [lambda: adapters_off(model).__enter__(), lambda: updates_off(model).__enter__()]
    save_adapter(add_adapters(tiny_model(), MERGED["cp"]), tmp_path / "other")
    load = lambda: load_adapter(model, tmp_path / "other")  # noqa: E731
    for refused in (lambda: save_adapter(model, tmp_path), load, lambda: optimizer_groups(model, 1e-3), *off):
        with pytest.raises(UsageError, match="merged into the weights; unmerge_adapters"):
            refused()
    with pytest.raises(UsageError, match="merged already"):
        merge_adapters(model)
    unmerged = add_adapters(tiny_model(), MERGED["cp"])
    for context in (adapters_off, updates_off):
        with context(unmerged), pytest.raises(UsageError, match="merged already, or off"):
            merge_adapters(unmerged)
    for key in ("tensorized", "parallel", "dense", "bitfit", "ia3"):
        with pytest.raises(UsageError, match="is no update of weights and cannot be merged"):
            merge_adapters(add_adapters(tiny_model(), CONFIGS[key]))
    unmerge_adapters(add_adapters(tiny_model(), CONFIGS["dense"]))  # a model that is not merged stays as it is


def test_updates_of_layers_of_several_sizes():
    """With one tensor for all sites there is one for each size. Newly initialised layers get none."""
    config = AdapterConfig(
        adapter_projection_type="tt",
        tensorized_layer_rank=2,
        adapter_placement="weights",
        tensor_scope="model",
        lora_targets="query,output.dense,pooler.dense",
        adapter_layers="1",
    )
    model = add_adapters(tiny_model(), config, ["bert.pooler.dense.weight", "bert.pooler.dense.bias"])
    names = [name for name, _ in adapters_of(model)]
    assert names == [
        f"bert.encoder.layer.1.{part}.adapter"
        for part in ("attention.self.query", "attention.output.dense", "output.dense")
    ]
    joint = [adapter.weight.joint for _, adapter in adapters_of(model)]
    assert joint[0] is joint[1] is not joint[2]


def tied_to(part):
    """A model in which a layer that is updated shares its weight with another module, updated or not."""
    model = tiny_model()
    model.bert.encoder.layer[1].get_submodule(part).weight = model.bert.encoder.layer[0].attention.self.query.weight
    return model


@pytest.mark.parametrize("part", ["attention.self.query", "attention.self.key"])
@pytest.mark.parametrize("key", ["tr, joint", "lora"])
def test_an_update_of_a_tied_weight_is_not_merged(tmp_path, key, part):
    model = trained_a_little(add_adapters(tied_to(part), MERGED[key]))
    adapted = logits(model)
    for merge in (merge_adapters, lambda model: write_dense(model, tmp_path)):
        with pytest.raises(UsageError, match="shares its weight with another module"):
            merge(model)
    assert torch.equal(logits(model), adapted) and not any(tmp_path.iterdir())


def test_an_adapter_beside_a_sublayer_takes_what_the_sublayer_takes():
    """The update of the sublayer's input is added to its output before the residual sum."""
    config = AdapterConfig(
        adapter_projection_type="cp", tensorized_layer_rank=2, adapter_size=8, adapter_placement="parallel",
        adapter_sites="ffn", adapter_layers="0", adapter_scale=3.0, train_layer_norm=False,
    )  # fmt: skip
    model = trained_a_little(add_adapters(tiny_model(), config))
    layer = model.bert.encoder.layer[0]
    adapter = layer.output.dropout.adapter
    with torch.no_grad():
        embedded = model.bert.embeddings(input_ids=tokens())
        x = layer.attention(embedded)[0]
        update = torch.relu(x @ adapter.down.matrix()) @ adapter.up.matrix()
        assert update.abs().max() > 1e-3
        expected = layer.output.LayerNorm(layer.output.dense(layer.intermediate(x)) + update + x)
        output = layer(embedded)
        torch.testing.assert_close(output[0] if isinstance(output, tuple) else output, expected, rtol=1e-4, atol=1e-5)
