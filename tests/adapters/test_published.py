"""Compares with the published code: its counts, its forward pass as numbers, and the model re-stated densely."""

from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import reconstruction, tiny_model
from transformers import BertConfig, BertForSequenceClassification

from tensorized_adapters import AdapterConfig, add_adapters, count_trained, remove_adapters
from tensorized_adapters.adapters.fast import factorized_weights
from tensorized_adapters.adapters.insertion import adapters_of
from tensorized_adapters.adapters.tensorized import new_adapters

PUBLISHED = Path(__file__).parent.parent / "stored" / "published_forward.npz"
# Adapters at ranks 2, 4, 8, and for the bottleneck the published percentages at 2 and 4.
COUNTS = {
    True: {
        "cp": (11_616, 23_232, 46_464),
        "tucker": (11_904, 26_112, 70_656),
        "tt": (14_208, 39_168, 121_344),
        "tr": (23_040, 92_160, 368_640),
    },
    False: {
        "cp": (5_424, 10_848, 21_696),
        "tucker": (5_760, 16_896, 119_808),
        "tt": (8_064, 26_880, 96_768),
        "tr": (10_752, 43_008, 172_032),
    },
}
PERCENT = {
    ("cp", 2): 0.0476,
    ("cp", 4): 0.0583,
    ("tucker", 2): 0.0479,
    ("tucker", 4): 0.0610,
    ("tt", 2): 0.0500,
    ("tt", 4): 0.0730,
    ("tr", 2): 0.0581,
    ("tr", 4): 0.1220,
}


@pytest.fixture(scope="module")
def bert_base():
    return BertForSequenceClassification(BertConfig(vocab_size=28996))


@pytest.mark.parametrize("if_adapter_like", [True, False])
@pytest.mark.parametrize("kind", COUNTS[True])
def test_counts_of_the_published_table(bert_base, kind, if_adapter_like):
    for rank, expected in zip((2, 4, 8), COUNTS[if_adapter_like][kind]):
        config = AdapterConfig(
            adapter_projection_type=kind, tensorized_layer_rank=rank, if_adapter_like=if_adapter_like
        )
        add_adapters(bert_base, config)
        counts = count_trained(bert_base)
        assert (counts["adapters"], counts["layer_norm"], counts["head"]) == (expected, 38_400, 1_538)
        assert counts["trained"] == sum(p.numel() for p in bert_base.parameters() if p.requires_grad)
        if if_adapter_like and (kind, rank) in PERCENT:
            assert round(100 * counts["trained"] / counts["model"], 4) == PERCENT[kind, rank]
        remove_adapters(bert_base)


@pytest.mark.parametrize("mode", ["bottleneck", "one_matrix"])
@pytest.mark.parametrize("kind", COUNTS[True])
def test_the_published_forward_pass(mode, kind):
    published = np.load(PUBLISHED)
    config = AdapterConfig(
        adapter_projection_type=kind,
        tensorized_layer_rank=2,
        if_adapter_like=mode == "bottleneck",
        adapter_init="published",
    )
    adapter = next(new_adapters(config, 768)).double()
    names = {"down_project": "down", "up_project": "up"} if mode == "bottleneck" else {"tensorized_layer": "weight"}
    for theirs, ours in names.items():
        weight = getattr(adapter, ours)
        values = {
            name.split(".", 1)[1]: published[name] for name in published if name.startswith(f"{mode}/{kind}/{theirs}.")
        }
        for name, parameter in weight.named_parameters():
            key = "weights" if name in ("weights", "core") else name.replace("factors.factor_", "factors.")
            parameter.data.copy_(torch.from_numpy(values[key]))
    output = adapter(torch.from_numpy(published[f"{mode}/{kind}/input"]))
    assert np.abs(output.detach().numpy() - published[f"{mode}/{kind}/output"]).max() < 1e-10


@pytest.mark.parametrize("if_adapter_like", [True, False])
@pytest.mark.parametrize("kind", COUNTS[True])
def test_the_whole_model_equals_its_dense_restatement(kind, if_adapter_like):
    """The published model, written with assembled matrices in copied forwards, gives the same logits."""
    config = AdapterConfig(
        adapter_projection_type=kind,
        tensorized_layer_rank=2,
        adapter_size=8,
        if_adapter_like=if_adapter_like,
        adapter_init="published",
    )
    model = add_adapters(tiny_model(), config).double()
    for _, adapter in adapters_of(model):
        for parameter in adapter.parameters():
            torch.nn.init.normal_(parameter, std=2.0)

    restated = tiny_model().double()
    for layer, adapted in zip(restated.bert.encoder.layer, model.bert.encoder.layer):
        for block, source in ((layer.attention.output, adapted.attention.output), (layer.output, adapted.output)):
            matrices = [reconstruction(weight).detach() for weight in factorized_weights(source.dropout)]

            def forward(hidden, residual, block=block, matrices=matrices):
                hidden = block.dropout(block.dense(hidden))
                if len(matrices) == 2:
                    hidden = hidden + torch.relu(hidden @ matrices[0]) @ matrices[1]
                else:
                    hidden = hidden + torch.relu(hidden @ matrices[0])
                return block.LayerNorm(hidden + residual)

            block.forward = forward
    restated.load_state_dict({name: value for name, value in model.state_dict().items() if ".adapter." not in name})
    tokens = torch.randint(5, 20, (3, 9))
    difference = (model(input_ids=tokens).logits - restated(input_ids=tokens).logits).abs().max()
    assert difference < 1e-10
    assert (model(input_ids=tokens).logits - tiny_model().double()(input_ids=tokens).logits).abs().max() > 1e-4
