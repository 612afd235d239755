"""Every method as a run from the command line: results, a new process, a kill, and flags that are not its own."""

import json
import os
import subprocess
import sys

import pytest
from exhaustive import exhaustive_but
from helpers import OWN, SCRIPT, argv, assert_equal_runs, kill_9_after_checkpoint, record_of, refused
from tiny_models import CONFIGS

from run_glue_tensorized import main
from tensorized_adapters.config import METHOD_FIELDS, METHODS, TABLE, AdapterConfig

DEFAULT = AdapterConfig(method="head")
BASELINES = [name for name in CONFIGS if name != "tensorized"]
FEW = ["joint", "weights", "lora", "peft", "diff_pruning"]
OTHERS = [name for name in CONFIGS if name not in FEW]


def words_of(flags, name, **changes):
    settings = {key: value for key, value in CONFIGS[name].to_dict().items() if value != getattr(DEFAULT, key)}
    settings["method"] = CONFIGS[name].method
    return argv(flags | dict.fromkeys(OWN) | settings, **changes)


@pytest.mark.parametrize("names", [FEW, pytest.param(OTHERS, marks=pytest.mark.exhaustive)], ids=["few", "others"])
def test_every_run_evaluates_to_the_same_digits_in_a_new_process(flags, tmp_path, names):
    evaluations = []
    for name in names:
        out = tmp_path / name
        assert main(words_of(flags, name, output_dir=out)) == 0
        record = record_of(out)
        assert record["status"] == "finished" and len(record["step_losses"]) == 12
        assert record["method"] == CONFIGS[name].describe()
        assert record["learning_rates"]["head"] == pytest.approx(2.5 * TABLE[CONFIGS[name].method].learning_rate)
        own = dict.fromkeys((*OWN, "num_train_epochs", "train_file", "do_train"))
        evaluations.append(argv(flags | own, adapter_path=out / "adapter", output_dir=tmp_path / f"{name} again"))
    code = "import json, sys, run_glue_tensorized as r; sys.exit(any(map(r.main, json.load(sys.stdin))))"
    env = os.environ | {"PYTHONPATH": str(SCRIPT.parent)}
    subprocess.run([sys.executable, "-c", code], input=json.dumps(evaluations).encode(), env=env, check=True)
    for name in names:
        before = record_of(tmp_path / name)["metrics"]
        again = json.loads((tmp_path / f"{name} again" / "all_results.json").read_text())
        for metric in ("eval_loss", "eval_accuracy", "eval_f1"):
            assert again[metric] == before[metric]


@pytest.mark.parametrize("name", exhaustive_but(FEW[1:4], BASELINES))
def test_kill_9_then_the_same_command_equals_an_uninterrupted_run(flags, tmp_path, name):
    """Killed within an epoch, right after a checkpoint was sealed."""
    saving = {"save_strategy": "steps", "save_steps": 4, "save_total_limit": 1}
    complete, killed = tmp_path / "complete", tmp_path / "killed"
    assert main(words_of(flags, name, output_dir=complete, **saving)) == 0
    words = words_of(flags, name, output_dir=killed, **saving)
    kill_9_after_checkpoint(words, 2)
    assert main(words) == 0
    assert record_of(killed)["resumed_from"].endswith("checkpoint-8")
    assert_equal_runs(complete, killed)


@pytest.mark.parametrize("name", exhaustive_but(FEW[2:], BASELINES))
def test_a_saved_one_trains_further(flags, tmp_path, name):
    assert main(words_of(flags, name, num_train_epochs=1)) == 0
    changes = dict.fromkeys(OWN) | {"adapter_path": flags["output_dir"], "output_dir": tmp_path / "further"}
    assert main(argv(flags, **changes)) == 0
    before, after = record_of(flags["output_dir"]), record_of(tmp_path / "further")
    assert after["parameters"] == before["parameters"] and after["method"] == before["method"]


@pytest.mark.parametrize("method", METHODS)
def test_flags_of_other_methods_are_refused(flags, capsys, method):
    own = {"method": method} | ({"adapter_projection_type": "cp"} if method == "tensorized" else {})
    own |= {"peft_type": "vera"} if method == "peft" else {}
    foreign = {name for names in METHOD_FIELDS.values() for name in names} - set(METHOD_FIELDS[method])
    assert foreign
    for name in sorted(foreign - {"adapter_projection_type"}):
        values = {"lora_targets": "query", "adapter_layers": "0", "adapter_scale": 2.0, "peft_type": "vera"}
        value = values.get(name, getattr(DEFAULT, name))
        changes = dict.fromkeys(OWN) | own | {name: value}
        error = refused(capsys, argv(flags, **changes), flags["output_dir"])
        assert f"--{name} does not belong to --method {method}" in error
    if method not in ("tensorized", "dense", "compacter", "layer_norm"):
        changes = dict.fromkeys(OWN) | own | {"layer_norm_learning_rate": 1e-3}
        assert "--layer_norm_learning_rate does not belong" in refused(capsys, argv(flags, **changes))
    if method != "tensorized":
        changes = dict.fromkeys(OWN) | own | {"target_params": 1000}
        assert "--target_params does not belong" in refused(capsys, argv(flags, **changes))


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"method": "compacter", "phm_dim": 3}, "--phm_dim 3 does not divide hidden size 32"),
        ({"method": "compacter", "phm_dim": 0}, "--phm_dim must be an integer of at least 1"),
        ({"method": "lora", "lora_r": 0}, "--lora_r must be"),
        ({"method": "lora", "lora_dropout": 1.0}, "--lora_dropout must be a number at least 0 and below 1"),
        ({"method": "lora", "lora_targets": "quarry"}, "--lora_targets quarry: no linear layer"),
        ({"method": "lora", "lora_targets": "query,"}, "must be names of linear layers"),
        (
            {
                "adapter_projection_type": "cp",
                "adapter_placement": "weights",
                "lora_targets": "pooler.dense",
                "adapter_layers": "0",
            },
            "--adapter_layers 0 has none of --lora_targets pooler.dense; leave one of them out",
        ),
        ({"method": "bitfit", "bitfit_terms": "some"}, "bitfit_terms"),
        ({"method": "diff_pruning", "diff_sparsity": 0}, "--diff_sparsity must be a number above 0"),
        ({"method": "diff_pruning", "diff_sparsity": 1e-9}, "is less than one of them"),
        ({"method": "diff_pruning", "diff_final_fraction": 1}, "--diff_final_fraction must be"),
        ({"method": "diff_pruning", "diff_l0_penalty": "nan"}, "--diff_l0_penalty must be"),
        ({"method": "adapterdrop"}, "method"),
        ({"target_params": 10, "adapter_projection_type": "cp"}, "--target_params 10 is too few: cp at rank 1 has"),
        (
            {"target_params": 9000, "adapter_projection_type": "cp", "tensorized_layer_rank": 2},
            "--target_params and --tensorized_layer_rank exclude each other",
        ),
        ({"target_params": 0, "adapter_projection_type": "cp"}, "--target_params must be above 0"),
    ],
)
def test_settings_out_of_range(flags, capsys, changes, message):
    assert message in refused(capsys, argv(flags | dict.fromkeys(OWN), **changes), flags["output_dir"])


def test_a_json_file_may_list_targets_and_layers(flags, tmp_path):
    path = tmp_path / "job.json"
    values = {key: str(value) for key, value in (flags | {"method": "lora"}).items() if key not in OWN}
    path.write_text(json.dumps(values | {"lora_targets": ["query", "key"], "num_train_epochs": 1}))
    assert main([str(path)]) == 0
    assert record_of(flags["output_dir"])["arguments"]["lora_targets"] == "query,key"


@pytest.mark.parametrize("changes", [{"method": "lora"}, {"adapter_projection_type": "cp", "target_params": 5000}])
def test_configurations_that_make_no_model(flags, tmp_path, capsys, changes):
    import shutil

    from transformers import ViTConfig

    odd = tmp_path / "odd"
    shutil.copytree(flags["model_name_or_path"], odd)
    config = json.loads((odd / "config.json").read_text())
    (odd / "config.json").write_text(json.dumps(config | {"num_attention_heads": 5}))
    words = argv(flags | dict.fromkeys(OWN), model_name_or_path=odd, **changes)
    assert "its configuration makes no model" in refused(capsys, words, flags["output_dir"])
    ViTConfig().save_pretrained(tmp_path / "vit")
    words = argv(flags | dict.fromkeys(OWN), model_name_or_path=tmp_path / "vit", **changes)
    assert "is a 'vit' model" in refused(capsys, words, flags["output_dir"])
