"""A base model with a trained head: rows follow the names of the data's labels, or the head is drawn and a line says
so."""

import pytest
import safetensors.torch
import torch
from helpers import OWN, argv, pairs, record_of, refused, tensors_of, tiny_config, write_rows
from transformers import BertForSequenceClassification

from run_glue_tensorized import main
from tensorized_adapters.data.tasks import TASKS


def headed(base, folder, labels, **changes):
    """Make a checkpoint whose head has i + 1 everywhere in row i, and these names of labels."""
    names = {} if labels is None else {"id2label": dict(enumerate(labels))}
    names |= {"label2id": {name: i for i, name in enumerate(labels or ())}} if labels else {}
    torch.manual_seed(0)
    model = BertForSequenceClassification(tiny_config(**names, **changes))
    with torch.no_grad():
        for i, row in enumerate(model.classifier.weight):
            row.fill_(i + 1)
        model.classifier.bias.copy_(torch.arange(1.0, len(model.classifier.bias) + 1))
    model.save_pretrained(folder)
    for file in base.iterdir():
        if not (folder / file.name).exists():
            (folder / file.name).write_bytes(file.read_bytes())
    return folder


def rows_after(flags, folder, tmp_path, capsys, labels=None, scores=False, **changes):
    """Return the row numbers of the head after a run at rate 0 (None: a new head), and the run's message about it."""
    changes |= {"model_name_or_path": folder, "learning_rate": 0, "num_train_epochs": 1, "weight_decay": 0}
    if labels or scores:
        given = (lambda i: i % 5 + 0.5) if scores else (lambda i: labels[i % len(labels)])
        rows = [(a, b, given(i), i) for a, b, _, i in pairs(48, 5)]
        file = write_rows(tmp_path / "data.csv", rows, ("text", "more", "label", "idx"))
        changes |= {"task_name": None, "train_file": file, "validation_file": file}
    assert main(argv(flags, **changes)) == 0
    message = [line for line in capsys.readouterr().out.splitlines() if "trained head" in line]
    assert all(line.startswith("note: ") for line in message) and len(message) < 2
    tensors = tensors_of(flags["output_dir"])
    weight, bias = tensors["classifier.weight"], tensors["classifier.bias"]
    kept = bool((weight == weight[:, :1]).all())
    assert not kept or torch.equal(weight[:, 0], bias)  # the labels' prior is for new heads alone
    return [int(number) for number in weight[:, 0]] if kept else None, "".join(message)


@pytest.mark.parametrize(
    ("there", "here", "rows"),
    [
        (("pos", "neg"), ("neg", "pos"), [2, 1]),
        (("neg", "pos"), ("neg", "pos"), [1, 2]),
        (("Not_Equal", "EQUAL"), ("equal", "not-equal"), [2, 1]),
        (("c", "a", "b"), ("a", "b", "c"), [2, 3, 1]),
        (("LABEL_1", "LABEL_0"), ("0", "1"), [2, 1]),
        (("1", "0"), ("0", "1"), [2, 1]),
        (("LABEL_0", "LABEL_1"), ("0", "1"), [1, 2]),
        (("-1", "0"), ("-1", "0"), [1, 2]),
    ],
)
def test_rows_follow_the_names(flags, base, tmp_path, capsys, there, here, rows):
    found, message = rows_after(flags, headed(base, tmp_path / "headed", there), tmp_path, capsys, here)
    assert found == rows
    assert ("were put in the data's order" in message) == (rows != sorted(rows))


@pytest.mark.parametrize("there", [("anger", "joy"), ("pos", "other"), ("x", "y"), ("pos", "neg", "other"), ("x",)])
def test_a_head_of_other_names_is_drawn_and_a_line_says_so(flags, base, tmp_path, capsys, there):
    found, message = rows_after(flags, headed(base, tmp_path / "headed", there), tmp_path, capsys, ("neg", "pos"))
    assert found is None and ", ".join(there) in message and "neg, pos; a new head is drawn" in message
    assert record_of(flags["output_dir"])["arguments"]["head_start"] == "label_prior"
    assert torch.allclose(tensors_of(flags["output_dir"])["classifier.bias"], torch.tensor([0.5, 0.5]).log())


@pytest.mark.parametrize(
    ("there", "here"), [(("A-", "B"), ("A", "B")), (("-", "+"), ("_", "+")), (("-2", "-1"), ("2", "1"))]
)
def test_a_sign_is_no_blank_between_words(flags, base, tmp_path, capsys, there, here):
    found, message = rows_after(flags, headed(base, tmp_path / "headed", there), tmp_path, capsys, here)
    assert found is None and "a new head is drawn" in message


@pytest.mark.parametrize(("there", "here"), [(None, ("neg", "pos")), (("neg", "pos"), ("0", "1"))])
def test_without_names_the_order_is_kept_and_reported(flags, base, tmp_path, capsys, there, here):
    found, message = rows_after(flags, headed(base, tmp_path / "headed", there), tmp_path, capsys, here)
    assert found == [1, 2] and "is kept with its rows in their order" in message


@pytest.mark.parametrize("there", [("LABEL_0", "LABEL_1"), ("0", "1"), ("-1", "0")])
def test_a_head_of_other_integers_is_drawn(flags, base, tmp_path, capsys, there):
    here = ("0", "1") if "-1" in there else ("1", "2")
    found, message = rows_after(flags, headed(base, tmp_path / "headed", there), tmp_path, capsys, here)
    assert found is None and "a new head is drawn" in message


def test_named_tasks_too(flags, base, tmp_path, capsys):
    names = TASKS["mrpc"].labels
    turned = tuple(name.upper() for name in reversed(names))
    assert rows_after(flags, headed(base, tmp_path / "headed", turned), tmp_path, capsys)[0] == [2, 1]


def test_a_head_of_one_score_is_kept_for_scores(flags, base, tmp_path, capsys):
    one = headed(base, tmp_path / "headed", None, num_labels=1)
    assert rows_after(flags, one, tmp_path, capsys, scores=True) == ([1], "")


def test_a_head_of_one_class_is_not_taken_for_scores(flags, base, tmp_path, capsys):
    one = headed(base, tmp_path / "headed", ("toxic",), problem_type="multi_label_classification")
    found, message = rows_after(flags, one, tmp_path, capsys, scores=True)
    assert found is None or found != [1]
    assert "toxic, not for scores" in message


def test_a_trained_head_answers_right_before_any_step(flags, base, tmp_path, capsys):
    """The same model has the same accuracy for every order of its label names."""
    rows = [(a, b, ("neg", "pos")[i % 2], i) for a, b, _, i in pairs(48, 5)]
    file = write_rows(tmp_path / "data.csv", rows, ("text", "more", "label", "idx"))
    own = dict.fromkeys((*OWN, "task_name")) | {"method": "head", "train_file": file, "validation_file": file}
    own |= {"learning_rate": 0, "num_train_epochs": 1}
    found = []
    for labels in (("neg", "pos"), ("pos", "neg")):
        folder = headed(base, tmp_path / labels[0], labels)
        model = BertForSequenceClassification.from_pretrained(folder)
        generator = torch.Generator().manual_seed(3)
        weight = torch.randn(2, 32, generator=generator)
        with torch.no_grad():
            model.classifier.weight.copy_(weight if labels[0] == "neg" else weight.flip(0))
            model.classifier.bias.zero_()
        model.save_pretrained(folder)
        out = tmp_path / f"out {labels[0]}"
        assert main(argv(flags, **own, model_name_or_path=folder, output_dir=out)) == 0
        found.append(record_of(out)["metrics"]["eval_loss"])
    capsys.readouterr()
    assert found[0] == pytest.approx(found[1])


@pytest.mark.parametrize("fitting", [lambda tensor: None, lambda tensor: tensor[:-1]], ids=["missing", "another size"])
def test_an_encoder_that_the_checkpoint_does_not_hold_is_refused(flags, base, tmp_path, capsys, fitting):
    folder = headed(base, tmp_path / "headed", ("neg", "pos"))
    name, file = "bert.encoder.layer.0.output.dense.bias", folder / "model.safetensors"
    tensors = safetensors.torch.load_file(file)
    tensors[name] = fitting(tensors[name])
    held = {name: tensor for name, tensor in tensors.items() if tensor is not None}
    safetensors.torch.save_file(held, file, {"format": "pt"})
    error = refused(capsys, argv(flags, model_name_or_path=folder))
    assert "lacks 1 weights of the encoder, or has them in other sizes than its config.json" in error and name in error
    assert not flags["output_dir"].exists()
