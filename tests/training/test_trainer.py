"""Data order and learning rates of the Trainer."""

import torch
from helpers import optimizer_of, tiny_model

from tensorized_adapters import AdapterConfig, add_adapters
from tensorized_adapters.adapters.insertion import adapters_of
from tensorized_adapters.training.sampler import EpochSampler


def order(sampler, epoch):
    sampler.set_epoch(epoch)
    return list(sampler)


def test_the_order_depends_on_seed_and_epoch_alone():
    sampler = EpochSampler(100, seed=3, batch_size=8)
    assert order(sampler, 1) == order(EpochSampler(100, seed=3, batch_size=8), 1)
    assert order(sampler, 1) != order(sampler, 2) != order(EpochSampler(100, seed=4, batch_size=8), 2)
    assert sorted(order(sampler, 5)) == list(range(100))


def test_length_grouping_covers_everything_once_and_pads_less():
    lengths = [(7 * i) % 61 for i in range(1003)]
    grouped, plain = EpochSampler(1003, 0, 16, lengths), EpochSampler(1003, 0, 16)

    def padding(sampler):
        indices = order(sampler, 0)
        batches = [[lengths[i] for i in indices[n : n + 16]] for n in range(0, 1003, 16)]
        return sum(max(batch) * len(batch) - sum(batch) for batch in batches)

    assert sorted(order(grouped, 0)) == list(range(1003))
    assert padding(grouped) < 0.2 * padding(plain)
    first = order(grouped, 0)[:16]
    assert max(lengths) in {lengths[i] for i in first}  # out of memory at once or not at all
    assert order(grouped, 0) != order(grouped, 1)


def test_the_optimizers_groups(flags):
    """Adapters, LayerNorms and head at their own rates; LayerNorms and biases are not decayed."""
    config = AdapterConfig(adapter_projection_type="tt", tensorized_layer_rank=2, adapter_size=8)
    model = add_adapters(tiny_model(), config)
    rates = {"adapters": 1e-3, "layer_norm": 2e-3, "head": 3e-3}
    optimizer = optimizer_of(model, rates, flags["output_dir"], weight_decay=0.1)
    rate_of = {id(p): (g["lr"], g["weight_decay"]) for g in optimizer.param_groups for p in g["params"]}
    assert all(rate_of[id(p)] == (1e-3, 0.1) for _, adapter in adapters_of(model) for p in adapter.parameters())
    assert rate_of[id(model.classifier.weight)] == (3e-3, 0.1)
    assert rate_of[id(model.classifier.bias)] == (3e-3, 0.0)
    assert rate_of[id(model.bert.embeddings.LayerNorm.weight)] == (2e-3, 0.0)
    trained = {id(p) for p in model.parameters() if p.requires_grad}
    assert set(rate_of) == trained and isinstance(optimizer, torch.optim.AdamW)
    assert len(optimizer.param_groups) == 4
