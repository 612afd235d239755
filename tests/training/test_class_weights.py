"""Weights of classes: torch's own loss over the examples of a step, and everything that depends on the frequencies."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from helpers import argv, pairs, record_of, refused, tensors_of, tiny_model, write_rows
from sklearn.utils.class_weight import compute_class_weight
from torch.nn import CrossEntropyLoss
from transformers import TrainingArguments

from run_glue_tensorized import main
from tensorized_adapters import AdapterConfig, UsageError, add_adapters
from tensorized_adapters.backbone.loading import set_label_prior_
from tensorized_adapters.data.class_weights import class_weights, imbalance
from tensorized_adapters.training.collapse import loss_of_best_constant
from tensorized_adapters.training.losses import WeightedLoss
from tensorized_adapters.training.trainer import AdapterTrainer

NAMES = ("a", "b", "c")
WEIGHTS = (0.5, 4.0, 1.5)


def test_weights_by_frequency_are_scikit_learns():
    labels = np.random.default_rng(0).choice(3, 200, p=[0.7, 0.25, 0.05])
    balanced = compute_class_weight("balanced", classes=np.arange(3), y=labels)
    assert class_weights("balanced", NAMES, labels.tolist()) == pytest.approx(balanced)
    assert class_weights("sqrt", NAMES, labels.tolist()) == pytest.approx(np.sqrt(balanced))


def test_weights_by_name():
    assert class_weights("c=1.5, a=.5,b=4", NAMES, []) == WEIGHTS
    assert class_weights('"x, y=2",a=b=3', ("x, y", "a=b"), []) == (2, 3)


@pytest.mark.parametrize(
    "text, names, message",
    [
        ("balance", NAMES, "must be balanced, sqrt, or NAME=W for each class between commas, got 'balance'"),
        ("a=1,b=2,c=x", NAMES, "got 'c=x'"),
        ("a=1,b=2,=3", NAMES, "got '=3'"),
        ("a=1,b=0,c=1", NAMES, "'b=0': a weight must be above 0"),
        ("a=1,b=-1,c=1", NAMES, "'b=-1': a weight must be above 0"),
        ("a=1,b=nan,c=1", NAMES, "'b=nan': a weight must be above 0"),
        ("a=1,b=inf,c=1", NAMES, "'b=inf': a weight must be above 0"),
        ("a=1,b=1", NAMES, "has no weight for the class 'c'"),
        ("a=1,b=1,d=1", NAMES, "names the class 'd', and the classes are a, b, c"),
        ("q=1,y=2", ("q", "y, z"), "names the class 'y', and the classes are q, 'y, z'"),
        (
            '"q, z"=2,y=1',
            ("q, z", "y"),
            "is quoted together with its weight, and a quote in it is doubled, as in '\"a, b=2\",c=1'",
        ),
        ('"q, z=2,y=1', ("q, z", "y"), "cannot be read; a name with a comma or a quote is quoted"),
        ("q, z=2,y=1", ("q, z", "y"), "got 'q'; a name with a comma or a quote is quoted together with its weight"),
        ("a=1,a=2,b=1,c=1", NAMES, "names the class 'a' twice"),
        (
            "balanced",
            NAMES,
            "--class_weights balanced counts the examples of each class, and no training example is of the class 'c'; "
            "give each class a weight as NAME=W",
        ),
        ("balanced", None, "is for classes, and these labels are scores"),
    ],
)
def test_weights_that_cannot_be(text, names, message):
    with pytest.raises(UsageError, match="--class_weights") as error:
        class_weights(text, names, [0, 1, 1])
    assert message in str(error.value)


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("counts", [[[8, 8], [8, 3]], [[4], [0]], [[5], [5]], [[2, 2, 2], [2, 2, 1]]])
def test_the_loss_of_a_step_is_torchs_over_its_examples(counts, smoothing):
    """This holds for every division into batches. ``counts`` are those of each process's batches."""
    generator = torch.Generator().manual_seed(len(counts[0]))
    sizes = [[max(count, 1) for count in many] for many in counts]
    batches = [
        [(torch.randn(n, 3, generator=generator), torch.randint(3, (n,), generator=generator)) for n in many]
        for many in sizes
    ]
    real = [(x[:n], y[:n]) for own, many in zip(batches, counts) for (x, y), n in zip(own, many)]
    logits, labels = (torch.cat(parts) for parts in zip(*real))
    expected = CrossEntropyLoss(weight=torch.tensor(WEIGHTS), label_smoothing=smoothing)(logits, labels)
    total = torch.tensor(WEIGHTS)[labels].sum()
    accelerator = SimpleNamespace(device="cpu", num_processes=len(counts), reduce=lambda own, reduction: total)
    found = 0.0
    for own, many in zip(batches, counts):
        loss = WeightedLoss(WEIGHTS, smoothing, accelerator)
        shares = loss.shares([{"labels": y} for _, y in own], many)
        of_process = sum(loss(x, y) * share / len(own) for (x, y), share in zip(own, shares))
        found += of_process / len(counts)  # as the Trainer divides by batches and averages over processes
    assert found == pytest.approx(expected)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_training_is_weighted_and_evaluation_is_not(tmp_path, smoothing):
    model = tiny_model(num_labels=3, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
    add_adapters(model, AdapterConfig(method="bitfit"))
    arguments = TrainingArguments(output_dir=str(tmp_path), use_cpu=True, label_smoothing_factor=smoothing)
    rates = dict.fromkeys(("adapters", "layer_norm", "head", "backbone"), 0.1)
    trainer = AdapterTrainer(model=model, args=arguments, rates=rates, notes={}, arguments={}, class_weights=WEIGHTS)
    inputs = {"input_ids": torch.randint(5, 20, (6, 9)), "labels": torch.tensor([0, 1, 2, 0, 0, 2])}
    with torch.no_grad():
        logits = model(input_ids=inputs["input_ids"]).logits
        for mode, weight in ((model.train, torch.tensor(WEIGHTS)), (model.eval, None)):
            mode()
            expected = CrossEntropyLoss(weight=weight, label_smoothing=smoothing)(logits, inputs["labels"])
            assert trainer.compute_loss(model, dict(inputs)).item() == pytest.approx(expected.item(), rel=1e-5)


def test_the_best_constants_loss_and_the_prior_agree_with_the_weights():
    labels, weights = [0, 1, 1, 1, 2, 2, 0, 1], torch.tensor(WEIGHTS)
    for smoothing in (0.0, 0.2):
        logits = torch.zeros(3, requires_grad=True)
        optimizer = torch.optim.SGD([logits], lr=1.0)
        for _ in range(300):
            optimizer.zero_grad()
            loss = CrossEntropyLoss(weight=weights, label_smoothing=smoothing)(
                logits.expand(8, 3), torch.tensor(labels)
            )
            loss.backward()
            optimizer.step()
        assert loss_of_best_constant(labels, 3, smoothing, WEIGHTS) == pytest.approx(loss.item(), abs=1e-5)
        if not smoothing:
            best = logits.detach().log_softmax(0)
    model = tiny_model(num_labels=3)
    assert set_label_prior_(model, labels, {"classifier.bias"}, WEIGHTS)
    assert torch.allclose(model.classifier.bias.detach(), best, atol=1e-4)
    assert loss_of_best_constant(labels, 3, weights=(2, 2, 2)) == pytest.approx(loss_of_best_constant(labels, 3))


def test_a_rare_class_is_named():
    assert imbalance(("no", "yes"), [0] * 100 + [1] * 10) is None
    line = imbalance(("no", "yes"), [0] * 100 + [1] * 9)
    assert line.startswith("9 training examples are of the class 'yes' and 100 of 'no'; --class_weights balanced")
    line = imbalance(("a", "b", "c", "d"), [0] * 7 + [1] * 7)
    assert line.startswith("no training example is of the class c, d, so that the run learns nothing about it; ")
    assert "--max_train_samples" in line and "--class_weights" not in line  # which would be refused


def test_runs_accumulate_to_the_same_and_keep_the_weights(flags, still_base, tmp_path, capsys):
    rows = [row for row in pairs(48, 1) if row[2] == 0 or row[3] < 4]  # 24 examples of one class and 2 of the other
    flags |= {"model_name_or_path": still_base, "train_file": write_rows(tmp_path / "rare.csv", rows)}
    flags |= {"num_train_epochs": 1, "eval_strategy": "no", "save_strategy": "no", "label_smoothing_factor": 0.1}
    one, two = tmp_path / "one", tmp_path / "two"
    assert main(argv(flags, class_weights="balanced", output_dir=one)) == 0
    assert "training examples are of the class" not in capsys.readouterr().out
    shares = {"per_device_train_batch_size": 2, "gradient_accumulation_steps": 4}
    assert main(argv(flags, class_weights="balanced", output_dir=two, **shares)) == 0
    ours, theirs = tensors_of(one), tensors_of(two)
    assert all(torch.allclose(ours[name], theirs[name], rtol=1e-5, atol=1e-5) for name in ours)
    losses = [record_of(folder)["step_losses"] for folder in (one, two)]
    assert losses[0] == pytest.approx(losses[1], abs=1e-5) and len(losses[0]) == 4
    assert record_of(one)["class_weights"] == {"not_equivalent": 26 / 48, "equivalent": 26 / 4}
    capsys.readouterr()
    assert main(argv(flags, output_dir=tmp_path / "plain")) == 0
    assert "note: 2 training examples are of the class 'equivalent' and 24 of" in capsys.readouterr().out
    record = record_of(tmp_path / "plain")
    assert "class_weights" not in record and not math.isclose(record["step_losses"][0], losses[0][0], rel_tol=1e-3)


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"class_weights": "equivalent=2"}, "has no weight for the class 'not_equivalent'"),
        ({"class_weights": "equivalent=0,not_equivalent=1"}, "a weight must be above 0"),
        ({"class_weights": "even"}, "--class_weights must be balanced, sqrt, or NAME=W"),
        ({"class_weights": "balanced", "do_train": None}, "--do_train"),
    ],
)
def test_bad_weights_are_refused(capsys, flags, changes, message):
    assert message in refused(capsys, argv(flags, **changes), flags["output_dir"])
