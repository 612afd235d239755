"""A training that collapses to a constant prediction prints one line. One that learns, or has not begun to, prints
none."""

import math
from types import SimpleNamespace

import pytest
import torch
from helpers import OWN, argv, assert_equal_runs, pairs, record_of, write_rows
from transformers.training_args import OptimizerNames

from run_glue_tensorized import main
from tensorized_adapters.training.collapse import CollapseGuard, loss_of_best_constant
from tensorized_adapters.training.losses import StepLosses

CONSTANT = math.log(2)
COLLAPSING = {"learning_rate": 0.1, "head_start": "random", "num_train_epochs": 40, "per_device_train_batch_size": 48}
COLLAPSING |= {"save_strategy": "steps", "save_steps": 35, "eval_strategy": "no"}


def collapse(losses, norms, constant=CONSTANT, every=5, epsilon=1e-8, optim="adamw_torch"):
    """The step and the lines of a guard that reads ``every`` so many of the steps."""
    lines, kept = [], StepLosses()
    guard = CollapseGuard(kept, constant, lines.append)
    arguments, state = (
        SimpleNamespace(learning_rate=2e-3, adam_epsilon=epsilon, optim=optim),
        SimpleNamespace(max_steps=len(losses)),
    )
    for step, loss in enumerate(losses, 1):
        kept.add(torch.tensor(loss), ends_step=True)
        if norms:
            kept.add_norm(torch.tensor(norms[step - 1]))
        control = SimpleNamespace(should_log=step % every == 0, should_evaluate=False, should_save=False)
        for callback in (kept, guard):
            callback.on_step_end(arguments, state, control)
    for callback in (kept, guard):
        callback.on_epoch_end(arguments, state, control)
    return guard.step, lines


FALLING = [2.5] * 30 + [0.1] * 70  # of the gradient norm
FLAT = [0.7] * 100
LEARNING = [0.7] * 30 + [0.5] * 70


def test_a_collapse_is_reported_once_at_the_same_step_however_often_losses_are_read():
    for every in (1, 5, 7, 100):
        step, lines = collapse(FLAT, FALLING, every=every)
        assert step == 50 and len(lines) == 1
        assert "collapsed to a constant prediction by step 50 of 100" in lines[0]
        advice = "try a lower --learning_rate than 0.002, or --optim adafactor, or --adam_epsilon 0.001"
        assert lines[0].endswith(f"from 2.5 to 0.1; {advice}")
    assert collapse(FLAT, FALLING, epsilon=1e-3)[1][0].endswith("--learning_rate than 0.002, or --optim adafactor")
    assert collapse(FLAT, FALLING, optim=OptimizerNames.SGD)[1][0].endswith("a lower --learning_rate than 0.002")
    assert collapse(FLAT, FALLING, optim=OptimizerNames.ADAMW_TORCH)[1][0].endswith(", or --adam_epsilon 0.001")
    assert collapse([0.685] * 100, FALLING)[0] == 50  # within 2 % below the constant's loss
    assert collapse([3.0] * 100, FALLING)[0] == 50  # far above it


@pytest.mark.parametrize(
    ("losses", "norms"),
    [
        (LEARNING, FALLING),  # it has learnt and its gradient vanishes
        ([0.67] * 100, FALLING),
        (FLAT, [2.5] * 100),  # it has not begun
        (FLAT, [2.5] * 30 + [0.3] * 70),
        (FLAT[:9], [2.5] + [0.1] * 8),  # too few steps to tell
        ([0.7] * 30 + [0.5] * 5 + [0.01] * 65, [2.5] * 35 + [0.001] * 65),
        ([0.7] * 38 + [0.6] * 62, [9.0] + [0.7] * 99),  # one large first step, and a plateau that it leaves
        (FLAT, []),  # half precision gives no norms
    ],
)
def test_it_is_silent_otherwise(losses, norms):
    assert collapse(losses, norms) == (None, [])


def test_the_best_constants_loss():
    assert loss_of_best_constant([0, 1, 1, 1], 2) == pytest.approx(-(0.25 * math.log(0.25) + 0.75 * math.log(0.75)))
    assert loss_of_best_constant([0, 1, 1, 1], 3) == loss_of_best_constant([0, 1, 1, 1], 2)
    assert loss_of_best_constant([1.0, 2.0, 3.0], None) == pytest.approx(2 / 3)
    labels, logits = torch.tensor([0, 1, 1, 1]), torch.zeros(3, requires_grad=True)
    optimizer = torch.optim.SGD([logits], lr=2.0)
    for _ in range(300):  # the best constant under label smoothing, found by descent
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(logits.expand(4, 3), labels, label_smoothing=0.2)
        loss.backward()
        optimizer.step()
    assert loss_of_best_constant(labels.tolist(), 3, smoothing=0.2) == pytest.approx(loss.item(), abs=1e-5)


def test_a_run_that_collapses_says_so_and_a_resumed_one_finds_the_same_step(flags, tmp_path, capsys):
    rows = [(one, other, int(i % 4 > 0), i) for one, other, _, i in pairs(48, 1)]
    flags |= COLLAPSING | {"train_file": write_rows(tmp_path / "train.csv", rows)}
    complete, resumed = flags["output_dir"], tmp_path / "resumed"
    assert main(argv(flags)) == 0
    assert capsys.readouterr().out.count("collapsed to a constant prediction") == 1
    step = record_of(complete)["collapsed_at_step"]
    assert 14 <= step <= 40
    assert main(argv(flags, resume_from_checkpoint=complete / "checkpoint-35", output_dir=resumed)) == 0
    assert record_of(resumed)["collapsed_at_step"] == step
    assert_equal_runs(complete, resumed)


def test_a_run_that_learns_is_silent(flags, tmp_path, capsys):
    rows = [("red" if i % 2 else "dog cat", "the", i % 2, i) for i in range(48)]
    file = write_rows(tmp_path / "easy.csv", rows)
    easy = dict.fromkeys(OWN) | {"method": "full", "train_file": file, "validation_file": file, "eval_strategy": "no"}
    assert main(argv(flags, **easy, learning_rate=3e-3, num_train_epochs=10)) == 0
    record = record_of(flags["output_dir"])
    assert record["metrics"]["eval_accuracy"] == 1 and "collapsed_at_step" not in record
    assert "collapsed" not in capsys.readouterr().out
