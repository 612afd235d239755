"""Flags: ours, Hugging Face's, dropped ones, JSON files, and which default applies when."""

import json
import re
from dataclasses import FrozenInstanceError

import pytest
from helpers import OWN, argv

from tensorized_adapters import AdapterConfig, UsageError
from tensorized_adapters.arguments.parsing import parse_arguments
from tensorized_adapters.arguments.rates import resolve_rates
from tensorized_adapters.arguments.trainer_fields import ALWAYS_ON, UNSUPPORTED
from tensorized_adapters.runs.same_run import resolved_arguments


def test_defaults(flags):
    arguments = parse_arguments(argv(flags, tensorized_layer_rank=None, adapter_size=None))
    assert (arguments.adapter.tensorized_layer_rank, arguments.adapter.adapter_size) == (4, 64)
    training = arguments.training
    assert str(training.eval_strategy.value) == str(training.save_strategy.value) == "epoch"
    assert (training.save_total_limit, training.report_to, training.per_device_eval_batch_size) == (2, [], 64)
    assert resolve_rates(arguments) == {"adapters": 2e-3, "layer_norm": 5e-3, "head": 5e-3}
    assert training.warmup_steps == 0.1 and not arguments.data.pad_to_max_length


def test_the_published_start_has_one_rate_and_no_warm_up(flags):
    arguments = parse_arguments(argv(flags, adapter_init="published"))
    assert set(resolve_rates(arguments).values()) == {2e-4}
    assert arguments.training.warmup_steps == 0


def test_an_explicit_flag_always_wins(flags):
    words = argv(flags, learning_rate=1e-3, head_learning_rate=1e-4, eval_strategy="no", adapter_init="published")
    arguments = parse_arguments([*words, "--warmup_steps", "7"])
    assert resolve_rates(arguments) == {"adapters": 1e-3, "layer_norm": 1e-3, "head": 1e-4}
    assert arguments.training.eval_strategy.value == "no" and arguments.training.warmup_steps == 7


@pytest.mark.parametrize(
    "old, new",
    [
        (["--evaluation_strategy", "steps"], ["--eval_strategy", "steps"]),
        (["--warmup_ratio=0.06"], ["--warmup_steps", "0.06"]),
        (["--no_cuda"], ["--use_cpu"]),
        (["--group_by_length"], ["--train_sampling_strategy", "group_by_length"]),
        (
            ["--group_by_length", "True", "--seed", "1"],
            ["--train_sampling_strategy", "group_by_length", "--seed", "1"],
        ),
        (["--group_by_length", "False"], ["--train_sampling_strategy", "random"]),
        (["--per_gpu_train_batch_size", "4"], ["--per_device_train_batch_size", "4"]),
        (["--adafactor"], ["--optim", "adafactor"]),
        (["--gradient_checkpointing"], ["--activation_checkpointing"]),
        (["--gradient_checkpointing_kwargs", "{}"], ["--activation_checkpointing_kwargs", "{}"]),
        (["--include_inputs_for_metrics", "True"], ["--include_for_metrics", "inputs"]),
        (["--use_auth_token", "secret"], ["--token", "secret"]),
        (["--use_auth_token", "True"], []),
    ],
)
def test_dropped_flags_keep_their_meaning_and_name_the_new_spelling(flags, old, new):
    dropped, todays = (parse_arguments([*argv(flags), *words]) for words in (old, new))
    assert dropped.given == todays.given and dropped.training.to_dict() == todays.training.to_dict()
    assert len(dropped.notes) == 1 and old[0].split("=")[0] in dropped.notes[0] and not todays.notes


@pytest.mark.parametrize(
    "words, name, value",
    [
        ("--eval_strategy epoch --evaluation_strategy no", "eval_strategy", "no"),
        ("--evaluation-strategy no --eval-strategy=epoch", "eval_strategy", "epoch"),
        ("--train_sampling_strategy random --group-by-length", "train_sampling_strategy", "group_by_length"),
    ],
)
def test_of_a_dropped_flag_and_todays_the_later_one_wins(flags, words, name, value):
    assert parse_arguments([*argv(flags), *words.split()]).given[name] == value


@pytest.mark.parametrize(
    "words, steps",
    [
        ("--warmup_ratio 0.1 --warmup_steps 0", 0.1),
        ("--warmup_steps 4 --warmup_ratio 0.1", 4),
        ("--warmup_ratio 0.1 --warmup_steps 4", 4),
        ("--warmup-ratio 0.1 --warmup_steps=4", 4),
        ("--warmup_ratio 1", pytest.approx(1)),
        ("--use_auth_token --warmup_steps 0.3", 0.3),
    ],
)
def test_dropped_flags_beside_todays(flags, words, steps):
    assert parse_arguments([*argv(flags), *words.split(" ")]).training.warmup_steps == steps


def test_dropped_flags_reach_the_arguments(flags, monkeypatch):
    words = "--evaluation_strategy no --warmup_ratio 0.2 --no_cuda --group_by_length --logging_dir logs".split()
    monkeypatch.delenv("TENSORBOARD_LOGGING_DIR", raising=False)
    arguments = parse_arguments([*argv(flags), *words])
    assert arguments.training.warmup_steps == 0.2 and arguments.training.use_cpu
    assert arguments.training.train_sampling_strategy == "group_by_length"
    assert len(arguments.notes) == 5


def test_a_json_file_and_flags_after_it(flags, tmp_path):
    path = tmp_path / "job.json"
    values = {name: str(value) if name.endswith(("path", "file", "dir")) else value for name, value in flags.items()}
    path.write_text(json.dumps(values | {"include_for_metrics": ["loss"], "learning_rate": 0.01, "seed": None}))
    arguments = parse_arguments([str(path), "--learning_rate", "0.02"])
    assert arguments.training.learning_rate == 0.02 and arguments.training.do_train
    assert arguments.adapter.tensorized_layer_rank == 2
    assert "learning_rate" in arguments.given and "seed" not in arguments.given


def test_lists_in_a_json_file(flags, tmp_path):
    path = tmp_path / "job.json"
    own = dict.fromkeys(("task_name", *OWN))

    def parsed(**values):
        path.write_text(json.dumps(values))
        return parse_arguments([str(path), *argv(flags, **own | {"method": "lora"})])

    arguments = parsed(text_columns=["text", 'a, "b"'], metric_name=["f1", "accuracy"], lora_targets=["query", "key"])
    assert arguments.data.texts == ("text", 'a, "b"') and arguments.run.metric_name == "f1,accuracy"
    assert arguments.adapter.lora_targets == "query,key"
    arguments = parsed(text_column_names=["text"], class_weights=["a=1", "b, c=2"], include_for_metrics=[])
    assert arguments.data.texts == ("text",) and arguments.run.class_weights == 'a=1,"b, c=2"'
    assert parsed(include_for_metrics=["loss", "inputs"]).training.include_for_metrics == ["loss", "inputs"]
    with pytest.raises(UsageError, match="job.json: 'text_columns' must be a value, or a list of values"):
        parsed(text_columns=["text", ["b"]])


def test_dropped_flags_in_a_json_file(flags, tmp_path):
    path = tmp_path / "job.json"
    path.write_text(json.dumps({"warmup_ratio": 0.2, "no_cuda": True, "group_by_length": False}))
    arguments = parse_arguments([str(path), *argv(flags), "--warmup_steps", "0"])
    assert arguments.training.warmup_steps == 0.2 and arguments.training.use_cpu
    assert arguments.training.train_sampling_strategy == "random"
    assert len(arguments.notes) == 3


def test_files_of_one_name_in_two_folders_are_both_in_the_record(flags, files, tmp_path):
    path = tmp_path / files["validation"].name
    path.write_bytes(files["train"].read_bytes())
    hashes = [
        resolved_arguments(parse_arguments(argv(flags, train_file=file, validation_file=path)))["input_sha256"]
        for file in (files["validation"], path)
    ]
    assert hashes[0].keys() == hashes[1].keys() == {"train", "evaluation", "model"}
    assert hashes[0]["train"] != hashes[1]["train"] == hashes[1]["evaluation"]


def test_names_of_methods_and_formats_may_be_in_capitals(flags):
    assert parse_arguments(argv(flags, adapter_projection_type="CP")).adapter.adapter_projection_type == "cp"
    assert AdapterConfig("LoRA").method == "lora"
    assert AdapterConfig(adapter_projection_type="Tucker").describe() == "tucker-4"


@pytest.mark.parametrize(
    "changes, count",
    [
        ({"learning_rate": 2e-4}, True),
        ({"learning_rate": 3e-4}, False),
        ({"learning_rate": 2e-4, "adapter_init": "published"}, False),
        ({"learning_rate": 1e-6, "method": "full"} | dict.fromkeys(OWN), False),
    ],
)
def test_a_published_rate_under_the_calibrated_start_is_noted_once(flags, changes, count):
    notes = parse_arguments(argv(flags, **changes)).notes
    expected = "whose default is at least 0.002; the published 0.0002"
    assert len(notes) == count and all(expected in note for note in notes)


def test_help_shows_what_a_user_decides_upon_first_and_nothing_that_is_refused(capsys):
    with pytest.raises(SystemExit) as ending:
        parse_arguments(["--help"])
    text = capsys.readouterr().out
    usage, first = text.splitlines()[:2]
    assert ending.value.code == 0 and usage.startswith("usage: run_glue_tensorized.py") and first == ""
    assert text.index("--method") < text.index("--model_name_or_path MODEL_NAME") < text.index("--do_train [")
    assert text.index("--num_train_epochs") < text.index("all others of Hugging Face's") < text.index("--adam_beta1")
    refused = [name for name in (*UNSUPPORTED, *ALWAYS_ON) if f"--{name} " in text]
    assert not refused and "--learning-rate" not in text and "default: None" not in text


@pytest.mark.parametrize(
    "words, hint",
    [
        (["--fp16_backend", "auto"], "did you mean --ddp_backend?"),
        (["--half_precision_backend", "apex"], "--help lists them"),
        (["--save_safetensors"], "did you mean --save_steps?"),
        (["--use_ipex"], "did you mean --use_cpu?"),
        (["--fsdp_transformer_layer_cls_to_wrap", "BertLayer"], "--help lists them"),
    ],
)
def test_old_flags_without_an_effect_are_unknown(flags, words, hint):
    with pytest.raises(UsageError, match=f"unknown argument {words[0]}; {re.escape(hint)}$"):
        parse_arguments([*argv(flags), *words])


def test_arguments_are_complete_and_frozen(flags):
    """The rank of --target_params is resolved, the model's configuration is there, and nothing can be replaced."""
    arguments = parse_arguments(argv(flags, tensorized_layer_rank=None, target_params=2000))
    assert arguments.model_config.hidden_size == 32 and arguments.adapter.tensorized_layer_rank > 1
    assert f"cp at rank {arguments.adapter.tensorized_layer_rank} has" in arguments.notes[0]
    with pytest.raises(FrozenInstanceError):
        arguments.adapter = None


def test_abbreviations_are_not_guessed(flags):
    with pytest.raises(UsageError, match="unknown argument --learning_r; did you mean --learning_rate"):
        parse_arguments([*argv(flags), "--learning_r", "1"])
