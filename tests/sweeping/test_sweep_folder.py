"""A sweep's folder without Ray: damaged files, full disks, earlier grids, and what is shown of it all."""

import errno
import json
import os
from pathlib import Path

import pytest
from grids import sweep, trials

from tensorized_adapters.runtime import exits
from tensorized_adapters.sweeping.ledger import Ledger
from tensorized_adapters.sweeping.notes import is_damaged, read_note, write_note
from tensorized_adapters.sweeping.progress import Progress


@pytest.mark.parametrize(
    "damage", ['{"trials": []', '{"trials": {"x": null}', '{"trials": {"x": {"state": "failed"}}', "{"]
)
def test_a_damaged_ledger_costs_nothing(job, tmp_path, damage):
    """What became of the trials stands in their own files, from which sweep.json is written anew."""
    [trial, other] = trials("--projection_types cp --ranks 2,3 --adapter_size 8", job)
    lost = {"reason": "killed by SIGKILL", "last_lines": ["Aborted"], "failures": 3, "seconds": 9.5}
    write_note(tmp_path / "logs" / f"{trial.name}.json", {"start": "before", "state": "failed"} | lost)
    write_note(tmp_path / "logs" / f"{other.name}.json", {"start": 1, "state": "failed", "seconds": "x"})
    (tmp_path / "trials").mkdir()
    text = damage + ', "program": "tensorized_adapters sweep", "timing": {}}' if len(damage) > 1 else damage
    (tmp_path / "sweep.json").write_text(text)
    ledger = Ledger(tmp_path, [trial, other])
    assert ledger.states() == {"failed": 1, "waiting": 1} and len(ledger.to_run()) == 2
    ledger.write()
    entry = json.loads((tmp_path / "sweep.json").read_text())["trials"][trial.name]
    assert entry["state"] == "failed" and lost.items() <= entry.items()


DEEP = "[" * 100_000
ENTRY = {"state": "finished", "method": "x", "task": "y", "seed": 1, "words": [], "reason": "", "last_lines": []}


@pytest.mark.parametrize(
    ("damage", "kept"),
    [(DEEP, []), ("[]", []), ("", []), ("null", []), ({"seconds": "x"}, []), ({"last_lines": [1]}, []),
     ({"score": {"f1": "high"}}, []), ({"task": None}, []), ({}, ["earlier"])],
)  # fmt: skip
def test_a_damaged_ledger_is_told_of(job, tmp_path, capsys, damage, kept):
    (tmp_path / "trials").mkdir()
    entry = ENTRY | {"score": None, "seconds": 0.0} | (damage if isinstance(damage, dict) else {})
    whole = {"program": "tensorized_adapters sweep", "timing": {}, "trials": {"earlier": entry}}
    (tmp_path / "sweep.json").write_text(damage if isinstance(damage, str) else json.dumps(whole))
    words = ["--projection_types", "cp", "--ranks", "2", "--output_dir", str(tmp_path), "--dry_run"]
    assert sweep.main([*words, *job]) == 0
    told = capsys.readouterr().err
    assert told.count("\n") == (not kept) and ("sweep.json is damaged; it is written anew" in told) == (not kept)
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
    assert f"{folder} is no longer what this sweep left there; move it away" in line and "\n" not in line


@pytest.mark.parametrize("note", [DEEP, "[]", "{", "null", '{"start": "x", "state": "failed"}'])
def test_a_damaged_note_costs_only_what_it_told(job, tmp_path, note):
    damaged, other = trials("--projection_types cp --ranks 2,3", job)
    (tmp_path / "logs").mkdir()
    (tmp_path / "trials").mkdir()
    (tmp_path / "logs" / f"{damaged.name}.json").write_text(note)
    ledger = Ledger(tmp_path, [damaged, other])
    assert ledger.states() == {"waiting": 2} and len(ledger.to_run()) == 2
    assert [f"{damaged.name}.json is damaged" in line for line in ledger.notes] == [True]


@pytest.mark.parametrize("notes", [{"seconds": -1.0}, {"seconds": float("inf")}, {"last_lines": [{}]}])
def test_a_note_of_other_kinds_is_as_blank_as_needed(tmp_path, notes):
    blank = read_note(tmp_path / "none.json")
    write_note(tmp_path / "x.json", blank | {"state": "failed"} | notes)
    assert read_note(tmp_path / "x.json") == blank | {"state": "failed"} and is_damaged(tmp_path / "x.json")


@pytest.mark.parametrize("when", ["before Ray", "later"])
def test_a_full_disk_is_one_line(job, tmp_path, capsys, monkeypatch, when):
    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    if when == "later":
        monkeypatch.setattr(sweep, "_run", full)
    else:
        monkeypatch.setattr(
            "tensorized_adapters.sweeping.notes.disk_is_full", lambda folder: os.strerror(errno.ENOSPC)
        )
    words = ["--projection_types", "cp", "--ranks", "2", "--output_dir", str(tmp_path / "s")]
    assert exits.run(sweep.main, [*words, *job]) == 1
    captured = capsys.readouterr()
    assert captured.err == (
        f"failed: {tmp_path / 's'} cannot be written (No space left on device); nothing is lost: the same command "
        "goes on once it can be\n"
    )
    assert not captured.out and not list(tmp_path.iterdir())


def test_what_users_and_trials_wrote_is_shown_as_it_is(job, tmp_path, capsys):
    """Names and last lines with markup and a terminal's sequences, in the folder, the data, the reasons."""
    evil = "[/b][red]\x1b[2J"
    for flag in ("--train_file", "--validation_file"):
        copy = tmp_path / f"{evil.replace('/', '')}.csv"
        copy.write_text(Path(job[job.index(flag) + 1]).read_text())
        job[job.index(flag) + 1] = str(copy)
    [trial] = trials("--projection_types cp --ranks 2", job)
    out = tmp_path / "[red]s"
    (out / "trials").mkdir(parents=True)
    words = ["--projection_types", "cp", "--ranks", "2", "--output_dir", str(out)]
    write_note(out / "logs" / f"{trial.name}.json", read_note(out) | {"state": "failed", "reason": evil, "start": "s"})
    assert sweep.main([*words, *job, "--dry_run"]) == 0
    told = capsys.readouterr().out
    assert "[/b][red]\\x1b[2J" in told and "\x1b" not in told
    ledger = Ledger(out, [trial])
    ledger.give_up(trial.name, evil, [evil])
    with Progress(ledger, 1) as progress:
        ledger.look(trial.name)
        progress.console.print(progress._tables())
    told = capsys.readouterr().out
    assert "last line: [/b][red]\\x1b[2J" in told and "\x1b" not in told


def test_trials_of_an_earlier_grid_stay_on_the_list(job, tmp_path):
    [earlier] = trials("--projection_types cp --ranks 2", job)
    Ledger(tmp_path, [earlier]).write()
    [later] = trials("--projection_types cp --ranks 3", job)
    ledger = Ledger(tmp_path, [later])
    ledger.write()
    assert set(json.loads((tmp_path / "sweep.json").read_text())["trials"]) == {earlier.name, later.name}
    assert ledger.states() == {"waiting": 1}


def test_a_trial_is_failed_when_it_is_given_up_and_gets_another_chance(job, tmp_path):
    [trial] = trials("--projection_types cp --ranks 2", job)
    first = Ledger(tmp_path, [trial])
    first.give_up(trial.name, "its worker was lost too often", ["The actor is dead"])
    first.look(trial.name)
    assert first.state_now(trial.name) == "failed" and first.states() == {"failed": 1}
    assert first.entries[trial.name]["last_lines"] == ["The actor is dead"]
    (tmp_path / "trials").mkdir()
    second = Ledger(tmp_path, [trial])
    assert second.state_now(trial.name) == ""  # that was another start of the sweep
    assert second.states() == {"failed": 1} and second.to_run() == [trial]
