"""--new_head: a run starts from another task's adapter and keeps its parameters of the base model bit for bit."""

import json

import pytest
import torch
from helpers import (
    OWN,
    argv,
    assert_equal_runs,
    pairs,
    record_of,
    refused,
    tensors_of,
    tiny_model,
    trained_a_little,
    write_rows,
)
from safetensors.torch import load_file
from tiny_models import CONFIGS
from transformers import AutoModelForSequenceClassification

from run_glue_tensorized import main
from tensorized_adapters import UsageError, add_adapters, load_adapter, save_adapter
from tensorized_adapters.saving import WEIGHTS_FILE

TASKS = {
    "two others": lambda i: ("yes", "no")[i % 2],
    "three classes": lambda i: ("a", "b", "c")[i % 3],
    "scores": lambda i: float(i % 5) + 2.5,
}


@pytest.fixture
def first(flags):
    """The folder of a trained run on two classes."""
    assert main(argv(flags, num_train_epochs=1, learning_rate=0.02)) == 0
    return flags["output_dir"]


def onward(first, flags, tmp_path, task, **changes):
    """The command line of a run that starts from the first one's adapter."""
    rows = [(a, b, TASKS[task](i), i) for a, b, _, i in pairs(48, 5)]
    file = write_rows(tmp_path / "other.csv", rows, ("text", "more", "label", "idx"))
    own = dict.fromkeys((*OWN, "task_name")) | {"train_file": file, "validation_file": file}
    own |= {"adapter_path": first, "new_head": True, "output_dir": tmp_path / "onward"}
    return argv(flags, **(own | changes))


@pytest.mark.parametrize("task", TASKS)
def test_bits_of_what_was_kept_are_equal_and_the_head_is_new(first, flags, tmp_path, capsys, task):
    assert main(onward(first, flags, tmp_path, task, learning_rate=0, num_train_epochs=1)) == 0
    output, before, after = capsys.readouterr().out, tensors_of(first), tensors_of(tmp_path / "onward")
    kept = {name for name in before if name.startswith("bert.")}
    assert before.keys() == after.keys() and kept and all(torch.equal(before[name], after[name]) for name in kept)
    assert any("adapter" in name for name in kept) and any("LayerNorm" in name for name in kept)
    size = {"two others": 2, "three classes": 3, "scores": 1}[task]
    assert after["classifier.weight"].shape == (size, 32)
    assert size != 2 or not torch.equal(before["classifier.weight"], after["classifier.weight"])
    prior = torch.full((size,), 1 / size).log() if task != "scores" else torch.tensor([4.5])
    assert torch.allclose(after["classifier.bias"], prior, atol=0.1)
    note = [line for line in output.splitlines() if line.startswith("note: --new_head: kept from 'mrpc' (2 classes):")]
    assert len(note) == 1 and "adapters (" in note[0] and "LayerNorms (" in note[0] and "new: the head (" in note[0]
    record = record_of(tmp_path / "onward")
    assert record["arguments"]["new_head"] is True and record["arguments"]["head_start"] == "label_prior"


def test_several_labels_a_text_are_called_labels(first, flags, tmp_path, capsys):
    file, out = tmp_path / "sets.jsonl", tmp_path / "again"
    rows = [{"text": a, "more": b, "label": ["x", "y", "z"][: i % 4]} for a, b, _, i in pairs(24, 5)]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    changes = {"train_file": file, "validation_file": file, "num_train_epochs": 1}
    assert main(onward(first, flags, tmp_path, "scores", **changes)) == 0
    assert "'mrpc' (2 classes): " in (output := capsys.readouterr().out) and ", for 3 labels" in output
    assert main(onward(tmp_path / "onward", flags, tmp_path, "three classes", num_train_epochs=1, output_dir=out)) == 0
    assert "' (3 labels): " in (output := capsys.readouterr().out) and ", for 3 classes" in output


def test_such_a_run_resumes_and_the_same_command_again_finds_it_done(first, flags, tmp_path, capsys):
    words = onward(first, flags, tmp_path, "three classes")
    assert main(words) == 0 and main(words) == 0
    assert "holds this run, finished" in capsys.readouterr().out
    resumed = {"resume_from_checkpoint": tmp_path / "onward/checkpoint-6", "output_dir": tmp_path / "resumed"}
    assert main(onward(first, flags, tmp_path, "three classes", **resumed)) == 0
    assert_equal_runs(tmp_path / "onward", tmp_path / "resumed")
    error = refused(capsys, onward(first, flags, tmp_path, "three classes", head_start="random"))
    assert "--head_start" in error
    evaluated = {"adapter_path": tmp_path / "onward", "new_head": None, "do_train": None, "train_file": None}
    assert main(onward(first, flags, tmp_path, "three classes", **evaluated, output_dir=tmp_path / "again")) == 0
    assert (
        record_of(tmp_path / "again")["metrics"]["eval_loss"] == record_of(tmp_path / "onward")["metrics"]["eval_loss"]
    )


def test_a_head_that_the_base_checkpoint_has_is_drawn_anew(first, flags, base, tmp_path):
    torch.manual_seed(5)
    model = AutoModelForSequenceClassification.from_pretrained(base)
    model.save_pretrained(tmp_path / "headed")
    for file in base.iterdir():
        if not (tmp_path / "headed" / file.name).exists():
            (tmp_path / "headed" / file.name).write_bytes(file.read_bytes())
    for task in ("two others", "three classes"):
        changes = {"model_name_or_path": tmp_path / "headed", "learning_rate": 0, "output_dir": tmp_path / task}
        assert main(onward(first, flags, tmp_path, task, num_train_epochs=1, **changes)) == 0
        assert not torch.equal(tensors_of(tmp_path / task)["classifier.weight"][0], model.classifier.weight[0])


def test_it_is_refused_where_it_means_nothing(first, flags, tmp_path, capsys):
    out = tmp_path / "onward"
    assert "--new_head needs --adapter_path" in refused(capsys, argv(flags, new_head=True, output_dir=out), out)
    assert "--new_head needs --do_train" in refused(
        capsys, onward(first, flags, tmp_path, "scores", do_train=None), out
    )
    assert "add --new_head" in refused(
        capsys, onward(first, flags, tmp_path, "scores", new_head=None, head_start="random")
    )


@pytest.mark.parametrize("key", ["tensorized", "joint", "lora", "bitfit", "diff_pruning", "full"])
def test_from_python_head_and_labels_stay_the_models(tmp_path, key):
    model = add_adapters(tiny_model(), CONFIGS[key])
    if key != "diff_pruning":
        trained_a_little(model)
    save_adapter(model, tmp_path / "adapter")
    other = tiny_model(num_labels=3, id2label={0: "a", 1: "b", 2: "c"}, label2id={"a": 0, "b": 1, "c": 2})
    head = other.classifier.weight.clone()
    load_adapter(other, tmp_path / "adapter", new_head=True)
    assert torch.equal(other.classifier.weight, head) and other.config.id2label[2] == "c"
    save_adapter(other, tmp_path / "other")
    before, after = (
        {name: tensor for name, tensor in load_file(path).items() if "classifier" not in name}
        for path in (tmp_path / "adapter" / WEIGHTS_FILE, tmp_path / "other" / WEIGHTS_FILE)
    )
    assert before.keys() == after.keys() and all(torch.equal(before[name], after[name]) for name in before)


def test_an_adapter_of_a_head_alone_is_refused_and_the_model_stays_as_it_was(tmp_path):
    save_adapter(add_adapters(tiny_model(), CONFIGS["head"]), tmp_path)
    model = tiny_model(num_labels=3)
    with pytest.raises(UsageError, match="holds only a head"):
        load_adapter(model, tmp_path, new_head=True)
    assert not hasattr(model, "adaptation")
