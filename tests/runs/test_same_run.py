"""Two runs are the same by the contents of their files by role, and by their arguments."""

import json
import shutil

import pytest
from helpers import (
    argv,
    assert_equal_runs,
    glue_folder,
    kill_9_after_checkpoint,
    pairs,
    record_of,
    refused,
    save_base,
    spoil_step,
    write_rows,
)

from run_glue_tensorized import main
from tensorized_adapters.reporting.results import read_results
from tensorized_adapters.runs.read_record import read_record
from tensorized_adapters.training.checkpoints import checkpoints_in

FROM_A_FOLDER = {"train_file": None, "validation_file": None}


def _data_set(folder):
    folder.mkdir(exist_ok=True)
    return [write_rows(folder / f"{split}.csv", pairs(16, i)) for i, split in enumerate(("train", "validation"))]


@pytest.mark.parametrize("changed", ["train_file", "dataset_name", "glue_path", "model_name_or_path"])
@pytest.mark.parametrize("status", ["finished", "running"])
def test_contents_that_changed_are_another_run(flags, tmp_path, capsys, changed, status):
    """Names of files do not matter, nor whether the run has finished or is to be resumed."""
    folder = tmp_path / "folder"
    if changed == "train_file":
        victim = _data_set(folder)[0]
        flags |= {"train_file": victim, "validation_file": _data_set(tmp_path / "other")[0]}  # of the same name
    elif changed == "dataset_name":
        victim = _data_set(folder)[0]
        flags |= FROM_A_FOLDER | {"task_name": None, "dataset_name": folder}
    elif changed == "glue_path":
        victim = glue_folder(folder, "mrpc", 16) / "mrpc" / "train.csv"
        flags |= FROM_A_FOLDER | {"glue_path": folder}
    else:
        save_base(folder)
        flags["model_name_or_path"] = folder
    assert main(argv(flags, num_train_epochs=1)) == 0
    record = flags["output_dir"] / "run.json"
    record.write_text(record.read_text().replace('"status": "finished"', f'"status": "{status}"'))
    if changed == "model_name_or_path":
        shutil.rmtree(folder)
        save_base(folder, seed=1)
    else:
        write_rows(victim, pairs(48, 9))
    role = "model" if changed == "model_name_or_path" else "train"
    assert f"other contents of the {role} files" in refused(capsys, argv(flags, num_train_epochs=1))


@pytest.mark.parametrize("name", ["model_name_or_path", "config_name", "tokenizer_name", "train_file"])
def test_a_path_that_is_written_in_another_way_is_the_same(flags, files, monkeypatch, capsys, name):
    path = files["train"] if name == "train_file" else flags["model_name_or_path"]
    assert main(argv(flags, num_train_epochs=1, **{name: path})) == 0
    monkeypatch.chdir(path.parent)
    assert main(argv(flags, num_train_epochs=1, **{name: f"./{path.name}"})) == 0
    assert "finished; nothing to do" in capsys.readouterr().out


def test_checkpoints_of_other_arguments_are_passed_over(flags, tmp_path, capsys, monkeypatch):
    """A run was resumed under another seed and stopped before a save, so the folder holds the old seed's
    checkpoints."""
    out = flags["output_dir"]
    assert main(argv(flags)) == 0
    with monkeypatch.context() as patched:
        spoil_step(patched, 2, lambda output: output.loss.data.fill_(float("nan")))
        assert main(argv(flags, seed=7, resume_from_checkpoint=out / "checkpoint-6")) == 1
    assert record_of(out)["seed"] == 7
    capsys.readouterr()
    assert main(argv(flags, seed=7)) == 0
    error = capsys.readouterr().err
    assert error.count("was trained under other arguments and is skipped") == 2
    assert main(argv(flags, seed=7, output_dir=tmp_path / "complete")) == 0
    assert_equal_runs(tmp_path / "complete", out)


@pytest.mark.parametrize("explicitly", ["by name", "True"])
def test_a_resume_under_what_its_optimizer_would_not_obey_is_refused(flags, tmp_path, capsys, explicitly):
    out = flags["output_dir"]
    assert main(argv(flags)) == 0
    before = {path: path.stat().st_mtime_ns for path in (out, *out.rglob("*"))}
    value = "True" if explicitly == "True" else out / "checkpoint-6"
    for changes in ({"learning_rate": 0.01}, {"weight_decay": 0.5}, {"lr_scheduler_type": "cosine"}):
        line = refused(capsys, argv(flags, resume_from_checkpoint=value, **changes))
        assert f"--{next(iter(changes))}" in line and "--adapter_path" in line
    assert {path: path.stat().st_mtime_ns for path in (out, *out.rglob("*"))} == before
    capsys.readouterr()
    assert main(argv(flags, resume_from_checkpoint=value, num_train_epochs=3)) == 0  # this one takes effect
    assert "was trained under other arguments (--num_train_epochs 2" in capsys.readouterr().out
    assert checkpoints_in(out)[0].name == "checkpoint-18"
    started = record_of(out)["arguments"]["started_from"]  # a run of three epochs has another schedule
    assert started == {
        "checkpoint": f"checkpoint-{6 if value != 'True' else 12} (--num_train_epochs 2.0 there, 3.0 now)"
    }


def test_a_checkpoint_of_another_folder_replaces_no_run(flags, tmp_path, capsys):
    out, other = flags["output_dir"], tmp_path / "other"
    assert main(argv(flags, num_train_epochs=1)) == 0
    assert main(argv(flags, seed=7, output_dir=other)) == 0
    record = (out / "run.json").read_bytes()
    words = {"seed": 7, "resume_from_checkpoint": other / "checkpoint-6"}
    assert "holds a run with other arguments" in refused(capsys, argv(flags, **words), out)
    assert (out / "run.json").read_bytes() == record
    kill_9_after_checkpoint(argv(flags, **words, overwrite_output_dir=True), 1)
    capsys.readouterr()
    assert main(argv(flags, **words)) == 0
    assert f"going on from {out / 'checkpoint-12'}\n" in capsys.readouterr().out  # its own, which is the later one
    assert_equal_runs(other, out)


def test_a_start_from_a_checkpoint_of_another_run_is_a_setting(flags, tmp_path):
    """It stays in the record when the run is interrupted later. A checkpoint of the same run is no setting."""
    flags |= {"num_train_epochs": 3, "save_total_limit": 3}
    from_seed_5, scratch, moved = (
        {"output_dir": tmp_path / name, "seed": 6} for name in ("other", "scratch", "moved")
    )
    assert main(argv(flags, seed=5)) == 0
    for run, named in ((from_seed_5, flags["output_dir"] / "checkpoint-6"), (scratch, None)):
        kill_9_after_checkpoint(argv(flags | run, resume_from_checkpoint=named), 1)
        assert main(argv(flags | run)) == 0
        assert record_of(run["output_dir"])["resumed_from"].startswith(str(run["output_dir"]))
    assert main(argv(flags | moved, resume_from_checkpoint=tmp_path / "scratch" / "checkpoint-12")) == 0
    started = record_of(tmp_path / "other")["arguments"]["started_from"]
    assert started["checkpoint"] == str(flags["output_dir"] / "checkpoint-6")
    results = read_results([tmp_path])
    (one, of_one), (other, of_other) = zip(results.methods, results.cells["seeds"])
    assert "[started_from " in one and one.endswith("out/checkpoint-6]") and of_one == [6]
    assert other == "cp-2 [started_from None]" and of_other == [5, 6]
    assert any("are the same run, with equal scores" in note for note in results.notes)  # scratch and moved


def test_notes_of_the_first_start_stay_in_the_record(flags, tmp_path):
    assert main(argv(flags, seed=5)) == 0
    other = {"output_dir": tmp_path / "other", "num_train_epochs": 4, "seed": 6}
    words = argv(flags | other, resume_from_checkpoint=flags["output_dir"] / "checkpoint-6")
    for _ in range(2):
        kill_9_after_checkpoint(words, 1)
    assert main(words) == 0
    notes = record_of(tmp_path / "other")["notes"]
    assert sum("was trained under other arguments (--num_train_epochs 2" in note for note in notes) == 1
    assert len(notes) == len(set(notes))


@pytest.mark.parametrize(
    "change",
    [{"method": []}, {"train_file": 3}, {"input_sha256": {"train": []}}, {"input_sha256": [1]}, "[" * 10**5],
    ids=lambda change: str(change)[:20],
)
def test_a_record_that_somebody_else_made_is_one_line(flags, capsys, change):
    assert main(argv(flags, num_train_epochs=1)) == 0
    path = flags["output_dir"] / "run.json"
    record = record_of(flags["output_dir"])
    path.write_text(
        change if isinstance(change, str) else json.dumps(record | {"arguments": record["arguments"] | change})
    )
    assert refused(capsys, argv(flags, num_train_epochs=1))


def _read_back(folder):
    assert read_record(folder / "run.json") == record_of(folder)
    return record_of(folder)


def test_records_with_and_without_a_correct_prediction_are_read_back(flags, tmp_path, capsys):
    """The same row is evaluated with either label, so one of both predictions is wrong."""
    accuracies = set()
    for label in (0, 1):
        out, dev = tmp_path / str(label), write_rows(tmp_path / f"{label}.csv", [("the cat", "a dog", label, 0)])
        words = argv(flags, num_train_epochs=1, validation_file=dev, output_dir=out)
        assert main(words) == 0
        accuracies.add(_read_back(out)["metrics"]["eval_accuracy"])
        assert main(words) == 0 and "finished; nothing to do" in capsys.readouterr().out
    assert accuracies == {0, 1}


@pytest.mark.parametrize(
    ("name_of", "changes"),
    [
        (lambda i: int(i < 8), {"metric_name": "accuracy,roc_auc"}),
        (lambda i: "abc"[i % 3], {"task_name": None}),
        (lambda i: ("a", "a;b", "c")[i % 3], {"task_name": None, "label_separator": ";"}),
        (lambda i: i / 4, {"task_name": "stsb"}),
    ],
    ids=["one class", "three classes", "several labels", "scores"],
)
@pytest.mark.parametrize("count", [1, 8])
def test_records_of_each_kind_of_label_are_read_back(flags, tmp_path, name_of, changes, count):
    rows = [(one, other, name_of(i), i) for one, other, _, i in pairs(16, 1)]
    data = {"train_file": write_rows(tmp_path / "train.csv", rows)}
    data["validation_file"] = write_rows(tmp_path / "dev.csv", rows[:count])
    assert main(argv(flags | changes | data, num_train_epochs=1, measure_contribution=True)) == 0
    _read_back(flags["output_dir"])
