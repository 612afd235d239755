"""torch.compile of an adapted model gives the same numbers, with as few compilations as the plain model."""

import pytest
import torch
from exhaustive import exhaustive_but
from fast_cases import COMPACTER, CONFIGS, assert_same, batch, gradients, model_of, name

from tensorized_adapters import AdapterConfig

# Each format once, with one matrix or two, and each other choice once: compiling takes five seconds.
COMPILED = [CONFIGS[0], CONFIGS[3], CONFIGS[4], CONFIGS[7], CONFIGS[8], *CONFIGS[10:12], *CONFIGS[-3:]]


@pytest.mark.parametrize("config", exhaustive_but([], COMPILED), ids=name)
def test_the_whole_model_compiles_and_gives_the_same_numbers(config):
    """Tracing a second layer takes seconds and is the same code, so only one format and shared matrices have one."""
    model = model_of(config, num_hidden_layers=2 if config in (CONFIGS[0], COMPACTER) else 1)
    torch.compiler.reset()
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    assert_same(gradients(model, compiled), gradients(model))
    model.eval()
    with torch.no_grad():
        torch.testing.assert_close(compiled(**batch()).logits, model(**batch()).logits, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(
    "change",
    exhaustive_but(
        [{}], [{}, {"adapter_placement": "parallel"}, {"adapter_placement": "weights"}, {"tensor_scope": "model"}]
    ),
    ids=lambda change: " ".join(change.values()) or "sequential",
)
def test_batches_of_any_size_are_compiled_twice_and_never_again(change):
    """Like the plain model, they are compiled once for the first shape and once for all others."""
    config = AdapterConfig(adapter_projection_type="tt", tensorized_layer_rank=2, adapter_size=8, **change)
    model = model_of(config, num_hidden_layers=1).train()
    torch.compiler.reset()
    counters = torch._dynamo.utils.counters
    counters.clear()
    compiled = torch.compile(model, fullgraph=True, backend="eager")
    for rows, length in [(4, 16), (3, 24), (2, 17), (7, 9), (6, 33)]:
        ids = torch.randint(0, model.config.vocab_size, (rows, length))
        compiled(input_ids=ids, attention_mask=torch.ones_like(ids)).logits.sum().backward()
    assert counters["stats"]["unique_graphs"] == 2 and not counters["graph_break"]


@pytest.mark.parametrize("part", ["attention.self.value", "attention.output"])
def test_compiling_one_end_of_a_sublayer_leaves_the_adapter_beside_it_its_input(part):
    model = model_of(next(config for config in CONFIGS if config.adapter_placement == "parallel"), num_hidden_layers=1)
    plain = gradients(model)
    torch.compiler.reset()
    model.bert.encoder.layer[0].get_submodule(part).compile(backend="eager")
    assert_same(gradients(model), plain)
