"""The command line: parsed, completed with our defaults, and refused at the door where it must be.

Only argparse-level work is done here, so that ``--help`` and a typo answer quickly.
"""

import argparse
import difflib
import json
import os
import sys
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Optional

import torch
from transformers import HfArgumentParser

from .config import METHOD_FIELDS, AdapterConfig
from .errors import UsageError
from .flags import (
    LAYER_NORM_AND_HEAD_RATIO,
    PUBLISHED_LEARNING_RATE,
    DataTrainingArguments,
    GlueTrainingArguments,
    ModelArguments,
    RunArguments,
)
from .legacy_flags import translate_legacy_flags
from .tasks import TASKS

GROUPS = (ModelArguments, DataTrainingArguments, AdapterConfig, RunArguments, GlueTrainingArguments)


@dataclass
class Arguments:
    """All argument groups, validated together. ``adapter`` is None where it comes from ``run.adapter_path``."""

    model: ModelArguments
    data: DataTrainingArguments
    adapter: Optional[AdapterConfig]
    run: RunArguments
    training: GlueTrainingArguments
    given: dict[str, Any]  # what was on the command line or in the JSON file, as opposed to a default
    notes: list[str]  # lines for the user about flags in an old spelling


class _Parser(HfArgumentParser):
    def error(self, message: str):
        raise UsageError(message)


def parse_arguments(argv: list[str]) -> Arguments:
    """Parse and validate flags, or one JSON file of the same names, optionally followed by flags that win over it.

    Raises:
        UsageError: one line that names the flag and the mend.
    """
    if argv and argv[0].endswith(".json"):
        argv = _flags_of_json(argv[0]) + argv[1:]
    argv, notes = translate_legacy_flags(argv)
    parser = _Parser(
        GROUPS, prog="run_glue_tensorized.py", allow_abbrev=False, description=sys.modules["__main__"].__doc__
    )
    if {"-h", "--help"} & set(argv):
        parser.print_help()
        raise SystemExit(0)
    for action in parser._actions:
        action.default = argparse.SUPPRESS  # the namespace then holds exactly what was given
    namespace, unknown = parser.parse_known_args(argv)
    if unknown:
        raise UsageError(_unknown_flag(unknown[0], parser))
    given = vars(namespace)
    _check_values(given)
    run = _build(RunArguments, given)
    adapter = None if run.adapter_path else _adapter_config(given)
    training = _build(GlueTrainingArguments, given | _training_defaults(given, adapter))
    arguments = Arguments(
        _build(ModelArguments, given), _build(DataTrainingArguments, given), adapter, run, training, given, notes
    )
    _check_together(arguments)
    return arguments


def check_owned(given: dict[str, Any], config: AdapterConfig) -> None:
    """Refuse given flags that belong to another method than ``config``'s.

    Raises:
        UsageError: naming the flag and the method.
    """
    every = {name for names in METHOD_FIELDS.values() for name in names}
    foreign = (every - set(METHOD_FIELDS[config.method])) & set(given)
    if not config.trains_layer_norm and "layer_norm_learning_rate" in given:
        foreign.add("layer_norm_learning_rate")
    if foreign:
        raise UsageError(f"--{sorted(foreign)[0]} does not belong to --method {config.method}; leave one of them out")


def resolve_rates(arguments: Arguments, config: AdapterConfig) -> dict[str, float]:
    """The learning rate of each parameter group, explicit flags first."""
    ratio = LAYER_NORM_AND_HEAD_RATIO if config.calibrated else 1.0
    rate, run = arguments.training.learning_rate, arguments.run
    rates = {"adapters": rate, "layer_norm": run.layer_norm_learning_rate, "head": run.head_learning_rate}
    return {group: ratio * rate if value is None else value for group, value in rates.items()}


def _adapter_config(given: dict[str, Any]) -> AdapterConfig:
    config = _build(AdapterConfig, given)
    check_owned(given, config)
    return config


def _training_defaults(given: dict[str, Any], adapter: Optional[AdapterConfig]) -> dict[str, Any]:
    defaults: dict[str, Any] = {"dataloader_pin_memory": torch.cuda.is_available()}  # else torch warns at every loader
    if given.get("do_eval") and given.get("do_train"):
        defaults["eval_strategy"] = "epoch"
    if given.get("bf16") and not torch.cuda.is_available():
        defaults["use_cpu"] = True  # TrainingArguments refuses bf16 on CPU unless it is asked for in so many words
    if adapter is not None and not adapter.calibrated:
        defaults |= {"learning_rate": PUBLISHED_LEARNING_RATE, "warmup_steps": 0}
    return {name: value for name, value in defaults.items() if name not in given}


def _build(kind: type, given: dict[str, Any]) -> Any:
    names = {f.name for f in fields(kind) if f.init}
    try:
        return kind(**{name: value for name, value in given.items() if name in names})
    except UsageError:
        raise
    except (ValueError, TypeError, ImportError) as error:  # TrainingArguments' own refusals
        raise UsageError(str(error).strip().splitlines()[0].removeprefix("--")) from None


def _check_values(given: dict[str, Any]) -> None:
    positive = (
        "max_seq_length max_train_samples max_eval_samples max_predict_samples per_device_train_batch_size "
        "per_device_eval_batch_size gradient_accumulation_steps num_train_epochs cpu_threads save_total_limit "
        "save_steps eval_steps logging_steps"
    ).split()
    for name in positive:
        if given.get(name) is not None and not given[name] > 0:
            raise UsageError(f"--{name} must be above 0, got {given[name]}")
    for name in ("learning_rate", "layer_norm_learning_rate", "head_learning_rate", "weight_decay", "warmup_steps"):
        if given.get(name) is not None and not 0 <= given[name] < float("inf"):
            raise UsageError(f"--{name} must be a finite number of at least 0, got {given[name]}")
    for name in ("deepspeed", "fsdp"):
        if given.get(name):
            raise UsageError(f"--{name} is not supported: the trained part fits on one device; leave it out")
    task = given.get("task_name")
    if task is not None and task.lower() not in TASKS:
        near = difflib.get_close_matches(task.lower(), TASKS, 1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise UsageError(f"--task_name {task!r} is unknown; the tasks are {', '.join(TASKS)}{hint}")


def _check_together(arguments: Arguments) -> None:
    data, training = arguments.data, arguments.training
    if not arguments.model.model_name_or_path:
        raise UsageError("--model_name_or_path is missing: a model folder or hub id, for example bert-base-cased")
    if not (training.do_train or training.do_eval or training.do_predict):
        raise UsageError("nothing to do: give --do_train, --do_eval or --do_predict")
    if not training.do_train and not arguments.run.adapter_path:
        raise UsageError("evaluating an untrained adapter tells nothing: give --do_train, or --adapter_path FOLDER")
    if int(os.environ.get("WORLD_SIZE", 1)) > 1:
        raise UsageError("one run is one process: start it without torchrun, and several runs side by side instead")
    if training.report_to:
        from transformers.integrations import get_available_reporting_integrations

        absent = sorted(set(training.report_to) - set(get_available_reporting_integrations()))
        if absent:
            raise UsageError(f"--report_to {absent[0]} is not installed here; install it or leave the flag out")
    data.task_name = data.task_name and data.task_name.lower()
    if data.task_name and data.dataset_name:
        raise UsageError("--task_name and --dataset_name exclude each other")
    files = {"do_train": "train_file", "do_eval": "validation_file", "do_predict": "test_file"}
    if any(getattr(data, name) for name in files.values()):
        if data.dataset_name:
            raise UsageError("--dataset_name and data files exclude each other")
        for action, name in files.items():
            if getattr(training, action) and not getattr(data, name):
                raise UsageError(f"--{action} needs --{name} when data comes from files")
            if getattr(data, name):
                _check_file(name, getattr(data, name))
    elif not (data.task_name or data.dataset_name):
        raise UsageError("no data: give --task_name, --dataset_name, or --train_file and --validation_file")


def _check_file(name: str, value: str) -> None:
    path = Path(value)
    if path.suffix not in (".csv", ".tsv", ".json", ".jsonl"):
        raise UsageError(f"--{name} {value} must end in .csv, .tsv, .json or .jsonl")
    try:
        with open(path, "rb") as file:
            empty = not file.read(4096).strip()
    except OSError as error:
        raise UsageError(f"--{name} {value} cannot be read: {error.strerror}") from None
    if empty:
        raise UsageError(f"--{name} {value} is empty")


def _flags_of_json(path: str) -> list[str]:
    """``{"task_name": "mrpc", "do_train": true}`` as the flags it stands for."""
    try:
        values = json.loads(Path(path).read_text())
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise UsageError(f"{path} is not valid JSON: {error}") from None
    if not isinstance(values, dict):
        raise UsageError(f"{path} must hold one JSON object of flag names and values")
    argv = []
    for name, value in values.items():
        if value is not None:
            items = value if isinstance(value, list) else [json.dumps(value) if isinstance(value, dict) else value]
            argv += [f"--{name}", *map(str, items)]
    return argv


def _unknown_flag(word: str, parser: HfArgumentParser) -> str:
    known = [option for action in parser._actions for option in action.option_strings if "-" not in option[2:]]
    near = difflib.get_close_matches(word.split("=")[0], known, 1)
    hint = f"; did you mean {near[0]}?" if near else "; --help lists them"
    return f"unknown argument {word}{hint}"
