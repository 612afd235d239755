"""A sweep's folder without Ray: damaged files, full disks, earlier grids, and what is shown of it all."""

import errno
import json
import os
from pathlib import Path

import pytest
from grids import sweep, trials

from run_glue_tensorized import main as run
from tensorized_adapters.runtime import exits
from tensorized_adapters.sweeping.ledger import Ledger
from tensorized_adapters.sweeping.progress import Progress, trials_table

LOST = {"state": "failed", "reason": "its worker was lost too often", "last_lines": ["The node died"]}
LOST |= {"failures": 3, "seconds": 2.5}


def record_as(folder, trial, **changes):
    """Write a trial's run.json as the main job leaves it."""
    folder.mkdir(parents=True)
    record = {"program": "tensorized_adapters", "arguments": trial.resolved} | changes
    (folder / "run.json").write_text(json.dumps(record, default=str))


@pytest.mark.parametrize(
    "damage", ['{"trials": []', '{"trials": {"x": null}', '{"trials": {"x": {"state": "failed"}}', "{"]
)
def test_a_damaged_summary_costs_nothing_that_was_done(job, tmp_path, damage):
    """sweep.json is written again from the trials' own files, which hold their states."""
    [trial, other] = trials("--projection_types cp --ranks 2,3 --adapter_size 8", job)
    record_as(trial.folder(tmp_path), trial, status="failed", reason="the loss is NaN", seconds=9.5)
    text = damage + ', "program": "tensorized_adapters sweep", "timing": {}}' if len(damage) > 1 else damage
    (tmp_path / "sweep.json").write_text(text)
    ledger = Ledger(tmp_path, [trial, other])
    assert ledger.states() == {"failed": 1, "waiting": 1} and len(ledger.to_run()) == 2
    ledger.write()
    entry = json.loads((tmp_path / "sweep.json").read_text())["trials"][trial.name]
    assert entry["state"] == "failed" and entry["reason"] == "the loss is NaN" and entry["seconds"] == 9.5


DEEP = "[" * 100_000
ENTRY = {"state": "finished", "method": "x", "task": "y", "seed": 1, "words": [], "reason": "", "last_lines": []}


@pytest.mark.parametrize(
    ("damage", "kept"),
    [(DEEP, []), ("[]", []), ("", []), ("null", []), ({"seconds": None}, []), ({"task": None}, []), ({}, ["earlier"])],
)
def test_a_damaged_summary_is_reported(job, tmp_path, capsys, damage, kept):
    (tmp_path / "trials").mkdir()
    entry = ENTRY | {"score": None, "seconds": 0.0, "failures": 0}
    for lost in damage if isinstance(damage, dict) else ():
        del entry[lost]
    complete = {"program": "tensorized_adapters sweep", "timing": {}, "trials": {"earlier": entry}}
    (tmp_path / "sweep.json").write_text(damage if isinstance(damage, str) else json.dumps(complete))
    words = ["--projection_types", "cp", "--ranks", "2", "--output_dir", str(tmp_path), "--dry_run"]
    assert sweep.main([*words, *job]) == 0
    message = capsys.readouterr().err
    assert message.count("\n") == (not kept) and ("sweep.json is damaged; it is written anew" in message) == (not kept)
    [trial] = trials("--projection_types cp --ranks 2", job)
    assert [name for name in Ledger(tmp_path, [trial]).entries if name != trial.name] == kept


@pytest.mark.parametrize(
    "record",
    [DEEP, "{", "[]", '{"program": "wandb"}', None,
     '{"program": "tensorized_adapters", "status": "running", "arguments": {"input_sha256": [1]}}',
     '{"program": "tensorized_adapters", "status": "running", "arguments": {"seed": 7}}'],
)  # fmt: skip
def test_a_damaged_record_costs_only_its_trial(job, tmp_path, record):
    damaged, other = trials("--projection_types cp --ranks 2,3", job)
    folder = damaged.folder(tmp_path)
    folder.mkdir(parents=True)
    (folder / "run.json").mkdir() if record is None else (folder / "run.json").write_text(record)
    ledger = Ledger(tmp_path, [damaged, other])
    assert ledger.states() == {"failed": 1, "waiting": 1} and ledger.to_run() == [other]
    [line] = ledger.notes
    assert f"{folder} is not as this sweep left it; move it away" in line and "\n" not in line


def test_a_contribution_that_a_finished_trial_has_not_measured_is_a_note(job, tmp_path, capsys):
    words = "--projection_types cp --ranks 2,3 --methods head"
    plain, measuring = trials(words, job), trials(f"{words} --measure_contribution True", job)
    for trial in plain:
        if trial.config.describe() != "cp-3":
            assert run(trial.command(tmp_path)[1:]) == 0
    capsys.readouterr()
    ledger = Ledger(tmp_path, measuring)
    assert ledger.states() == {"finished": 2, "waiting": 1}
    ledger.print_notes()
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("note: trained without --measure_contribution: 1 of the finished trials; another --output")
    assert not Ledger(tmp_path, plain).notes
    [measured] = [trial for trial in measuring if trial.config.describe() == "cp-2"]
    path = measured.folder(tmp_path) / "run.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"contribution": {}}))
    assert not Ledger(tmp_path, measuring).notes


def test_the_lost_adapter_of_a_finished_trial_is_noted(job, tmp_path):
    [trial] = trials("--projection_types cp --ranks 2", job)
    assert run(trial.command(tmp_path)[1:]) == 0
    assert not Ledger(tmp_path, [trial]).notes
    (trial.folder(tmp_path) / "adapter" / "adapter_config.json").unlink()
    ledger = Ledger(tmp_path, [trial])
    assert ledger.states() == {"finished": 1}
    [note] = ledger.notes
    assert "adapter_config.json" in note and note.endswith("move the trial's folder away to train it again")


@pytest.mark.parametrize("when", ["before Ray", "later"])
def test_a_full_disk_is_one_line(job, tmp_path, capsys, monkeypatch, when):
    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    if when == "later":
        monkeypatch.setattr(sweep, "_run", full)
    else:
        monkeypatch.setattr(
            "tensorized_adapters.sweeping.trial.disk_is_full", lambda folder: os.strerror(errno.ENOSPC)
        )
    words = ["--projection_types", "cp", "--ranks", "2", "--output_dir", str(tmp_path / "s")]
    assert exits.run(sweep.main, [*words, *job]) == 1
    captured = capsys.readouterr()
    assert captured.err == (
        f"failed: {tmp_path / 's'} cannot be written (No space left on device); nothing is lost: make room, "
        "then give the same command again\n"
    )
    assert not captured.out and not list(tmp_path.iterdir())


def test_what_users_and_trials_wrote_is_shown_as_it_is(job, tmp_path, capsys):
    """Folder, data and reasons have names and lines with markup and a terminal's control sequences."""
    evil = "[/b][red]\x1b[2J"
    for flag in ("--train_file", "--validation_file"):
        copy = tmp_path / f"{evil.replace('/', '')}.csv"
        copy.write_text(Path(job[job.index(flag) + 1]).read_text())
        job[job.index(flag) + 1] = str(copy)
    [trial] = trials("--projection_types cp --ranks 2", job)
    out = tmp_path / "[red]s"
    (out / "trials").mkdir(parents=True)
    words = ["--projection_types", "cp", "--ranks", "2", "--output_dir", str(out)]
    bad = {"state": "failed", "reason": evil, "last_lines": [evil], "failures": 1, "seconds": 1.0}
    Ledger(out, [trial]).ended(trial.name, bad)
    assert sweep.main([*words, *job, "--dry_run"]) == 0
    message = capsys.readouterr().out
    assert "[/b][red]\\x1b[2J" in message and "\x1b" not in message
    ledger = Ledger(out, [trial])
    with Progress(ledger, 1) as progress:
        progress.started(trial.name)
        progress.console.print(progress.get_renderable())
        progress.ended(trial.name, bad)
        progress.console.print(progress.get_renderable())
    message = capsys.readouterr().out
    assert "last line: [/b][red]\\x1b[2J" in message and "\x1b" not in message


def test_trials_of_an_earlier_grid_stay_on_the_list(job, tmp_path):
    [earlier] = trials("--projection_types cp --ranks 2", job)
    Ledger(tmp_path, [earlier]).write()
    [later] = trials("--projection_types cp --ranks 3", job)
    ledger = Ledger(tmp_path, [later])
    ledger.write()
    assert set(json.loads((tmp_path / "sweep.json").read_text())["trials"]) == {earlier.name, later.name}
    assert ledger.states() == {"waiting": 1}


def test_why_a_trial_failed_is_kept_and_it_gets_another_chance(job, tmp_path):
    [trial, other] = trials("--projection_types cp --ranks 2,3", job)
    first = Ledger(tmp_path, [trial, other])
    (tmp_path / "trials").mkdir()
    first.started(trial.name)
    first.ended(trial.name, LOST)
    assert first.states() == {"failed": 1, "waiting": 1}
    second = Ledger(tmp_path, [trial, other])
    assert second.states() == {"failed": 1, "waiting": 1} and second.to_run() == [trial, other]
    assert second.entries[trial.name] | {key: LOST[key] for key in LOST} == second.entries[trial.name]
    second.started(trial.name)
    record_as(trial.folder(tmp_path), trial, status="interrupted")
    second.refresh(trial.name)
    assert second.states() == {"interrupted": 1, "waiting": 1} and second.entries[trial.name]["reason"] == ""
    assert second.entries[trial.name]["failures"] == 3


@pytest.mark.parametrize(("metric", "first"), [("f1", 1), ("mean_absolute_error", 0)])
def test_the_best_so_far_is_the_lowest_error_or_the_highest_score(job, tmp_path, metric, first):
    planned = trials("--projection_types cp --ranks 2,3", job)
    ledger = Ledger(tmp_path, planned)
    for trial, score in zip(planned, (0.25, 0.75)):
        ledger.entries[trial.name] |= {"state": "finished", "score": {metric: score}}
    [best] = Progress(ledger, 1)._best().values()
    assert best is ledger.entries[planned[first].name]


def test_a_record_that_another_machine_wrote_is_waited_for(job, tmp_path, monkeypatch):
    [trial] = trials("--projection_types cp --ranks 2", job)
    ledger, naps = Ledger(tmp_path, [trial]), []

    def nap(seconds):
        naps.append(seconds)
        metrics = {"metrics": {"eval_f1": 0.5}, "primary_metric": "f1", "method": "", "task": ""}
        metrics["parameters"] = {"trained": 1, "model": 2}
        record_as(trial.folder(tmp_path), trial, status="finished", **metrics)

    monkeypatch.setattr("tensorized_adapters.sweeping.ledger.time.sleep", nap)
    ledger.ended(trial.name, LOST | {"state": "finished", "reason": "", "last_lines": [], "failures": 0})
    assert len(naps) == 1 and ledger.states() == {"finished": 1} and ledger.entries[trial.name]["score"] == {"f1": 0.5}
    # The plan does not know how many labels the data has, and so how large the head is.
    columns = {column.header: [*column.cells] for column in trials_table(ledger, "").columns}
    assert [str(columns[name][0]) for name in ("trained", "%")] == ["1", "50.0000"]
    assert ledger.entries[trial.name]["trained"] == 1
