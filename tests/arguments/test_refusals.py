"""Bad input: one line on stderr that names the flag or file, exit code 2, and nothing written."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from helpers import OWN, argv, pairs, refused, save_base, spoil_step, tiny_config, write_rows
from transformers import XLMConfig

import run_glue_tensorized
from run_glue_tensorized import main

FROM_FILES = "when data comes from files, "


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"adapter_projection_type": None}, "no method chosen: give --adapter_projection_type"),
        ({"adapter_projection_type": "svd"}, "adapter_projection_type"),
        ({"tensorized_layer_rank": 0}, "--tensorized_layer_rank must be an integer of at least 1"),
        ({"tensorized_layer_rank": -2}, "--tensorized_layer_rank must be"),
        ({"tensorized_layer_rank": "two"}, "tensorized_layer_rank"),
        ({"adapter_projection_type": "tucker", "tensorized_layer_rank": 64}, "the largest is 4"),
        ({"adapter_projection_type": "tr", "tensorized_layer_rank": 64}, "the largest is"),
        ({"adapter_size": 0}, "--adapter_size must be"),
        ({"task_name": "mprc"}, "did you mean mrpc?"),
        ({"task_name": None, "train_file": None, "validation_file": None}, "no data: give --task_name"),
        ({"train_file": "missing.csv"}, "--train_file missing.csv cannot be read: No such file or directory"),
        ({"train_file": None}, FROM_FILES + "--do_train needs --train_file\n"),
        ({"validation_file": None}, FROM_FILES + "--do_eval needs --validation_file or --validation_fraction\n"),
        ({"do_train": None}, "--do_train, or --adapter_path"),
        ({"do_train": None, "do_eval": None}, "nothing to do"),
        ({"model_name_or_path": None}, "--model_name_or_path is missing"),
        ({"model_name_or_path": "/no/such/model"}, "is no folder here; name a model's folder, or a hub id such as"),
        ({"tokenizer_name": "../no_model"}, "--tokenizer_name ../no_model cannot be loaded: it is no folder here"),
        ({"model_name_or_path": "no/such/model"}, "--model_name_or_path no/such/model cannot be loaded"),
        ({"per_device_train_batch_size": 0}, "--per_device_train_batch_size must be above 0"),
        ({"num_train_epochs": 0}, "--num_train_epochs must be above 0"),
        ({"learning_rate": "nan"}, "--learning_rate must be a finite number"),
        ({"max_seq_length": -1}, "--max_seq_length must be above 0"),
        ({"adapter_proj": "tt"}, "unknown argument --adapter_proj; did you mean --adapter_projection_type?"),
        ({"tensorised_layer_rank": 4}, "did you mean --tensorized_layer_rank?"),
        ({"method": "head"}, "--adapter_projection_type does not belong to --method head"),
        ({"method": "head", "adapter_projection_type": None, "tensorized_layer_rank": 4}, "does not belong"),
        ({"measure_contribution": True, "method": "lora"} | dict.fromkeys(OWN), "does not belong to --method lora"),
        ({"load_best_model_at_end": True, "save_strategy": "steps"}, "load_best_model_at_end"),
        ({"train_layer_norm": False, "layer_norm_learning_rate": 1e-3}, "contradicts --train_layer_norm False"),
        ({"cache_frozen_prefix": True, "adapter_layers": "1", "prefix_cache_dir": "/proc/no"}, "--prefix_cache_dir"),
        ({"cache_frozen_prefix": True, "adapter_layers": "1", "prefix_cache_dir": __file__}, "--prefix_cache_dir"),
        ({"cache_frozen_prefix": True, "adapter_layers": "1", "prefix_cache_dir": "~nobody_here/x"}, "~nobody_here/x"),
        ({"cache_frozen_prefix": True, "method": "full"} | dict.fromkeys(OWN), "--method full cannot choose layers"),
        ({"cache_frozen_prefix": True, "adapter_layers": "1", "neftune_noise_alpha": 5}, "computes embeddings once"),
        ({"deepspeed": "config.json"}, "--deepspeed is not supported"),
        ({"adapter_path": "nowhere", "adapter_projection_type": None}, "nowhere"),
        ({"fp16_opt_level": "O1"}, "unknown argument --fp16_opt_level"),
        ({"save_only_model": True}, "--save_only_model is not supported"),
        ({"ignore_data_skip": True}, "--ignore_data_skip is not supported"),
        ({"prediction_loss_only": True}, "--prediction_loss_only is not supported"),
        ({"push_to_hub": True}, "--push_to_hub: out cannot be uploaded to: HF_HUB_OFFLINE is set"),
        ({"load_best_model_at_end": True, "metric_for_best_model": "acuracy"}, "acuracy is unknown here"),
        ({"save_strategy": "best"}, "--save_strategy best needs"),
        ({"optim": "adamw_bnb_8bit"}, "refused by the Trainer"),
        ({"lr_scheduler_type": "cosine_with_min_lr"}, "refused by the Trainer"),
        ({"adam_beta1": 2}, "--adam_beta1 must be at least 0 and below 1"),
        ({"seed": -1}, "--seed must be at least 0"),
        ({"num_train_epochs": "inf"}, "--num_train_epochs must be"),
        ({"max_seq_length": 4}, "--max_seq_length 4 leaves no room for text; at least 5"),
        ({"adapter_path": "", "adapter_projection_type": None}, "--adapter_path is empty"),
        ({"warmup_ratio": 1.5}, "--warmup_ratio must be between 0 and 1"),
        ({"output_dir": "x" * 300}, "File name too long"),
        ({"glue_path": __file__, "train_file": None, "validation_file": None}, "is a file or an empty folder"),
        ({"max_train_samples": 1}, "cut by --max_train_samples, has the same class ("),
        ({"resume_from_checkpoint": "nowhere"}, "--resume_from_checkpoint nowhere is not a complete checkpoint"),
    ],
)
def test_arguments(capsys, flags, changes, message):
    out = flags["output_dir"]
    assert message in refused(capsys, argv(flags, **changes), out)


@pytest.mark.parametrize(
    "rows, header, message",
    [
        ([], None, "has no rows"),
        (None, None, "is empty"),
        (pairs(8, 1), ("sentence1", "sentence2", "target", "idx"), "has no column 'label'"),
        (pairs(8, 1), ("one", "sentence2", "label", "idx"), "has no column 'sentence1'"),
        ([(a, b, 1, i) for a, b, _, i in pairs(8, 1)], None, "has the same class (equivalent) in every"),
        ([*pairs(8, 1), ("a", "b", "", 9)], None, "row 9 has no label"),
        ([*pairs(8, 1), ("a", "b", 7, 9)], None, "row 9 has the label '7'"),
    ],
)
def test_training_files(capsys, flags, tmp_path, rows, header, message):
    path = tmp_path / "bad.csv"
    if rows is None:
        path.write_text("")
    else:
        write_rows(path, rows, *([header] if header else []))
    assert message in refused(capsys, argv(flags, train_file=path), flags["output_dir"])


def test_a_label_in_validation_that_training_lacks(capsys, flags, tmp_path):
    names = ["calm", "glad", "sad"]
    train = write_rows(tmp_path / "t.csv", [(a, b, names[i % 2], i) for a, b, _, i in pairs(12, 1)])
    validation = write_rows(tmp_path / "v.csv", [(a, b, names[i % 3], i) for a, b, _, i in pairs(12, 2)])
    error = refused(
        capsys, argv(flags, task_name=None, train_file=train, validation_file=validation), flags["output_dir"]
    )
    assert "v.csv" in error and "'sad'" in error and "calm, glad" in error


@pytest.mark.parametrize(
    "text, message",
    [
        ("sentence1,sentence2,label\na,b,0,9\n", "line 2 has 4 fields, the header 3"),
        ("sentence1,sentence2,label\na,b\n", "line 2 has 2 fields, the header 3"),
        ("sentence1,sentence2,label,label\na,b,0,1\n", "has the column 'label' twice"),
        ('sentence1,sentence2,label\n"a,b,0\n', "cannot be parsed"),
        ('sentence1,sentence2,label\na,b,"0\nc,d,1\n', "cannot be parsed"),
        ('sentence1,sentence2,label\n"a"x,b,0\n', "cannot be parsed"),
        ("caf\u00e9".encode("latin-1"), "is not UTF-8 text"),
        (b"\xef\xbb\xbfsentence1,sentence2,label\n" + b"a,b,0\n" * 9000 + b"\xe9t\xe9", "line 9002 is not UTF-8 text"),
    ],
)
def test_tables_that_pandas_would_take(capsys, flags, tmp_path, text, message):
    path = tmp_path / "bad.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    assert message in refused(capsys, argv(flags, train_file=path), flags["output_dir"])


def test_a_base_without_a_tokenizer(capsys, flags, tmp_path):
    folder = save_base(tmp_path / "bare")
    for name in ("tokenizer.json", "vocab.txt", "tokenizer_config.json", "special_tokens_map.json"):
        (folder / name).unlink(missing_ok=True)
    assert "tokenizer" in refused(capsys, argv(flags, model_name_or_path=folder), flags["output_dir"])


@pytest.mark.parametrize(
    "line, message",
    [
        ('{"sentence1": ', "line 2 cannot be parsed: Expecting value"),
        ("3", "is no object; write one JSON object a line"),
        ('{"sentence1": "a", "sentence2": "b", "label": "one"}', "cannot be parsed"),
        ('{"sentence1": "a", "sentence2": "b", "label": 99999999999999999999}', "cannot be parsed"),
        ('{"label": ' + "9" * 5000 + "}", "line 2 cannot be parsed"),
        ("[" * 100000, "line 2 cannot be parsed"),
        ('{"sentence1": "\\ud83d", "sentence2": "b", "label": 0}', "cannot be parsed"),
    ],
)
def test_a_ragged_file(capsys, flags, tmp_path, line, message):
    path = tmp_path / "bad.jsonl"
    path.write_text(f'{{"sentence1": "a", "sentence2": "b", "label": 1}}\n{line}\n')
    assert message in refused(capsys, argv(flags, train_file=path), flags["output_dir"])


def test_models_that_cannot_be_adapted(capsys, flags, tmp_path):
    odd = save_base(tmp_path / "odd", config=tiny_config(hidden_size=62))
    assert "hidden size 62 has no useful split" in refused(capsys, argv(flags, model_name_or_path=odd))
    XLMConfig(vocab_size=40, emb_dim=32, n_layers=1, n_heads=2).save_pretrained(tmp_path / "distil")
    error = refused(capsys, argv(flags, model_name_or_path=tmp_path / "distil"), flags["output_dir"])
    assert "'xlm'" in error and "roberta" in error
    odd_config = json.loads((odd / "config.json").read_text()) | {"hidden_size": 32, "pad_token_id": 1000}
    (odd / "config.json").write_text(json.dumps(odd_config))
    assert "its configuration makes no model" in refused(capsys, argv(flags, model_name_or_path=odd))
    odd_config |= {"model_type": "mpnet", "pad_token_id": 1}
    (odd / "config.json").write_text(json.dumps(odd_config))
    words = argv(flags, model_name_or_path=odd, gradient_checkpointing=True)
    assert "--activation_checkpointing does not work with a mpnet model" in refused(capsys, words)
    save_base(tmp_path / "even")
    shutil.copy(tmp_path / "even" / "config.json", odd / "config.json")
    (odd / "model.safetensors").write_bytes(b"truncated")
    words = argv(flags, model_name_or_path=odd, adapter_projection_type="matrix")
    assert main(words) == 2
    assert "cannot be loaded" in capsys.readouterr().err


def test_folders_that_cannot_be_written(capsys, flags, tmp_path):
    (tmp_path / "file").write_text("mine")
    assert "is a file" in refused(capsys, argv(flags, output_dir=tmp_path / "file"))
    assert "cannot be written" in refused(capsys, argv(flags, output_dir=tmp_path / "file" / "below"))
    assert "cannot be written" in refused(capsys, argv(flags, output_dir="/proc/no/such"))
    assert (tmp_path / "file").read_text() == "mine"
    (tmp_path / "link").symlink_to("nowhere")
    for path in (tmp_path / "link", tmp_path / "link" / "below"):
        error = refused(capsys, argv(flags, output_dir=path))
        assert f"{path} cannot be written: {tmp_path / 'link'} links to nowhere, where there is no folder" in error
    words = argv(flags, cache_frozen_prefix=True, adapter_layers="1", prefix_cache_dir=tmp_path / "link")
    assert "links to nowhere, where there is no folder" in refused(capsys, words)
    assert not (tmp_path / "nowhere").exists()


def test_a_folder_that_holds_something_else(capsys, flags):
    out = flags["output_dir"]
    out.mkdir()
    (out / "thesis.tex").write_text("years of work")
    assert "holds something that is not a run" in refused(capsys, argv(flags), out)
    error = refused(capsys, argv(flags, overwrite_output_dir=True), out)
    assert "holds files that are not of this program (thesis.tex)" in error and "a folder of the run's own" in error
    (out / "run.json").write_text('{"program": "another"}')
    assert "is not a record of this program" in refused(capsys, argv(flags, overwrite_output_dir=True), out)
    (out / "run.json").unlink()
    (out / "MRPC.tsv").write_text("my submission")
    assert "holds MRPC.tsv" in refused(capsys, argv(flags, overwrite_output_dir=True), out)
    (out / "MRPC.tsv").unlink()
    (out / "checkpoint-100").mkdir()
    assert "holds checkpoint-100" in refused(capsys, argv(flags, overwrite_output_dir=True), out)


def test_a_folder_in_use(capsys, flags):
    import fcntl

    out = flags["output_dir"]
    out.mkdir()
    holder = os.open(out, os.O_RDONLY)
    fcntl.flock(holder, fcntl.LOCK_EX)
    assert "in use by another run" in refused(capsys, argv(flags), out)
    os.close(holder)


def test_a_json_file_with_a_mistake(capsys, flags, tmp_path):
    path = tmp_path / "job.json"
    path.write_text(json.dumps({"tasks_name": "mrpc"}))
    assert "did you mean --task_name?" in refused(capsys, [str(path)])
    path.write_text("{")
    assert "is not valid JSON" in refused(capsys, [str(path)])
    assert "cannot be read" in refused(capsys, [str(tmp_path / "missing.json")])


@pytest.mark.parametrize(
    "text, message",
    [
        ('{"a": ' * 100000, "nested too deeply"),
        ('{"seed": ' + "9" * 5000 + "}", "is not valid JSON"),
        ('{"seed": ' + "9" * 400 + "}", "--seed must be"),
        ('{"learning_rate": NaN}', "NaN is not a number in JSON"),
        ('{"learning_rate": -Infinity}', "-Infinity is not a number"),
        ('{"learning_rate": 1e400}', "--learning_rate must be a finite number"),
        ('{"seed": 1, "seed": 2}', "'seed' is there 2 times"),
        ('{"task_name": "\\ud83d"}', "surrogates not allowed"),
        ("[1]", "must hold flag names and values"),
        ('{"seed": {"a": 1}}', "invalid int value"),
        (" " * 2**21, "has 2,097,152 bytes, and at most 1,048,576 are read"),
        (b"\xff", "is not valid JSON"),
    ],
)
def test_a_json_file_that_no_job_is(capsys, tmp_path, text, message):
    path = tmp_path / "job.json"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    assert message in refused(capsys, [str(path)])


def test_a_json_file_that_is_no_file(capsys, tmp_path):
    os.mkfifo(tmp_path / "pipe.json")
    (tmp_path / "zero.json").symlink_to("/dev/zero")
    (tmp_path / "folder.json").mkdir()
    for name in ("pipe", "zero", "folder"):
        assert f"{name}.json cannot be read" in refused(capsys, [str(tmp_path / f"{name}.json")])


def test_nan_stops_the_run_and_keeps_the_last_good_checkpoint(capsys, flags, monkeypatch):
    """A loss that turns NaN in the second epoch: exit code 1, one line, the first epoch's checkpoint complete."""
    from tensorized_adapters.training.checkpoints import flaw_of_checkpoint

    def spoil(output):
        output.loss = output.loss * torch.tensor(float("nan"))

    spoil_step(monkeypatch, 9, spoil)
    assert main(argv(flags)) == 1
    error = capsys.readouterr().err
    assert error.startswith("failed: the loss is nan at step 9") and error.count("\n") == 1
    out = flags["output_dir"]
    assert json.loads((out / "run.json").read_text())["status"] == "failed"
    assert flaw_of_checkpoint(out / "checkpoint-6") is None
    assert not (out / "adapter").exists()


def test_a_tracker_that_is_not_installed(capsys, flags):
    assert "--report_to comet_ml is not installed" in refused(capsys, argv(flags, report_to="comet_ml"))


def test_half_of_a_launchers_variables(capsys, flags, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert "WORLD_SIZE is 2 and RANK is not set: start several processes with torchrun" in refused(capsys, argv(flags))


def test_an_accelerate_launch_that_starts_one_process_of_two(flags):
    """The launcher starts one process with --cpu or without GPUs, unless --multi_gpu is given."""
    script = Path(run_glue_tensorized.__file__)
    words = ["accelerate.commands.launch", "--cpu", "--num_processes", "2", str(script), *argv(flags)]
    ended = subprocess.run([sys.executable, "-m", *words], capture_output=True, text=True)
    lines = [line for line in ended.stderr.splitlines() if line.startswith("error: ")]
    assert ended.returncode and len(lines) == 1
    assert "started one process where several were requested: use torchrun --nproc_per_node N" in lines[0]
    assert not flags["output_dir"].exists()
