"""Error and score of compressions against rank: each step is measured once, recorded, and can be drawn again."""

import json
import shutil
import sys
from pathlib import Path

import pytest
import study_compression as script
from compression_study import study
from helpers import argv, record_of
from helpers import main as run_glue

from tensorized_adapters import UsageError
from tensorized_adapters.runtime.exits import run as run_script
from tensorized_adapters.training.trainer import AdapterTrainer

POINT = {"format": "tt", "rank": 2, "parameters": 9, "down_error": 0.9, "up_error": 0.5, "score": 0.7}
RECORD = {"program": "tensorized_adapters", "kind": "compression", "task": "mrpc", "metric": "f1", "epochs": 1}
RECORD |= {"samples": 16, "dense": {"score": 0.8}, "points": [POINT]}


@pytest.fixture(scope="module")
def dense(base, files, tmp_path_factory):
    """A run of dense adapters, evaluated on 12 of its 16 pairs."""
    out = tmp_path_factory.mktemp("dense") / "run"
    flags = {"model_name_or_path": base, "task_name": "mrpc", "do_train": True, "do_eval": True, "disable_tqdm": True}
    flags |= {"train_file": files["train"], "validation_file": files["validation"], "output_dir": out, "seed": 1}
    flags |= {"method": "dense", "adapter_size": 8, "num_train_epochs": 1, "max_eval_samples": 12, "cpu_threads": 1}
    assert run_glue(argv(flags)) == 0
    return out


def words(dense, out, **changes):
    flags = {"adapter_path": dense, "projection_types": "tt,tr", "ranks": "2,9", "output_dir": out} | changes
    return argv(flags)


@pytest.mark.exhaustive
def test_each_step_is_measured_once_and_drawn_again_from_the_record(dense, tmp_path, monkeypatch, capsys):
    out, jobs = tmp_path / "figure", []

    def counting(*arguments):
        jobs.append(arguments)
        if len(jobs) != 4:
            return score_of(*arguments)
        with monkeypatch.context() as patched:  # while tt-2 is trained on; its evaluation is behind it
            patched.setattr(AdapterTrainer, "train", interrupted)
            return score_of(*arguments)

    def interrupted(*_, **__):
        raise KeyboardInterrupt

    score_of = study.score_of
    monkeypatch.setattr(study, "score_of", counting)
    with pytest.raises(KeyboardInterrupt):
        script.main(words(dense, out))
    assert set(json.loads((out / "compression.json").read_text())["points"][0]) == set(POINT)
    assert record_of(out / "tt-2/trained")["status"] == "interrupted"
    before = (out / "tt-2/compressed/adapter_model.safetensors").stat().st_mtime_ns
    monkeypatch.chdir(tmp_path)
    assert script.main(words(dense / "adapter", "figure")) == 0  # the same, by other names
    text = capsys.readouterr()
    for kind in ("tt", "tr"):
        assert text.err.count(f"left out: {kind}-9: --rank 9 is above what {kind} can use") == 2
    assert len(jobs) == 2 * 3 + 1  # of three adapters, and the interrupted one
    assert (out / "tt-2/compressed/adapter_model.safetensors").stat().st_mtime_ns == before

    content = (out / "compression.json").read_text()
    record = json.loads(content)
    assert str(dense.parent.parent) not in content and record["samples"] == 12
    assert record["dense"]["score"] == pytest.approx(record_of(dense)["metrics"]["eval_f1"], abs=1e-4)
    assert [(point["format"], point["rank"]) for point in record["points"]] == [("tt", 2), ("tr", 2)]
    for folder, point in (("dense", record["dense"]), *((f"{p['format']}-2", p) for p in record["points"])):
        evaluated, trained = (record_of(out / folder / what) for what in ("evaluated", "trained"))
        assert point["score"] == pytest.approx(evaluated["metrics"]["eval_f1"], abs=1e-4)
        assert point["score_after_training"] == pytest.approx(trained["metrics"]["eval_f1"], abs=1e-4)
        assert trained["metrics"]["epoch"] == 1 and "train_loss" not in evaluated["metrics"]
        assert trained["method"] == ("dense-8" if folder == "dense" else folder)

    figure = (out / "compression.svg").read_bytes()
    assert script.main(words(dense, out)) == 0
    assert len(jobs) == 7 and (out / "compression.json").read_text() == content
    again = tmp_path / "again"
    record = shutil.copy(out / "compression.json", tmp_path)
    assert script.main(["--record", str(record), "--output_dir", str(again)]) == 0
    assert (again / "compression.svg").read_bytes() == figure
    assert sorted(path.name for path in again.iterdir()) == ["compression.png", "compression.svg"]
    with pytest.raises(UsageError, match="holds a figure of another adapter"):
        script.main(words(_other(dense, tmp_path), out))
    assert (out / "compression.json").read_text() == content


def _other(dense, tmp_path):
    """The same run, as if it had trained another adapter."""
    from tensorized_adapters.predicting.pipeline import load_pipeline
    from tensorized_adapters.saving.save import save_adapter

    other = Path(shutil.copytree(dense, tmp_path / "other"))
    model = load_pipeline(dense, device="cpu").model
    model.classifier.bias.data += 1
    save_adapter(model, other / "adapter", {})
    return other


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"record": "x.json"}, "--record is drawn as it is, without --adapter_path"),
        ({"adapter_path": None}, "--adapter_path is missing"),
        ({"ranks": "2,x"}, "argument --ranks: 'x' must be an integer of at least 1"),
        ({"projection_types": "svd"}, "argument --projection_types: 'svd' must be one of cp"),
        ({"ranks": "99"}, "none of --ranks can be used by any of --projection_types"),
        ({"adapter_path": "{alone}"}, "needs the run's data, and --adapter_path .* has no run.json"),
        ({"output_dir": "{alone}"}, "holds something that is not a figure's"),
        ({"adapter_path": "{moved}"}, "--validation_file .*gone.csv.*stands in .*run.json"),
    ],
)
def test_what_cannot_be_measured_is_refused_before_anything_is_written(changes, message, dense, tmp_path):
    out, alone, moved = tmp_path / "figure", tmp_path / "alone", tmp_path / "moved"
    shutil.copytree(dense / "adapter", alone)
    shutil.copytree(dense, moved)
    record = record_of(moved)
    record["arguments"]["validation_file"] = str(tmp_path / "gone.csv")
    (moved / "run.json").write_text(json.dumps(record))
    changes = {name: value and str(value).format(alone=alone, moved=moved) for name, value in changes.items()}
    with pytest.raises(UsageError, match=message):
        script.main(words(dense, out, **changes))
    assert not out.exists() and not (alone / "compression.json").exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "is not JSON"),
        ("[]", "its 'kind' is not 'compression'"),
        (RECORD | {"task": 3}, "'task' must be a name, and is 3"),
        (RECORD | {"epochs": 0}, "'epochs' and 'samples' must be integers"),
        (RECORD | {"points": {}}, "'points' a list of them"),
        (RECORD | {"points": [POINT | {"format": "svd"}]}, "'format' must be one of cp"),
        (RECORD | {"points": [POINT | {"rank": 10**9}]}, "'rank' must be an integer of at least 1"),
        (RECORD | {"points": [POINT | {"score": float("nan")}]}, "'score' must be a number, and is nan"),
        (RECORD | {"points": [POINT] * 1001}, "it has 1,001 points"),
    ],
)
def test_a_record_that_is_none_is_refused(content, message, tmp_path, capsys, monkeypatch):
    path, out = tmp_path / "compression.json", tmp_path / "drawn"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    monkeypatch.setattr(sys, "argv", ["script", "--record", str(path), "--output_dir", str(out)])
    assert run_script(script.main) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"error: {path} ") and message in error and error.count("\n") == 1
    assert not out.exists()


@pytest.mark.parametrize("points", [[], [POINT], [POINT | {"rank": 4, "score_after_training": 0.75}, POINT]])
def test_what_is_not_measured_yet_is_not_drawn(points, tmp_path):
    from compression_study.figure import figure_of

    figure = figure_of(RECORD | {"points": points})
    assert [axes.get_title() for axes in figure.axes] == ["error of the weights", "as compressed", "1 epoch later"]
    lines = [[list(line.get_xdata()) for line in axes.lines] for axes in figure.axes]
    ranks = sorted(point["rank"] for point in points)
    formats = 1 if points else 0
    assert lines[0] == [ranks] * 2 * formats
    assert lines[1] == [ranks] * formats + [[0, 1]]  # the dense adapter's, across the panel
    assert lines[2] == [[point["rank"] for point in points if "score_after_training" in point]] * formats
