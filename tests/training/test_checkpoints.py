"""Checkpoint folders: our own and foreign ones, complete ones, and the rest of a killed run."""

import errno
import json
import os
import shutil
import signal

import pytest
from exhaustive import exhaustive_but
from helpers import argv, record_of, refused, rewrite

from run_glue_tensorized import main
from tensorized_adapters.runs.folder import clear_run, inspect_folder
from tensorized_adapters.runtime.files import locked_folder
from tensorized_adapters.training import checkpoints
from tensorized_adapters.training.checkpoints import (
    INCOMPLETE_FILE,
    begin_checkpoint,
    clear_checkpoint,
    flaw_of_checkpoint,
    newest_complete_checkpoint,
    remove_remains,
)


class Killed(BaseException):
    pass


@pytest.fixture(scope="module")
def trained(base, files, tmp_path_factory):
    """The folder of a finished run with checkpoints 6 and 12; to be copied."""
    out = tmp_path_factory.mktemp("runs") / "out"
    words = {"model_name_or_path": base, "task_name": "mrpc", "train_file": files["train"], "do_train": True}
    words |= {"per_device_train_batch_size": 8, "num_train_epochs": 2, "adapter_projection_type": "cp"}
    words |= {"tensorized_layer_rank": 2, "adapter_size": 8, "cpu_threads": 1, "disable_tqdm": True}
    assert main(argv(words, output_dir=out)) == 0
    return out, words


@pytest.fixture
def out(trained, tmp_path):
    return shutil.copytree(trained[0], tmp_path / "out")


@pytest.fixture
def kill_at(monkeypatch):
    """Raises Killed before the n-th file operation that changes a folder."""

    def arm(number):
        calls = []

        def counting(operation):
            def call(*args, **kwargs):
                calls.append(operation)
                if len(calls) == number:
                    raise Killed
                return operation(*args, **kwargs)

            return call

        for name in ("unlink", "rmdir", "replace", "mkdir", "rename"):
            monkeypatch.setattr(os, name, counting(getattr(os, name)))

    yield arm


@pytest.mark.parametrize("number", range(1, 14))
@pytest.mark.parametrize("foreign", [False, True])
def test_a_kill_while_a_checkpoint_is_removed_leaves_nothing_for_good(out, kill_at, monkeypatch, number, foreign):
    checkpoint = out / "checkpoint-12"
    if foreign:
        (checkpoint / "notes.txt").write_text("mine")
    with monkeypatch.context() as patched:
        kill_at(number)
        try:
            clear_checkpoint(checkpoint)
        except Killed:
            assert number == 1 or not checkpoint.exists() or flaw_of_checkpoint(checkpoint)
        patched.undo()
    monkeypatch.undo()
    if number > 1:
        remove_remains(out)
        assert [path.name for path in checkpoint.glob("*")] == ["notes.txt"] * foreign
        assert checkpoint.exists() == foreign
    assert flaw_of_checkpoint(out / "checkpoint-6") is None


@pytest.mark.parametrize("number", exhaustive_but([1, 5, 14, 26], [1, 2, 5, 9, 14, 20, 26, 32]))
def test_a_kill_while_a_folder_is_overwritten_leaves_it_a_runs(out, trained, kill_at, monkeypatch, number):
    (out / "checkpoint-12" / "notes.txt").write_text("mine")
    record = record_of(out)
    with locked_folder(out, "run"):
        kill_at(number)
        try:
            clear_run(out, record)
        except Killed:
            pass
        monkeypatch.undo()
    kind = inspect_folder(out, record["arguments"]).kind
    assert kind == ("finished" if number == 1 else "resume")
    assert main(argv(trained[1], output_dir=out)) == 0
    assert record_of(out)["status"] == "finished" and (out / "adapter").is_dir()


@pytest.mark.parametrize("code", [errno.EIO, errno.ESTALE, errno.EACCES])
def test_a_checkpoint_that_cannot_be_read_is_kept_and_refused(out, trained, capsys, monkeypatch, code):
    """The file system may be unavailable for a moment. Then neither this checkpoint nor an older one is used."""
    rewrite(out / "run.json", {"status": "running"})
    before = sorted(out.rglob("*"))

    def failing(path):
        raise OSError(code, os.strerror(code), str(path))

    with monkeypatch.context() as patched:
        patched.setattr(checkpoints, "sha256_of", failing)
        line = refused(capsys, argv(trained[1], output_dir=out))
    assert "checkpoint-12" in line and os.strerror(code) in line
    assert sorted(out.rglob("*")) == before
    assert main(argv(trained[1], output_dir=out)) == 0
    assert record_of(out)["resumed_from"].endswith("checkpoint-12")


@pytest.mark.parametrize("name", ["optimizer.pt", "progress.json", "adapter/adapter_config.json"])
def test_a_folder_with_the_name_of_a_file_is_moved_when_the_checkpoint_is_saved_again(out, trained, name):
    rewrite(out / "run.json", {"status": "running"})
    (out / "checkpoint-12" / name).unlink()
    (out / "checkpoint-12" / name).mkdir()
    assert main(argv(trained[1], output_dir=out)) == 0
    assert flaw_of_checkpoint(out / "checkpoint-12") is None
    assert (out / "checkpoint-12.moved-0" / name).is_dir()


def test_skipping_removes_nothing(out):
    before = sorted(out.rglob("*"))
    with open(out / "checkpoint-12" / "optimizer.pt", "r+b") as file:
        file.truncate(100)
    found, notes = newest_complete_checkpoint(out, lambda _: True)
    assert found == out / "checkpoint-6" and "optimizer.pt was altered" in notes[0]
    assert sorted(out.rglob("*")) == before


def test_whatever_has_the_name_of_a_new_checkpoint_is_renamed(out, trained, tmp_path, capsys):
    """Folders, links and files under our names without a manifest or marker may belong to somebody else."""
    rewrite(out / "run.json", {"status": "running"})
    shutil.rmtree(out / "checkpoint-12")
    foreign = out / "checkpoint-12"
    foreign.mkdir()
    for name in ("adapter_config.json", "adapter_model.safetensors", "optimizer.pt"):
        (foreign / name).write_text("mine")
    assert main(argv(trained[1], output_dir=out)) == 0
    captured = capsys.readouterr()
    assert "checkpoint-12 has no manifest of this program; moved to checkpoint-12.moved-0" in captured.err
    assert {path.read_text() for path in (out / "checkpoint-12.moved-0").iterdir()} == {"mine"}
    assert flaw_of_checkpoint(foreign) is None

    elsewhere = tmp_path / "elsewhere"
    shutil.copytree(foreign, elsewhere)
    (out / "checkpoint-18").symlink_to(elsewhere)
    begin_checkpoint(out / "checkpoint-18")
    (out / "checkpoint-24").write_text("mine")
    begin_checkpoint(out / "checkpoint-24")
    assert flaw_of_checkpoint(elsewhere) is None and (out / "checkpoint-24.moved-0").read_text() == "mine"
    assert [path.name for path in (out / "checkpoint-18").iterdir()] == [INCOMPLETE_FILE]


@pytest.mark.parametrize("name", ["manifest.json", "trainer_state.json", "progress.json", "../run.json"])
def test_a_pipe_with_the_name_of_a_file_is_not_waited_for(trained, out, capsys, name):
    """An unfinished run goes on from its newest checkpoint. An alarm ends the test if it waits for the pipe."""
    checkpoint = out / "checkpoint-12"
    record = json.loads((out / "run.json").read_text())
    (out / "run.json").write_text(json.dumps(record | {"status": "running"}))
    path = checkpoint / name
    assert path.exists()
    path.unlink()
    os.mkfifo(path)
    signal.alarm(60)
    try:
        error = refused(capsys, argv(trained[1], output_dir=out))
    finally:
        signal.alarm(0)
    assert f"{path.resolve().name} cannot be read" in error and path.is_fifo()
