"""save_adapters and load_adapters: all named adapters of a model in one folder."""

import copy
import errno
import json
import os
import pickle

import pytest
import torch
from helpers import logits, tiny_model, trained_a_little
from tiny_models import CONFIGS

from tensorized_adapters import (
    RunFailed,
    UsageError,
    active_adapter,
    adapter_names,
    add_adapters,
    delete_adapter,
    load_adapter,
    load_adapters,
    save_adapter,
    save_adapters,
    set_adapter,
)
from tensorized_adapters.saving.manifest import read_config

NAMES = {"cp of Monday": "tensorized", "ü.b": "lora", "bits": "bitfit"}


@pytest.fixture
def model():
    model = tiny_model()
    for name, key in NAMES.items():
        trained_a_little(add_adapters(model, CONFIGS[key], name=name))
    return model


def contents(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("active", ["ü.b", None])
def test_all_come_back_with_the_active_one_and_each_alone(tmp_path, model, active):
    expected = {}
    for name in NAMES:
        set_adapter(model, name)
        expected[name] = logits(model)
    set_adapter(model, active)
    save_adapters(model, tmp_path / "all")
    assert active_adapter(model) == active
    again = tiny_model()
    assert load_adapters(again, tmp_path / "all") == adapter_names(again) == list(NAMES)
    assert active_adapter(again) == active
    for name in NAMES:
        set_adapter(again, name)
        assert torch.equal(logits(again), expected[name])
        assert torch.equal(logits(load_adapter(tiny_model(), tmp_path / "all" / name)), expected[name])
    before = contents(tmp_path / "all")
    set_adapter(again, active)
    save_adapters(again, tmp_path / "all")  # over those of the same names
    assert contents(tmp_path / "all") == before


def notes_in(folder):
    return read_config(folder)["notes"]


@pytest.mark.parametrize("key", ["tensorized", "lora", "diff_pruning"])
@pytest.mark.parametrize("copied", [lambda it: it, copy.deepcopy, lambda it: pickle.loads(pickle.dumps(it))])
def test_notes_of_a_loaded_adapter_are_saved_again(tmp_path, key, copied):
    """They say how texts are read, so an adapter without them would read others."""
    notes = {name: {"texts": [name, "body", "c"], "text_column_delimiter": " | ", "seed": 3} for name in "ab"}
    for name in notes:
        save_adapter(add_adapters(tiny_model(), CONFIGS[key]), tmp_path / name, notes[name])
    alone = copied(load_adapter(tiny_model(), tmp_path / "a"))
    save_adapter(alone, tmp_path / "again")
    assert notes_in(tmp_path / "again") == notes["a"]
    save_adapter(alone, tmp_path / "again", {"mine": 1})
    assert notes_in(tmp_path / "again") == {"mine": 1}
    save_adapter(load_adapter(alone, tmp_path / "b"), tmp_path / "again")  # over those of a
    assert notes_in(tmp_path / "again") == notes["b"]
    save_adapter(alone, tmp_path / "again", {})
    assert notes_in(tmp_path / "again") == {}
    model = tiny_model()
    for name in notes:
        load_adapter(model, tmp_path / name, name=name)
    add_adapters(model, CONFIGS["bitfit"], name="new")
    model = copied(model)
    load_adapter(model, tmp_path / "b", name="of a new task", new_head=True)
    save_adapter(model, tmp_path / "one", name="b")
    assert notes_in(tmp_path / "one") == notes["b"]
    save_adapters(model, tmp_path / "all")
    expected = notes | {"new": {}, "of a new task": {}}
    assert {name: notes_in(tmp_path / "all" / name) for name in expected} == expected
    delete_adapter(model, "b")
    add_adapters(model, CONFIGS[key], name="b")
    save_adapter(model, tmp_path / "one")
    assert notes_in(tmp_path / "one") == {}


def test_they_are_loaded_beside_others_or_not_at_all(tmp_path, model):
    save_adapters(model, tmp_path)
    other = add_adapters(tiny_model(), CONFIGS["dense"], name="mine")
    expected = logits(trained_a_little(other))
    add_adapters(other, CONFIGS["dense"], name="bits")
    set_adapter(other, "mine")
    with pytest.raises(UsageError, match="has an adapter 'bits'"):
        load_adapters(other, tmp_path)
    assert adapter_names(other) == ["mine", "bits"] and active_adapter(other) == "mine"
    assert torch.equal(logits(other), expected)
    delete_adapter(other, "bits")
    load_adapters(other, tmp_path)
    assert adapter_names(other) == ["mine", *NAMES] and active_adapter(other) == "bits"


def test_nothing_is_written_if_one_cannot_be_saved(tmp_path, model, monkeypatch):
    save_adapters(model, tmp_path)
    before = contents(tmp_path)
    add_adapters(model, CONFIGS["tensorized"], name="a/b")
    with pytest.raises(UsageError, match=r"'a/b' cannot give a folder its name.*name='a/b'"):
        save_adapters(model, tmp_path)
    delete_adapter(model, "a/b")
    add_adapters(model, CONFIGS["tensorized"], name="BITS")
    with pytest.raises(UsageError, match="'bits' and 'BITS' would share a folder where case does not count"):
        save_adapters(model, tmp_path)
    delete_adapter(model, "BITS")
    add_adapters(model, CONFIGS["tensorized"], name="last")
    with torch.no_grad():
        model.classifier.bias[0] = float("nan")
    with pytest.raises(RunFailed, match="NaN"):
        save_adapters(model, tmp_path)
    delete_adapter(model, "last")
    set_adapter(model, "bits")
    trained_a_little(model)
    calls = []

    def fsync(descriptor):
        calls.append(descriptor)
        if len(calls) == 5:
            raise OSError(errno.ENOSPC, "no space")

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(OSError, match="no space"):
        save_adapters(model, tmp_path)
    assert contents(tmp_path) == before
    monkeypatch.undo()
    save_adapters(model, tmp_path)
    assert contents(tmp_path) != before


def test_adapters_of_other_names_are_not_mixed_with_them(tmp_path, model):
    save_adapters(model, tmp_path)
    delete_adapter(model, "bits")
    with pytest.raises(UsageError, match="holds adapters of other names, .'bits'"):
        save_adapters(model, tmp_path)
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign" / "adapters.json").write_text("{}")
    with pytest.raises(UsageError, match="adapters.json is not of save_adapters; name another folder"):
        save_adapters(model, tmp_path / "foreign")
    assert len(list((tmp_path / "foreign").iterdir())) == 1
    (tmp_path / "file").write_text("mine")
    with pytest.raises(UsageError, match="cannot be written"):
        save_adapters(model, tmp_path / "file")


def test_refusals(tmp_path, model):
    with pytest.raises(UsageError, match="no adapters with names"):
        save_adapters(add_adapters(tiny_model(), CONFIGS["lora"]), tmp_path)
    save_adapters(model, tmp_path / "all")
    save_adapter(model, tmp_path / "one", name="bits")
    plain = tiny_model()
    expected = logits(plain)
    with pytest.raises(UsageError, match="adapters.json cannot be read.*load_adapter loads a single one"):
        load_adapters(plain, tmp_path / "one")
    index = tmp_path / "all" / "adapters.json"
    for damaged in ({}, {"adapters": []}, {"adapters": ["../one"]}, {"adapters": [3]}):
        index.write_text(json.dumps(damaged))
        with pytest.raises(UsageError, match="does not list the names"):
            load_adapters(plain, tmp_path / "all")
    for names, active, message in (
        (["bits", "bits"], None, "has an adapter 'bits'"),
        (["bits"], "c", "does not list the names"),
        (["bits"], [], "does not list the names"),
    ):
        index.write_text(json.dumps({"adapters": names, "active": active}))
        with pytest.raises(UsageError, match=message):
            load_adapters(plain, tmp_path / "all")
    index.write_text(json.dumps({"adapters": ["bits", "missing"], "active": None}))
    with pytest.raises(UsageError, match="cannot be read"):
        load_adapters(plain, tmp_path / "all")
    assert adapter_names(plain) == [] and torch.equal(logits(plain), expected)
