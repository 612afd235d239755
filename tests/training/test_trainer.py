"""Data order, learning rates and losses of the Trainer."""

from pathlib import Path

import pytest
import torch
from helpers import argv, optimizer_of, spoil_step, tensors_of, tiny_model
from transformers import TrainingArguments
from transformers.utils import logging

import tensorized_adapters
from run_glue_tensorized import main
from tensorized_adapters import AdapterConfig, RunFailed, add_adapters
from tensorized_adapters.adapters.insertion import adapters_of
from tensorized_adapters.training.checkpoints import flaw_of_checkpoint
from tensorized_adapters.training.losses import StepLosses
from tensorized_adapters.training.sampler import EpochSampler
from tensorized_adapters.training.settings import with_our_values

PACKAGE = str(Path(tensorized_adapters.__file__).parent)
TRAINER = str(Path("transformers") / "trainer.py")


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


@pytest.mark.parametrize("lengths", [None, [3 + i % 5 for i in range(43)]])
def test_drop_last_leaves_out_the_incomplete_batch_alone(lengths):
    complete, cut = EpochSampler(43, 1, 8, lengths), EpochSampler(43, 1, 8, lengths, drop_last=True)
    assert order(cut, 2) == order(complete, 2)[:40] and len(cut) == 40 and len(complete) == 43


def test_the_optimizers_groups(flags):
    """Adapters, LayerNorms and head at their own rates; LayerNorms and biases are not decayed, and each factor of a
    weight gets a share of its decay."""
    config = AdapterConfig(adapter_projection_type="tt", tensorized_layer_rank=2, adapter_size=8)
    model = add_adapters(tiny_model(), config)
    rates = {"adapters": 1e-3, "layer_norm": 2e-3, "head": 3e-3}
    optimizer = optimizer_of(model, rates, flags["output_dir"], weight_decay=0.1)
    rate_of = {id(p): (g["lr"], g["weight_decay"]) for g in optimizer.param_groups for p in g["params"]}
    weights = [weight for _, adapter in adapters_of(model) for weight in (adapter.down, adapter.up)]
    for weight in weights:
        factors = list(weight.parameters())
        assert all(rate_of[id(factor)] == (1e-3, pytest.approx(0.1 / len(factors))) for factor in factors)
    assert rate_of[id(model.classifier.weight)] == (3e-3, 0.1)
    assert rate_of[id(model.classifier.bias)] == (3e-3, 0.0)
    assert rate_of[id(model.bert.embeddings.LayerNorm.weight)] == (2e-3, 0.0)
    trained = {id(p) for p in model.parameters() if p.requires_grad}
    assert set(rate_of) == trained and isinstance(optimizer, torch.optim.AdamW)
    assert len(optimizer.param_groups) == 4 and optimizer.defaults["fused"]  # one launch a group, or a few


def test_the_first_step_that_is_not_finite_is_named():
    losses = StepLosses()
    losses.values = [1.0]  # before a resume
    for loss, norm in ((0.5, 2.0), (0.25, float("inf")), (float("nan"), float("nan"))):
        losses.add(torch.tensor(loss), ends_step=False)
        losses.add(torch.tensor(loss), ends_step=True)
        losses.add_norm(torch.tensor(norm))
    with pytest.raises(RunFailed, match="the gradient is inf at step 3; try a lower --learning_rate"):
        losses.read()
    assert losses.values == [1.0, 1.0] and losses.mean() == 1.0


def test_a_gradient_that_is_not_finite_stops_the_run(flags, monkeypatch, capsys):
    """A NaN gradient in the second epoch gives one line, and the first epoch's checkpoint is complete and the last."""

    def spoil(output):
        output.loss = output.loss + 0 * (0 * output.logits.sum()).sqrt()  # 0, with the derivative 0 x infinity

    spoil_step(monkeypatch, 9, spoil)
    assert main(argv(flags)) == 1
    error = capsys.readouterr().err
    assert error.startswith("failed: the gradient is nan at step 9") and error.count("\n") == 1
    checkpoints = [path.name for path in flags["output_dir"].glob("checkpoint-*")]
    assert checkpoints == ["checkpoint-6"] and flaw_of_checkpoint(flags["output_dir"] / "checkpoint-6") is None


def test_the_second_moment_never_falls_with_amsgrad(flags):
    """Also after a resume, which ends with the same numbers as the run without a pause."""
    assert main(argv(flags, optim_args="amsgrad=True")) == 0
    out = flags["output_dir"]
    states = torch.load(out / "checkpoint-12" / "optimizer.pt")["state"].values()
    assert all((state["max_exp_avg_sq"] >= state["exp_avg_sq"]).all() for state in states)
    plain, resumed = (flags["output_dir"].with_name(name) for name in ("plain", "resumed"))
    last = argv(flags, optim_args="amsgrad=True", resume_from_checkpoint=out / "checkpoint-6", output_dir=resumed)
    assert main(last) == main(argv(flags, output_dir=plain)) == 0
    trained, without = tensors_of(out), tensors_of(plain)
    assert all(torch.equal(trained[name], tensor) for name, tensor in tensors_of(resumed).items())
    assert any(not torch.equal(trained[name], tensor) for name, tensor in without.items())


def test_processes_besides_rank_0_print_as_little_as_it_does(tmp_path, monkeypatch):
    """By Transformers' default they print its warnings, such as one about --logging_steps in each resumed run."""
    logging.set_verbosity_error()  # as a run does
    monkeypatch.setattr(TrainingArguments, "should_log", False)
    for flags, level in (({}, logging.ERROR), ({"log_level_replica": "info"}, logging.INFO)):
        given = TrainingArguments(output_dir=str(tmp_path), use_cpu=True, **flags)
        assert with_our_values(given).get_process_log_level() == level
