"""tensorized-adapters sweep refuses bad input in one line before Ray starts: YAML files, flags, models, folders."""

import fcntl
import importlib.util
import os

import pytest
from grids import refused, sweep
from helpers import write_rows

from tensorized_adapters.arguments.config_files import flags_of_file
from tensorized_adapters.errors import UsageError


def test_a_yaml_file_says_the_same(job, tmp_path, capsys):
    path = tmp_path / "grid.yaml"
    lines = [f"{name[2:]}: {word}" for name, word in zip(job[::2], job[1::2])]
    path.write_text(
        "projection_types: [cp, tt]\nranks: [1, 2]\nseeds: 7\ndry_run: true\nfresh_processes: true\n"
        + "\n".join(lines)
    )
    assert sweep.main([str(path), "--seeds", "8", "--output_dir", str(tmp_path / "s")]) == 0
    message = capsys.readouterr().out
    assert "4 trials, 4 to run" in message and "tt-2" in message and not (tmp_path / "s").exists()
    assert flags_of_file(str(path))[:3] == ["--projection_types=cp,tt", "--ranks=1,2", "--seeds=7"]
    path.write_text('text_columns: ["a, b", c]')
    assert flags_of_file(str(path)) == ['--text_columns="a, b",c']


def test_a_yaml_file_may_name_a_folder_in_the_users_home(job, tmp_path, capsys, monkeypatch):
    """No shell replaces the tilde in a file; the main job does."""
    home = tmp_path / "home"
    (home / "s").mkdir(parents=True)
    (home / "s" / "thesis.txt").touch()
    (tmp_path / "grid.yaml").write_text("projection_types: cp\nranks: 2\noutput_dir: ~/s\n")
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.chdir(tmp_path)
    assert f"--output_dir {home / 's'} holds" in refused(capsys, "grid.yaml", job)
    assert "holds something" in refused(capsys, "--projection_types cp --ranks 2 --output_dir=~/s", job)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[" * 2000, "nested too deeply"),
        ("ranks: [1, [2, 3]]", "must be a value, or a list of values"),
        ("a: &a [1, 1]\nb: &b [*a, *a]\nranks: *b", "must be a value, or a list of values"),
("b0: &b0 {x: 1}\n" + "".join(f"b{i + 1}: &b{i + 1} {{x: *b{i}, y: *b{i}}}\n" for i in range(40)),
         "must be a value, or a list of values"),
        ("x: &x {y: *x}", "must be a value, or a list of values"),
        ("ranks: !!python/object/apply:os.system [ls]", "is not valid YAML"),
        ("ranks: 2\nseeds: 1\nranks: 3", "'ranks' is there twice"),
        ("1: 2", "1 is not a flag's name"),
        ("? [a, b]\n: 2", "is not valid YAML"),
        ("seeds: 2024-02-30", "is not valid YAML"),
        ("seeds: 2024-02-03", "'2024-02-03' must be an integer"),
        (f"seeds: {'9' * 5000}", "is not valid YAML"),
        ("dry_run: maybe", "dry_run must be true or false"),
        ("ranks: 2".encode("utf-16")[:-1], "is not valid YAML"),
        (b"\xff\xfe\x00", "is not valid YAML"),
        ("just words", "must hold flag names and values"),
        ("#" * 2**20 + "#", "at most 1,048,576 are read"),
    ],
)  # fmt: skip
def test_a_yaml_file_that_is_no_grid_is_one_line(capsys, tmp_path, content, message):
    path = tmp_path / "grid.yaml"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    error = refused(capsys, str(path), ["--projection_types", "cp", "--output_dir", str(tmp_path / "s")])
    assert message in error and len(error) < 1200 and [p.name for p in tmp_path.iterdir()] == ["grid.yaml"]


@pytest.mark.parametrize("name", ["pipe.yaml", "folder.yaml", "zero.yaml"])
def test_a_yaml_file_that_is_no_file_is_one_line(capsys, tmp_path, name):
    os.mkfifo(tmp_path / "pipe.yaml")
    (tmp_path / "folder.yaml").mkdir()
    (tmp_path / "zero.yaml").symlink_to("/dev/zero")
    assert f"{name} cannot be read" in refused(capsys, str(tmp_path / name))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--projection_types cp --lora_r 4", "--lora_r belongs to none of this sweep's methods"),
        ("--projection_types cp --overwrite_output_dir True", "--overwrite_output_dir: a sweep overwrites nothing"),
        ("--projection_types cp --target_params 900", "--target_params: a sweep takes --ranks"),
        ("--projection_types cp --num_train_epoch 3", "did you mean --num_train_epochs?"),
        ("--projection_types cp --rank 2", "unknown argument --rank; did you mean --ranks?"),
        ("--projection_types cq", "'cq' must be one of cp, tucker"),
        ("--projection_types cp --ranks 2,x", "'x' must be an integer"),
        ("--projection_types none", "nothing to train"),
        ("--projection_types cp --tasks mrpc,rt", "'rt' must be one of"),
        ("--projection_types cp --learning_rates 1e-3,fast", "--learning_rate"),
        ("--projection_types cp --learning_rates -1", "--learning_rate must be"),
        ("--projection_types cp --gpus_per_trial -1", "--gpus_per_trial must be from 0"),
        ("--projection_types cp --num_train_epochs 0", "--num_train_epochs must be above 0"),
        ("--projection_types cp --do_eval False", "--do_eval: a sweep trains and evaluates"),
        ("--projection_types cp --adapter-projection-type tt", "are the same; give one of them"),
        ("--methods bitfit --adapter_sizes 8", "--adapter_sizes belongs to none"),
        ("--methods lora --modes one_matrix", "--modes belongs to none"),
        ("--projection_types cp --modes one_matrix --adapter_placement weights", "--modes belongs to none"),
        ("--projection_types cp --seeds -1", "'-1' must be an integer of at least 0"),
        ("nowhere.yaml", "nowhere.yaml cannot be read"),
        (f"--projection_types cp --ranks {10**30}", "must be an integer of at least 1"),
        (f"--projection_types cp --seeds {'7' * 5000}", "must be an integer of at least 0"),
        ("--projection_types cp --gpus_per_trial nan", "--gpus_per_trial must be from 0"),
        ("--projection_types cp --trial_time_limit 90", "must be a time above 0 with its unit"),
        ("--projection_types cp --trial_time_limit 0m", "must be a time above 0 with its unit"),
        ("--projection_types cp --learning_rates 1e-3,-1", "--learning_rate must be"),
        ("--projection_types cp --methods lora --lora_r 0", "--lora_r must be"),
        ("--projection_types matrix --methods head --tensor_split interleaved", "matrix has none"),
    ],
)
def test_bad_input_is_one_line(capsys, job, tmp_path, words, message):
    out = tmp_path / "s"
    job = [] if "yaml" in words else [w for w in job if w not in ("--num_train_epochs", "2")]
    assert message in refused(capsys, words, [*job, "--output_dir", str(out)])
    assert not out.exists()


@pytest.mark.parametrize("package", ["matplotlib", "jinja2"])
def test_packages_of_the_report_are_asked_for_before_the_trials(capsys, job, tmp_path, monkeypatch, package):
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == package else find_spec(name))
    words = f"--projection_types cp --ranks 2 --output_dir {tmp_path}/s"
    assert f"a sweep's report (--no_report leaves it out) needs {package}" in refused(capsys, words, job)
    assert sweep.main([*words.split(), *job, "--dry_run"]) == 0 and not (tmp_path / "s").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            "--class_weights equivalent=1,odd=2",
            "names the class 'odd', and the classes are not_equivalent, equivalent",
        ),
        ("--task_name stsb --class_weights balanced", "is for classes, and these labels are scores"),
    ],
)
def test_weights_of_unknown_classes_of_a_task(capsys, job, tmp_path, words, message):
    words = f"--projection_types cp --ranks 2 --output_dir {tmp_path}/s {words} --dry_run"
    if "stsb" in words:
        place = job.index("--task_name")
        job = job[:place] + job[place + 2 :]
    assert message in refused(capsys, words, job)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--class_weights x=1,odd=2", "--class_weights names the class 'odd', and the classes are x, y"),
        ("--metric_name pearson", "--metric_name pearson does not suit 2 classes"),
        ("--metric_for_best_model r2", "--metric_for_best_model r2 does not suit 2 classes"),
        ("--text_columns nothing", "has no column 'nothing'"),
    ],
)
def test_flags_about_the_labels_of_local_data_are_checked_before_the_first_trial(
    capsys, base, tmp_path, monkeypatch, words, message
):
    monkeypatch.setattr("tensorized_adapters.sweeping.on_ray.Machines", lambda *_: pytest.fail("Ray was started"))
    file = write_rows(tmp_path / "own.csv", [(f"the cat {i}", "xy"[i % 2]) for i in range(8)], ("text", "label"))
    words = f"--projection_types cp --ranks 2 --adapter_sizes 8 {words} --output_dir {tmp_path}/s"
    own = ["--model_name_or_path", str(base), "--train_file", str(file), "--validation_file", str(file)]
    assert f"no trial could start: {message}" in refused(capsys, words, own).replace(f"--train_file {file} ", "")
    assert not (tmp_path / "s").exists()


@pytest.mark.parametrize(
    ("words", "flags"),
    [
        ("--metric_name r2,f1", "--metric_name"),
        ("--metric_name f1 --metric_for_best_model eval_r2", "--metric_name and --metric_for_best_model"),
    ],
)
@pytest.mark.parametrize("dry", ["", "--dry_run"])
def test_metrics_that_contradict_each_other_are_refused_before_data_is_loaded(
    capsys, base, tmp_path, words, flags, dry
):
    own = ["--model_name_or_path", str(base), "--dataset_name", "no/such_data"]
    words = f"--projection_types cp --ranks 2 --output_dir {tmp_path}/s {words} {dry}"
    assert f"{flags}: f1 is for classes and r2 for scores" in refused(capsys, words, own)


def test_a_model_that_is_not_there_is_refused(capsys, tmp_path):
    message = refused(capsys, f"--projection_types cp --model_name_or_path {tmp_path}/no --output_dir {tmp_path}/s")
    assert "--model_name_or_path" in message


def test_data_that_no_trial_can_reach_is_found_before_the_first_one(capsys, base, tmp_path, monkeypatch):
    monkeypatch.setattr(
        "tensorized_adapters.sweeping.on_ray.run_trials", lambda *_: pytest.fail("a trial was started")
    )
    words = f"--projection_types CP --ranks 2 --adapter_sizes 8 --model_name_or_path {base} --dataset_name"
    message = refused(capsys, f"{words} no/such_data --output_dir {tmp_path}/s")
    assert "no trial could start: --dataset_name no/such_data cannot be loaded" in message
    message = refused(capsys, f"{words} {tmp_path}/nope --output_dir {tmp_path}/s")
    assert f"--dataset_name {tmp_path}/nope does not exist" in message and not (tmp_path / "s").exists()


def test_a_sweep_with_data_alone_says_which_model_it_takes(capsys, files, tmp_path):
    data = f"--task_name mrpc --train_file {files['train']} --validation_file {files['validation']}"
    words = f"--projection_types Tucker --ranks 2 {data} --dry_run --output_dir {tmp_path}/s"
    assert sweep.main(words.split()) == 0
    printed = capsys.readouterr()
    assert "note: no --model_name_or_path is given; taking the embedded MiniLM" in printed.err
    assert "tucker-2" in printed.out and "labels" not in printed.out


def test_a_dry_run_on_other_data_says_which_number_of_labels_it_counts(capsys, base, files, tmp_path):
    words = f"--projection_types cp --ranks 2 --train_file {files['train']} --validation_file {files['validation']}"
    words += f" --model_name_or_path {base} --dry_run --output_dir {tmp_path}/s"
    for flags, counted in (("", "a head of 2 labels"), (" --do_regression True", "a head of 1 label")):
        assert sweep.main((words + flags).split()) == 0
        assert f"note: parameters are counted with {counted}" in capsys.readouterr().out


def test_a_foreign_folder_is_refused(capsys, job, tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    message = refused(capsys, f"--projection_types cp --ranks 2 --output_dir {tmp_path}", job)
    assert "thesis.txt" in message and [p.name for p in tmp_path.iterdir()] == ["thesis.txt"]


@pytest.mark.parametrize("variable", [("ACCELERATE_MIXED_PRECISION", "bf16"), ("ACCELERATE_USE_FSDP", "true")])
def test_a_launchers_variable_is_refused_before_the_first_trial(capsys, job, tmp_path, monkeypatch, variable):
    monkeypatch.setenv(*variable)
    message = refused(capsys, f"--projection_types cp,tt --ranks 2 --output_dir {tmp_path}/s", job)
    assert "{} is '{}'".format(*variable) in message and not (tmp_path / "s").exists()


def test_a_sweep_of_which_every_trial_is_refused(capsys, job, tmp_path):
    words = f"--methods lora --lora_targets qery --seeds 1,2 --output_dir {tmp_path}/s"
    assert "no trial could start: --lora_targets" in refused(capsys, words, job) and not (tmp_path / "s").exists()
    assert sweep.main([*words.split(), *job, "--dry_run"]) == 0


def test_a_folder_in_use_is_refused(capsys, job, tmp_path):
    handle = os.open(tmp_path, os.O_RDONLY)
    fcntl.flock(handle, fcntl.LOCK_EX)
    message = refused(capsys, f"--projection_types cp --ranks 2 --output_dir {tmp_path}", job)
    os.close(handle)
    assert "in use by another sweep" in message and not list(tmp_path.iterdir())


def test_a_refusal_by_the_machines_leaves_nothing(job, tmp_path, capsys, monkeypatch):
    def refuse(*_):
        raise UsageError("no machine has room for one trial")

    monkeypatch.setattr("tensorized_adapters.sweeping.on_ray.Machines", refuse)
    message = refused(capsys, f"--projection_types cp --ranks 2 --output_dir {tmp_path / 'a' / 'b'}", job)
    assert "no machine has room" in message and not list(tmp_path.iterdir())


def test_another_programs_sweep_json_is_refused(capsys, job, tmp_path):
    (tmp_path / "sweep.json").write_text('{"program": "wandb"}')
    message = refused(capsys, f"--projection_types cp --ranks 2 --output_dir {tmp_path}", job)
    assert "not a sweep (sweep.json)" in message and [p.name for p in tmp_path.iterdir()] == ["sweep.json"]
