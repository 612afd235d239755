"""Saving into folders with other files, or with an earlier adapter."""

import errno
import os

import pytest
import torch
from helpers import tiny_model, trained_a_little
from tiny_models import CONFIGS

from tensorized_adapters import UsageError, add_adapters, load_adapter, save_adapter
from tensorized_adapters.runtime import files as files_module


@pytest.fixture
def model():
    return add_adapters(tiny_model(), CONFIGS["tensorized"])


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


@pytest.mark.parametrize(
    ("prepare", "message"),
    [
        (lambda folder: folder.write_text("mine"), "is a file; name a folder"),
        (lambda folder: folder.parent.joinpath("up").write_text("mine"), "cannot be written"),
        (
            lambda folder: (folder.mkdir(), (folder / "README.md").write_text("# Mine")),
            "README.md is not of an adapter",
        ),
        (lambda folder: (folder.mkdir(), (folder / "adapter_config.json").write_text("{}")), "config.json is not of"),
        (lambda folder: (folder / "adapter_model.safetensors").mkdir(parents=True), "is a folder, where"),
        (lambda folder: (folder.mkdir(), os.mkfifo(folder / "adapter_config.json")), "config.json is not of"),
        (lambda folder: folder.symlink_to(folder.name), "cannot be written"),
        (lambda folder: folder.symlink_to("nowhere"), "cannot be written: .* links to nowhere, where there is no"),
    ],
)
def test_what_is_not_ours_is_not_touched(tmp_path, model, prepare, message):
    folder = tmp_path / "there"
    prepare(folder)
    target = tmp_path / "up" / "there" if (tmp_path / "up").exists() else folder
    before = sorted(path.name for path in tmp_path.rglob("*"))
    with pytest.raises(UsageError, match=message):
        save_adapter(model, target)
    assert sorted(path.name for path in tmp_path.rglob("*")) == before


def test_paths_that_cannot_be_written(model):
    for path in ("/proc/nowhere/adapter", "a\0b", "x" * 300):
        with pytest.raises(UsageError, match="cannot be written"):
            save_adapter(model, path)


@pytest.mark.parametrize("method", ["lora", "tensorized"])
@pytest.mark.parametrize("failure", [errno.ENOSPC, errno.EACCES])
def test_the_adapter_before_stays_complete_if_a_file_cannot_be_written(tmp_path, model, monkeypatch, method, failure):
    save_adapter(add_adapters(tiny_model(), CONFIGS[method]), tmp_path)
    before, calls = contents(tmp_path), []

    def fsync(descriptor):
        calls.append(descriptor)
        if len(calls) == 3:
            raise OSError(failure, os.strerror(failure))

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(OSError if failure == errno.ENOSPC else UsageError, match=os.strerror(failure)):
        save_adapter(trained_a_little(model, 1), tmp_path)
    assert contents(tmp_path) == before
    load_adapter(tiny_model(), tmp_path)


def test_the_config_is_renamed_last_and_other_files_stay(tmp_path, model, monkeypatch):
    (tmp_path / "mine.txt").write_text("mine")
    save_adapter(add_adapters(tiny_model(), CONFIGS["lora"]), tmp_path)
    renamed, replace = [], os.replace
    monkeypatch.setattr(files_module.os, "replace", lambda a, b: (renamed.append(b.name), replace(a, b)))
    save_adapter(model, tmp_path)
    assert renamed == ["adapter_model.safetensors", "README.md", "adapter_config.json"]
    assert sorted(contents(tmp_path)) == sorted([*renamed, "mine.txt"])
    torch.testing.assert_close(load_adapter(tiny_model(), tmp_path).state_dict(), model.state_dict())


def test_what_could_not_be_loaded_again_is_not_saved(tmp_path, model):
    with pytest.raises(UsageError, match="notes must be what JSON can hold"):
        save_adapter(model, tmp_path / "none", {"x": {1, 2}})
    model.config.id2label = {0: "same", 1: "same"}
    with pytest.raises(UsageError, match="a text of its own"):
        save_adapter(model, tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_notes_whose_keys_are_numbers(tmp_path, model):
    """JSON makes texts of them. Sorted as numbers they would have another checksum."""
    save_adapter(model, tmp_path, {9: "a", 10: "b"})
    load_adapter(tiny_model(), tmp_path)
