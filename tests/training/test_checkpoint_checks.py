"""Checkpoints whose files somebody changed and sealed again. The manifest fits, but training cannot go on."""

import json
import random
import shutil

import pytest
import safetensors.torch
import torch
from exhaustive import exhaustive_but
from helpers import argv, assert_equal_runs, record_of, refused

from run_glue_tensorized import main
from tensorized_adapters.training.checkpoints import seal_checkpoint

RUNS = {}  # by method: an unfinished run, which the tests copy
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
    """Return an edit of a file, whose suffix gives its format."""

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


class Bomb:
    """Ends the tests if it is unpickled."""

    def __reduce__(self):
        import os

        return os._exit, (1,)


def bomb(path):
    torch.save(Bomb(), path)


def odd_average(content):
    """An optimizer's state in which the average of the first parameter is no tensor."""
    return content | {"state": content["state"] | {0: content["state"][0] | {"exp_avg": "average"}}}


def short_average(content):
    """An optimizer's state in which the average of the first parameter has fewer numbers than the parameter."""
    first = content["state"][0]
    return content | {"state": content["state"] | {0: first | {"exp_avg": first["exp_avg"].flatten()[:1].clone()}}}


def without_a_value(state):
    return {name: tensor for name, tensor in state.items() if name != min(state)}


DAMAGES = [
    ("tensorized", "trainer_state.json", lambda path: path.write_text("{")),
    ("tensorized", "trainer_state.json", edited(lambda _: [1])),
    ("tensorized", "trainer_state.json", field(global_step=-3)),
    ("tensorized", "trainer_state.json", field(global_step="3")),
    ("tensorized", "trainer_state.json", field(made_up=1)),
    ("tensorized", "progress.json", edited(lambda progress: progress | {"step_losses": {}})),
    ("tensorized", "optimizer.pt", bomb),
    ("tensorized", "optimizer.pt", edited(lambda content: {"state": content["state"]})),
    ("tensorized", "optimizer.pt", edited(odd_average)),
    ("tensorized", "optimizer.pt", edited(short_average)),
    ("tensorized", "scheduler.pt", bomb),
    ("tensorized", "scheduler.pt", field(last_epoch="3")),
    ("tensorized", "rng_state.pth", bomb),
    ("tensorized", "rng_state.pth", lambda path: torch.save({}, path)),
    ("tensorized", "rng_state.pth", lambda path: torch.save(torch.zeros(5000, dtype=torch.uint8), path)),
    ("tensorized", "rng_state.pth", lambda path: torch.save({"python": torch.zeros(3)}, path)),
    ("tensorized", "rng_state.pth", lambda path: torch.save({"python": random.getstate(), "numpy": None}, path)),
    ("tensorized", "optimizer.pt", edited(lambda content: torch.zeros(2))),
    ("tensorized", "scheduler.pt", edited(lambda content: torch.zeros(2))),
    ("diff_pruning", "difference_search.safetensors", edited(without_a_value)),
    ("diff_pruning", "difference_search.safetensors", lambda path: path.unlink()),
]
FEW_DAMAGES = [DAMAGES[number] for number in (0, 3, 5, 6, 9, 10, 12, 14, 20)]  # each file and each pickle once


@pytest.mark.parametrize(
    "method, name, damage",
    exhaustive_but(FEW_DAMAGES, DAMAGES),
    ids=[f"{i}-{name}" for i, (_, name, _) in enumerate(DAMAGES)],
)
def test_a_state_that_was_sealed_again_ends_in_one_line(run, capsys, recwarn, method, name, damage):
    """Loading refuses it. Nothing is executed, and the checkpoint stays."""
    changes, checkpoint = run(method)
    damage(checkpoint / name)
    seal_checkpoint(checkpoint)
    before = {path: path.read_bytes() for path in checkpoint.rglob("*") if path.is_file()}
    code = main(argv(changes))
    error = capsys.readouterr().err
    assert (code, error.split(":")[0]) in ((1, "failed"), (2, "error"))
    assert error.count("\n") == 1 and "Traceback" not in error
    assert not any("trainer.py" in warning.filename for warning in recwarn)
    assert before == {path: path.read_bytes() for path in checkpoint.rglob("*") if path.is_file()}


def test_a_checkpoint_from_beyond_the_end(run, capsys):
    changes, checkpoint = run()
    error = refused(capsys, argv(changes, max_steps=2), changes["output_dir"])
    assert "is of step 3, and this training ends at step 2" in error


@pytest.mark.parametrize("flag", ["optim", "fp16"])
def test_what_the_optimizers_state_depends_on_must_be_equal(run, capsys, flag):
    changes, checkpoint = run()
    if flag == "fp16":  # there is no GPU for it here: as if it had been trained with it
        progress = json.loads((checkpoint / "progress.json").read_text())
        progress["arguments"]["fp16"] = True
        (checkpoint / "progress.json").write_text(json.dumps(progress))
        seal_checkpoint(checkpoint)
    else:
        changes |= {"optim": "sgd"}
    error = refused(capsys, argv(changes), changes["output_dir"])
    assert f"restores the optimizer's state, which overrides these arguments (--{flag} " in error
    assert "give them as they are there to go on, or start from its adapter with" in error


@pytest.mark.parametrize("method", ["tensorized", "diff_pruning"])
def test_a_complete_checkpoint_goes_on_to_the_same_bits(run, method):
    changes, checkpoint = run(method)
    seal_checkpoint(checkpoint)
    assert main(argv(changes)) == 0
    assert record_of(changes["output_dir"])["resumed_from"] == str(checkpoint)
    assert_equal_runs(RUNS[method], changes["output_dir"])
