"""Second starts: finished, interrupted, killed, damaged, moved and foreign run folders."""

import json
import os
import shutil
import signal

import pytest
import torch
from helpers import OWN, argv, assert_equal_runs, kill_9_after_checkpoint, record_of, refused, spoil_step, tensors_of
from transformers.trainer_pt_utils import safe_globals

from run_glue_tensorized import main
from tensorized_adapters.runtime import signals
from tensorized_adapters.training import callbacks
from tensorized_adapters.training.checkpoints import flaw_of_checkpoint, seal_checkpoint


def test_second_starts(flags, capsys):
    out = flags["output_dir"]
    assert main(argv(flags)) == 0
    stamps = {path: path.stat().st_mtime_ns for path in (out, *out.rglob("*"))}
    assert main(argv(flags, logging_steps=1)) == 0  # what cannot change the result does not count
    assert "finished; nothing to do" in capsys.readouterr().out
    assert {path: path.stat().st_mtime_ns for path in (out, *out.rglob("*"))} == stamps
    (out / "adapter").rename(out / "elsewhere")
    assert main(argv(flags)) == 0
    assert "take a checkpoint's, or train anew" in capsys.readouterr().out
    (out / "elsewhere").rename(out / "adapter")
    assert main(argv(flags, seed=7)) == 2
    assert "--seed 42 there, 7 now" in capsys.readouterr().err
    (out / "notes.txt").write_text("mine")
    (out / "checkpoint-12" / "notes.txt").write_text("mine")
    assert main(argv(flags, seed=7, overwrite_output_dir=True)) == 0
    assert (out / "notes.txt").read_text() == (out / "checkpoint-12" / "notes.txt").read_text() == "mine"
    assert record_of(out)["seed"] == 7


@pytest.mark.parametrize("saving", [{}, {"save_strategy": "steps", "save_steps": 2, "save_total_limit": 1}])
def test_kill_9_then_the_same_command_equals_an_uninterrupted_run(flags, tmp_path, saving):
    """Killed right after a checkpoint was sealed, once at the end of an epoch and once within one."""
    flags |= {"num_train_epochs": 3} | saving
    complete, killed = tmp_path / "complete", tmp_path / "killed"
    assert main(argv(flags, output_dir=complete)) == 0
    words = argv(flags, output_dir=killed)
    kill_9_after_checkpoint(words, 2)
    assert record_of(killed)["status"] == "running"
    assert main(words) == 0
    assert record_of(killed)["resumed_from"]
    assert_equal_runs(complete, killed)


def test_steps_of_another_number_of_threads_are_noted(flags):
    words = argv(flags)
    kill_9_after_checkpoint(words, 1)
    assert main([*words, "--cpu_threads", str(record_of(flags["output_dir"])["threads"] + 1)]) == 0
    notes = record_of(flags["output_dir"])["notes"]
    assert "the steps before the checkpoint were computed by another number of threads" in notes


def test_a_kill_before_old_checkpoints_were_removed_leaves_no_more_than_the_limit(flags):
    """The last checkpoint was sealed, so the second start saves none."""
    out, words = flags["output_dir"], argv(flags, save_total_limit=1)
    kill_9_after_checkpoint(words, 2)
    assert len([*out.glob("checkpoint-*")]) == 2
    assert main(words) == 0
    assert record_of(out)["resumed_from"].endswith("checkpoint-12")
    assert [path.name for path in out.glob("checkpoint-*")] == ["checkpoint-12"]


def test_seconds_are_totals_over_all_starts(flags, tmp_path):
    """The record of the first start has no seconds, because it was killed."""
    out = flags["output_dir"]
    kill_9_after_checkpoint(argv(flags), 1)
    kept = out / "checkpoint-6" / "progress.json"
    assert 0 < json.loads(kept.read_text())["seconds"] < 100 and "seconds" not in record_of(out)
    kept.write_text(json.dumps(json.loads(kept.read_text()) | {"seconds": 1000.0}))
    seal_checkpoint(kept.parent)
    assert main(argv(flags)) == 0
    record = record_of(out)
    assert record["resumed_from"] and 1000 < record["metrics"]["train_runtime"] < 1100
    assert record["metrics"]["train_runtime"] - 1 < record["train_seconds"] < record["seconds"] < 1100
    assert record["metrics"]["train_samples_per_second"] > 1  # of the start that is measured
    assert 1000 < json.loads((out / "checkpoint-12" / "progress.json").read_text())["seconds"] < 1100


def test_seconds_of_a_start_that_failed_count_too(flags, monkeypatch):
    out = flags["output_dir"]
    spoil_step(monkeypatch, 8, lambda output: output.loss.data.fill_(float("nan")))
    assert main(argv(flags)) == 1
    assert 0 < (first := record_of(out)["seconds"]) < 1000
    (out / "run.json").write_text(json.dumps(record_of(out) | {"seconds": first + 5000}))
    monkeypatch.undo()
    assert main(argv(flags)) == 0
    assert record_of(out)["resumed_from"] and 5000 < record_of(out)["seconds"] < 6000
    assert record_of(out)["metrics"]["train_runtime"] < 1000


@pytest.mark.parametrize("damage", ["truncate", "flip", "unsealed"])
def test_a_checkpoint_that_is_incomplete_is_never_resumed_from(flags, tmp_path, capsys, damage):
    out = flags["output_dir"]
    assert main(argv(flags)) == 0
    record = record_of(out) | {"status": "running"}
    (out / "run.json").write_text(json.dumps(record))
    reference = tensors_of(out)
    victim = out / "checkpoint-12" / ("manifest.json" if damage == "unsealed" else "optimizer.pt")
    content = victim.read_bytes()
    if damage == "truncate":
        victim.write_bytes(content[:-10])
    elif damage == "flip":
        victim.write_bytes(content[:50] + bytes([content[50] ^ 1]) + content[51:])
    else:
        victim.unlink()
    assert flaw_of_checkpoint(out / "checkpoint-12")
    capsys.readouterr()
    assert main(argv(flags)) == 0
    captured = capsys.readouterr()
    assert "checkpoint-12 is not complete" in captured.err
    assert "going on from" in captured.out and "checkpoint-6" in captured.out
    assert all(torch.equal(reference[name], value) for name, value in tensors_of(out).items())


def test_overwriting_what_the_run_starts_from_is_refused(flags, capsys):
    out = flags["output_dir"]
    assert main(argv(flags)) == 0
    shutil.copy(flags["model_name_or_path"] / "config.json", out / "adapter")
    before = sorted(out.rglob("*"))
    for changes in (
        {"resume_from_checkpoint": out / "checkpoint-6"},
        {"adapter_path": out / "adapter", **dict.fromkeys(OWN)},
        {"tokenizer_name": out / "adapter"},
        {"config_name": out / "adapter"},
    ):
        assert main(argv(flags, overwrite_output_dir=True, **changes)) == 2
        assert "--overwrite_output_dir would remove" in capsys.readouterr().err
    assert sorted(out.rglob("*")) == before


def test_overwriting_the_checkpoint_that_a_run_goes_on_from_is_refused(flags, capsys):
    flags |= {"overwrite_output_dir": True, "resume_from_checkpoint": "True"}
    error = refused(capsys, argv(flags), flags["output_dir"])
    assert (
        "--overwrite_output_dir would remove the checkpoint that --resume_from_checkpoint True means; leave" in error
    )


@pytest.mark.parametrize("through_the_link", [True, False])
def test_overwriting_an_adapter_behind_a_link_is_refused(flags, tmp_path, capsys, through_the_link):
    out, stored = flags["output_dir"], tmp_path / "stored" / "adapter"
    flags |= {"num_train_epochs": 1, "save_strategy": "no"}
    assert main(argv(flags)) == 0
    shutil.move(out / "adapter", stored.parent.mkdir() or stored)
    (out / "adapter").symlink_to(stored)
    before = {path: path.read_bytes() for path in stored.iterdir()}
    start = {"adapter_path": out / "adapter" if through_the_link else stored, **dict.fromkeys(OWN)}
    error = refused(capsys, argv(flags, overwrite_output_dir=True, **start), out)
    assert "--overwrite_output_dir would remove --adapter_path" in error
    assert {path: path.read_bytes() for path in stored.iterdir()} == before


def test_a_checkpoint_of_another_task_is_refused_before_anything_is_written(flags, tmp_path, capsys):
    assert main(argv(flags)) == 0
    checkpoint, new = flags["output_dir"] / "checkpoint-6", tmp_path / "new"
    for changes in ({"task_name": "rte"}, {"tensorized_layer_rank": 3}):
        assert main(argv(flags, resume_from_checkpoint=checkpoint, output_dir=new, **changes)) == 2
        assert capsys.readouterr().err.count("\n") == 1
        assert not new.exists()


def test_foreign_files_survive_rotation_resuming_and_links(flags, tmp_path):
    out, elsewhere = flags["output_dir"], tmp_path / "elsewhere"
    assert main(argv(flags)) == 0
    elsewhere.mkdir()
    mine = [out / "checkpoint-6" / "notes.txt", elsewhere / "optimizer.pt", out / "checkpoint-7", out / ".notes.tmp"]
    for path in mine:
        path.write_text("mine")
    foreign = out / "checkpoint-500"
    foreign.mkdir()
    for name in ("optimizer.pt", "pytorch_model.bin"):
        (foreign / name).write_text("mine")
        mine.append(foreign / name)
    (out / "checkpoint-99").symlink_to(elsewhere)
    (out / "run.json").write_text(json.dumps(record_of(out) | {"status": "running"}))
    assert main(argv(flags)) == 0  # resumes
    assert main(argv(flags, num_train_epochs=4, overwrite_output_dir=True)) == 0  # clears, then rotates
    assert all(path.read_text() == "mine" for path in mine)
    assert not (out / "checkpoint-6" / "optimizer.pt").exists() and (out / "checkpoint-24").is_dir()


def test_a_moved_run_goes_on_to_the_same_best_model(flags, tmp_path):
    flags |= {"load_best_model_at_end": True, "learning_rate": 5e-2, "num_train_epochs": 3}
    out, moved = flags["output_dir"], tmp_path / "moved"
    assert main(argv(flags)) == 0
    reference = tensors_of(out)
    shutil.rmtree(out / "adapter")
    (out / "run.json").write_text(json.dumps(record_of(out) | {"status": "running"}))
    out.rename(moved)
    assert main(argv(flags, output_dir=moved)) == 0
    assert all(torch.equal(reference[name], value) for name, value in tensors_of(moved).items())


def test_the_best_model_of_a_run_that_goes_on_in_a_new_folder(flags, tmp_path, capsys):
    """By the lowest or the highest loss, the best model is the resumed checkpoint or an earlier one."""
    flags |= {"load_best_model_at_end": True, "learning_rate": 5e-2, "num_train_epochs": 3, "save_total_limit": 3}
    flags |= {"metric_for_best_model": "loss", "per_device_train_batch_size": 16}
    bests = set()
    for greater in (True, False):
        out, new, removed = (tmp_path / f"{name} {greater}" for name in ("complete", "resumed", "removed"))
        assert main(argv(flags, greater_is_better=greater, output_dir=out)) == 0
        checkpoint = shutil.copytree(out / "checkpoint-6", removed / "checkpoint-6")
        best = json.loads((checkpoint / "trainer_state.json").read_text())["best_global_step"]
        bests.add(best)
        words = argv(flags, greater_is_better=greater, resume_from_checkpoint=out / "checkpoint-6", output_dir=new)
        assert main(words) == 0
        assert_equal_runs(out, new)
        kept = json.loads((new / "checkpoint-9" / "trainer_state.json").read_text())["best_model_checkpoint"]
        assert kept.startswith(str(new)) and flaw_of_checkpoint(new / f"checkpoint-{best}") is None
        if best == 3:  # it is not beside its copy
            words = argv(flags, resume_from_checkpoint=checkpoint, output_dir=tmp_path / "none")
            error = refused(capsys, words, tmp_path / "none")
            assert "checkpoint-3, is not complete" in error and "leave --load_best_model_at_end out" in error
    assert bests == {3, 6}


def test_everything_in_a_checkpoint_loads_without_unpickling(flags):
    assert main(argv(flags)) == 0
    for path in (flags["output_dir"] / "checkpoint-12").glob("*.pt*"):
        with safe_globals():  # NumPy's arrays, as the Trainer loads them
            torch.load(path, weights_only=True)


def test_sigterm_ends_with_143_and_a_record(flags, tmp_path, monkeypatch):
    def stopping(path):
        seal_checkpoint(path)
        os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(callbacks, "seal_checkpoint", stopping)
    printed = tmp_path / "stderr"
    child = os.fork()
    if not child:
        try:
            os.dup2(os.open(printed, os.O_CREAT | os.O_WRONLY), 2)
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            signals.begin()
            os._exit(main(argv(flags)))
        finally:
            os._exit(99)  # never back into the parent's tests
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 143
    assert printed.read_text().splitlines()[-1].startswith("terminated: the same command goes on")
    assert record_of(flags["output_dir"])["status"] == "interrupted"


@pytest.mark.parametrize("killed_at, optim", [(1, "adafactor"), (2, "adamw_torch_fused"), (4, "adafactor")])
def test_kill_9_at_the_end_of_an_epoch_that_is_still_to_be_evaluated(flags, tmp_path, killed_at, optim):
    """The run saves every 3 of 6 steps. It is killed within an epoch, at its end, and at the end of the run."""
    saving = {"save_strategy": "steps", "save_steps": 3, "optim": optim}
    complete, killed = tmp_path / "complete", tmp_path / "killed"
    assert main(argv(flags, output_dir=complete, **saving)) == 0
    words = argv(flags, output_dir=killed, **saving)
    kill_9_after_checkpoint(words, killed_at)
    assert main(words) == 0
    assert record_of(killed)["resumed_from"].endswith(f"checkpoint-{3 * killed_at}")
    assert_equal_runs(complete, killed)


def test_a_resume_with_another_optimizer_is_one_line(flags, tmp_path, capsys):
    assert main(argv(flags)) == 0
    checkpoint = flags["output_dir"] / "checkpoint-6"
    words = argv(flags, resume_from_checkpoint=checkpoint, optim="adafactor", output_dir=tmp_path / "new")
    expected = "restores the optimizer's state, which overrides these arguments (--optim adamw"
    assert expected in refused(capsys, words, tmp_path / "new")


def test_a_schedule_by_plateaus(flags):
    assert main(argv(flags, lr_scheduler_type="reduce_lr_on_plateau", logging_steps=2)) == 0
