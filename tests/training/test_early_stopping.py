"""Early stopping: it ends with the best model, counts as a finished run, and goes on counting after a resume."""

import json

import pytest
from helpers import argv, assert_equal_runs, kill_9_after_checkpoint, record_of, refused

from run_glue_tensorized import main
from tensorized_adapters.training.callbacks import EarlyStopping

# No accuracy is better by more than 1, so the second and the third evaluation count as no better than the first.
NEVER_BETTER = {"early_stopping_patience": 2, "early_stopping_threshold": 1, "metric_for_best_model": "accuracy"}
NEVER_BETTER |= {"num_train_epochs": 6, "per_device_train_batch_size": 16, "learning_rate": 0.02}


def test_a_resumed_run_stops_where_it_would_have_with_the_same_bits(flags, tmp_path, capsys):
    """Classes are weighted. The run is interrupted while it counts, and after it has decided to stop."""
    flags |= NEVER_BETTER | {"class_weights": "equivalent=3,not_equivalent=1"}
    complete = flags["output_dir"]
    assert main(argv(flags)) == 0
    assert "stopped early at step 9 of 18" in capsys.readouterr().out
    record = record_of(complete)
    assert record["status"] == "finished" and record["stopped_early_at_step"] == 9 == len(record["step_losses"])
    scores = [entry["eval_accuracy"] for entry in record["history"]]
    assert len(scores) == 3 and record["metrics"]["eval_accuracy"] == max(scores)
    assert record["arguments"]["load_best_model_at_end"] is True
    assert record["best_epoch"] == record["history"][0]  # whichever has the best F1, these weights were kept
    for checkpoint in (2, 3):
        out = tmp_path / f"killed-{checkpoint}"
        kill_9_after_checkpoint(argv(flags, output_dir=out), checkpoint)
        state = json.loads((out / f"checkpoint-{3 * checkpoint}" / "trainer_state.json").read_text())
        kept = state["stateful_callbacks"][EarlyStopping.__name__]["attributes"]
        assert kept == {"early_stopping_patience_counter": checkpoint - 1}
        assert main(argv(flags, output_dir=out)) == 0
        assert f"going on from {out / f'checkpoint-{3 * checkpoint}'}" in capsys.readouterr().out
        assert record_of(out)["stopped_early_at_step"] == 9
        assert_equal_runs(complete, out)
    assert main(argv(flags)) == 0
    assert "holds this run, finished; nothing to do" in capsys.readouterr().out


@pytest.mark.parametrize(
    "changes",
    [
        {"num_train_epochs": 4, "eval_on_start": True, "early_stopping_patience": 2, "learning_rate": 0.02},
        {"max_steps": 4, "lr_scheduler_type": "constant"},  # the last step lies within an epoch
    ],
)
def test_a_resumed_run_does_nothing_twice(flags, tmp_path, changes):
    complete, killed = tmp_path / "complete", tmp_path / "killed"
    assert main(argv(flags, output_dir=complete, **changes)) == 0
    kill_9_after_checkpoint(argv(flags, output_dir=killed, **changes), 1)
    assert main(argv(flags, output_dir=killed, **changes)) == 0
    assert record_of(killed)["resumed_from"]
    assert_equal_runs(complete, killed)


def test_without_the_best_model_and_by_steps(flags, capsys):
    """The last model stays. A checkpoint saved without early stopping can be resumed with it."""
    flags |= NEVER_BETTER | {"eval_strategy": "steps", "eval_steps": 2, "metric_for_best_model": None}
    flags |= {"early_stopping_patience": 1}
    plain = {"early_stopping_patience": None, "early_stopping_threshold": None, "max_steps": 4}
    first = flags["output_dir"].with_name("first")
    assert main(argv(flags, output_dir=first, save_strategy="steps", save_steps=2, **plain)) == 0
    words = argv(flags, load_best_model_at_end=False, resume_from_checkpoint=first / "checkpoint-2")
    assert main(words) == 0
    assert "note: early stopping watches the evaluation's loss" in capsys.readouterr().out
    record = record_of(flags["output_dir"])
    assert record["stopped_early_at_step"] == 6  # the checkpoint of step 2 knows no best model yet
    assert record["metrics"]["eval_loss"] == record["history"][-1]["eval_loss"]
    assert record["arguments"]["metric_for_best_model"] == "loss" and record["arguments"]["save_steps"] != 2


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"early_stopping_patience": 0}, "--early_stopping_patience must be above 0"),
        ({"early_stopping_threshold": -1}, "--early_stopping_threshold must be at least 0"),
        ({"early_stopping_patience": None}, "--early_stopping_threshold needs --early_stopping_patience"),
        ({"eval_strategy": "no"}, "--early_stopping_patience needs evaluations while training"),
        ({"do_eval": None}, "--early_stopping_patience needs evaluations while training"),
        ({"save_strategy": "no"}, "give --save_strategy epoch or best, or --load_best_model_at_end False"),
        ({"save_strategy": "steps"}, "give --save_strategy epoch or best"),
        ({"eval_strategy": "steps", "eval_steps": 2, "save_steps": 3}, "multiple of the evaluation steps"),
        ({"metric_for_best_model": "pearson"}, "--metric_for_best_model pearson does not suit 2 classes"),
    ],
)
def test_what_cannot_stop_early_is_refused(capsys, flags, changes, message):
    flags |= {"early_stopping_patience": 1, "early_stopping_threshold": 0.1}
    assert message in refused(capsys, argv(flags, **changes), flags["output_dir"])
