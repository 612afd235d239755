"""Checkpoints whose files were edited and sealed again: whole by their manifest, and nothing that training goes on
from."""

import json
import shutil

import pytest
import safetensors.torch
import torch
from helpers import argv, assert_equal_runs, record_of, refused

from run_glue_tensorized import main
from tensorized_adapters.training.checkpoints import seal_checkpoint

RUNS = {}  # of one unfinished run a method, which the tests copy
ADAPTERS = ("adapter_projection_type", "tensorized_layer_rank", "adapter_size")


@pytest.fixture
def run(flags, tmp_path_factory):
    """Flags for two epochs of three steps each, and the checkpoint after the first."""

    def of(method="tensorized"):
        changes = flags | {"per_device_train_batch_size": 16, "do_eval": None, "validation_file": None}
        if method != "tensorized":
            changes |= dict.fromkeys(ADAPTERS) | {"method": method}
        if method not in RUNS:
            RUNS[method] = tmp_path_factory.mktemp("runs") / method
            assert main(argv(changes, output_dir=RUNS[method])) == 0
        checkpoint = flags["output_dir"].parent / "checkpoint-3"
        shutil.copytree(RUNS[method] / "checkpoint-3", checkpoint)
        return changes | {"resume_from_checkpoint": checkpoint}, checkpoint

    return of


def edited(change):
    """An edit of a file in the format that its name tells."""

    def edit(path):
        if path.suffix == ".json":
            path.write_text(json.dumps(change(json.loads(path.read_text()))))
        elif path.suffix == ".safetensors":
            path.write_bytes(safetensors.torch.save(change(safetensors.torch.load_file(path))))
        else:
            torch.save(change(torch.load(path, weights_only=True)), path)

    return edit


def field(**values):
    return edited(lambda content: content | values)


def without(name):
    return edited(lambda content: {key: value for key, value in content.items() if key != name})


def optimizer(**values):
    """Other values in the state of the first parameter."""
    return edited(lambda content: content | {"state": content["state"] | {0: content["state"][0] | values}})


def group(**values):
    """Other options of the first group."""
    groups = lambda content: [content["param_groups"][0] | values, *content["param_groups"][1:]]  # noqa: E731
    return edited(lambda content: content | {"param_groups": groups(content)})


class Bomb:
    """Ends the tests if it is unpickled."""

    def __reduce__(self):
        import os

        return os._exit, (1,)


DAMAGES = {
    "trainer_state.json": [
        lambda path: path.write_text("{"),
        lambda path: path.write_text("[" * 100_000),
        edited(lambda _: [1]),
        *map(without, ("global_step", "log_history", "train_batch_size")),
        field(new=1),
        *(field(global_step=value) for value in ("3", 0, -3, 4, 2.5, True, None, 10**400)),
        field(epoch="one"),
        field(save_steps=0),
        field(train_batch_size=None),
        field(total_flos=float("nan")),
        field(log_history=None),
        field(log_history=[1]),
        field(log_history=[{"eval_accuracy": "high"}]),
        field(best_global_step=7),
        field(best_model_checkpoint=1, best_metric="high"),
        field(stateful_callbacks={"TrainerControl": {"args": {"made_up": True}, "attributes": {}}}),
    ],
    "step_losses.json": [
        lambda path: path.write_text(""),
        edited(lambda _: {}),
        edited(lambda losses: losses[:-1]),
        edited(lambda losses: [*losses[:-1], "low"]),
        edited(lambda losses: [*losses[:-1], float("nan")]),
    ],
    "optimizer.pt": [
        lambda path: path.write_bytes(b""),
        lambda path: torch.save(Bomb(), path),
        edited(lambda _: [1]),
        edited(lambda _: {}),
        without("state"),
        field(state=[]),
        field(param_groups=[1, 2]),
        edited(lambda content: content | {"param_groups": content["param_groups"][:1]}),
        group(params=[0]),
        group(lr="fast"),
        group(betas=[0.9]),
        group(maximize=True),
        field(state={1000: {}}),
        optimizer(exp_avg=torch.zeros(3, 3, 3)),
        optimizer(exp_avg="average"),
        optimizer(step=torch.zeros(2)),
        edited(lambda content: content | {"state": content["state"] | {0: {"step": torch.tensor(3.0)}}}),
    ],
    "scheduler.pt": [
        lambda path: path.write_bytes(b"scheduler"),
        lambda path: torch.save(Bomb(), path),
        edited(lambda _: {}),
        field(base_lrs=[1e-3]),
        field(last_epoch="3"),
        field(last_epoch=10**400),
        field(last_epoch=-1),
    ],
    "rng_state.pth": [
        lambda path: path.write_bytes(b""),
        lambda path: torch.save(Bomb(), path),
        edited(lambda _: {}),
        field(cpu=torch.zeros(5, dtype=torch.uint8)),
        field(python=(3, (1, 2), None)),
        field(numpy="state"),
    ],
}


@pytest.mark.parametrize("name, damage", [(name, damage) for name, damages in DAMAGES.items() for damage in damages])
def test_a_damaged_training_state_is_refused(run, capsys, name, damage):
    changes, checkpoint = run()
    damage(checkpoint / name)
    seal_checkpoint(checkpoint)
    error = refused(capsys, argv(changes), changes["output_dir"])
    assert name in error or "step_losses.json does not hold one loss for each step of" in error


def names(state):
    return next(name for name in state if name.endswith("/value"))


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.write_bytes(b"\0" * 20),
        edited(lambda state: {name: value for name, value in state.items() if name != names(state)}),
        edited(lambda state: state | {names(state): torch.zeros(2)}),
        edited(lambda state: state | {names(state): state[names(state)].to(torch.int32)}),
        edited(lambda state: state | {"more": torch.zeros(2)}),
        edited(lambda state: state | {names(state): state[names(state)] / 0}),
        lambda path: path.unlink(),
    ],
)
def test_a_damaged_search_for_a_difference_is_refused(run, capsys, damage):
    changes, checkpoint = run("diff_pruning")
    damage(checkpoint / "difference_search.safetensors")
    seal_checkpoint(checkpoint)
    error = refused(capsys, argv(changes), changes["output_dir"])
    assert "difference_search.safetensors" in error or "optimizer.pt" in error


def test_a_checkpoint_from_beyond_the_end(run, capsys):
    changes, checkpoint = run()
    error = refused(capsys, argv(changes, max_steps=2), changes["output_dir"])
    assert "is of step 3, and this training ends at step 2" in error


@pytest.mark.parametrize("method", ["tensorized", "diff_pruning"])
def test_what_is_whole_goes_on_to_the_same_bits(run, method):
    """Its check, which tries the random state and the optimizer, leaves no trace."""
    changes, checkpoint = run(method)
    seal_checkpoint(checkpoint)
    assert main(argv(changes)) == 0
    assert record_of(changes["output_dir"])["resumed_from"] == str(checkpoint)
    assert_equal_runs(RUNS[method], changes["output_dir"])
