"""Runs of diff pruning: both phases through kills and resumes, their losses, rates and steps."""

import json

import pytest
from exhaustive import exhaustive_but
from helpers import (
    OWN,
    argv,
    assert_equal_runs,
    difference_of,
    kill_9_after_checkpoint,
    record_of,
    tensors_of,
    tiny_model,
)

from run_glue_tensorized import main
from tensorized_adapters import AdapterConfig, add_adapters

CONFIG = AdapterConfig(method="diff_pruning", diff_sparsity=0.01)


@pytest.fixture
def diff_flags(flags):
    return flags | dict.fromkeys(OWN) | {"method": "diff_pruning", "diff_sparsity": 0.01, "learning_rate": 1e-2}


def test_a_run_ends_at_exactly_its_budget(diff_flags):
    assert main(argv(diff_flags)) == 0
    out = diff_flags["output_dir"]
    counts = record_of(out)["parameters"]
    stored = tensors_of(out)
    assert sum(t.numel() for name, t in stored.items() if name.endswith(".values")) == counts["backbone"] == 211
    assert counts["frozen"] == counts["model"] - counts["backbone"] - counts["head"]


@pytest.mark.parametrize("killed_at", exhaustive_but([1], [1, 2]))  # of three checkpoints: in the search, and after it
def test_kill_9_in_either_phase_then_the_same_command(diff_flags, tmp_path, killed_at):
    flags = diff_flags | {"num_train_epochs": 3, "save_total_limit": 1}
    complete, killed = tmp_path / "complete", tmp_path / "killed"
    assert main(argv(flags, output_dir=complete)) == 0
    words = argv(flags, output_dir=killed)
    kill_9_after_checkpoint(words, killed_at)
    searching = (killed / f"checkpoint-{6 * killed_at}" / "difference_search.safetensors").exists()
    assert searching == (killed_at == 1)
    assert main(words) == 0
    assert record_of(killed)["resumed_from"]
    assert_equal_runs(complete, killed)
    assert not list(killed.rglob("difference_search.safetensors"))


def test_the_best_of_both_phases_is_loaded_and_measured(diff_flags):
    changes = {"load_best_model_at_end": True, "metric_for_best_model": "accuracy", "num_train_epochs": 4}
    assert main(argv(diff_flags, learning_rate=5e-2, **changes)) == 0
    record = record_of(diff_flags["output_dir"])
    assert record["metrics"]["eval_accuracy"] == max(entry["eval_accuracy"] for entry in record["history"])


def test_the_reported_loss_is_the_tasks(diff_flags, tmp_path):
    """A heavy penalty moves the gates, not the loss of the first step."""
    losses = []
    for penalty in (0.0, 10.0):
        out = tmp_path / str(penalty)
        assert main(argv(diff_flags, output_dir=out, diff_l0_penalty=penalty, num_train_epochs=1)) == 0
        losses.append(record_of(out)["step_losses"])
    assert losses[0][0] == losses[1][0] and losses[0] != losses[1]


def test_no_gate_has_left_a_trace_in_the_record_of_a_finished_run(diff_flags):
    assert main(argv(diff_flags)) == 0
    out = diff_flags["output_dir"]
    settings = json.loads((out / "adapter" / "adapter_config.json").read_text())["adapter"]
    assert settings["diff_sparsity"] == 0.01
    assert not any("gate" in name for name in tensors_of(out))


def test_the_heads_bias_is_not_decayed(diff_flags):
    from helpers import optimizer_of

    rates = {"adapters": 1.0, "backbone": 1e-4, "layer_norm": 1.0, "head": 1e-3}
    model = add_adapters(tiny_model(), CONFIG)
    groups = optimizer_of(model, rates, diff_flags["output_dir"], weight_decay=0.1).param_groups
    rate_of = {id(p): (g["lr"], g["weight_decay"]) for g in groups for p in g["params"]}
    assert rate_of[id(model.classifier.weight)] == (1e-3, 0.1)
    assert rate_of[id(model.classifier.bias)] == (1e-3, 0.0)
    part = next(iter(difference_of(model).parts.values()))
    assert rate_of[id(part.value)] == (1e-4, 0.0) and rate_of[id(part.gate)] == (0.1, 0.0)


def test_what_was_kept_trains_at_its_own_rate(diff_flags, monkeypatch):
    from tensorized_adapters.training.diff_trainer import DiffPruningTrainer

    seen = []
    step = DiffPruningTrainer.training_step

    def watching(self, *args, **kwargs):
        loss = step(self, *args, **kwargs)
        seen.append([group["lr"] for group in self.optimizer.param_groups])
        return loss

    monkeypatch.setattr(DiffPruningTrainer, "training_step", watching)
    changes = {"diff_final_learning_rate": 0.03, "lr_scheduler_type": "constant", "warmup_steps": 0}
    assert main(argv(diff_flags, **changes)) == 0
    difference, head = [rates[0] for rates in seen], [rates[1] for rates in seen]
    assert difference == [0.01] * 6 + [0.03] * 6 and set(head) == {0.025}


@pytest.mark.parametrize("steps", exhaustive_but([2, 3], [2, 3, 10]))
@pytest.mark.parametrize("fraction", [0.01, 0.5, 0.99])
def test_each_phase_has_a_step(diff_flags, steps, fraction, monkeypatch):
    from tensorized_adapters.training.diff_trainer import DiffPruningTrainer

    seen = []
    step = DiffPruningTrainer.training_step

    def watching(self, *args, **kwargs):
        loss = step(self, *args, **kwargs)
        seen.append(self.difference.searching)
        return loss

    monkeypatch.setattr(DiffPruningTrainer, "training_step", watching)
    assert main(argv(diff_flags, max_steps=steps, diff_final_fraction=fraction)) == 0
    assert seen[0] and not seen[-1] and len(seen) == steps
