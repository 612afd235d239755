"""The command line: parsed, completed with our defaults, and refused at the door where it must be.

Only argparse-level work is done here, so that ``--help`` and a typo answer quickly.
"""

import argparse
import difflib
import sys
from collections.abc import Iterable
from dataclasses import fields
from typing import Any, Optional

import torch
from transformers import HfArgumentParser

from ..backbone.arguments import ModelArguments
from ..config import (
    METHOD_FIELDS,
    PUBLISHED_LEARNING_RATE,
    TABLE,
    AdapterConfig,
    unused_fields,
)
from ..data.arguments import DataTrainingArguments
from ..errors import RaisesUsageErrors, UsageError, quoted
from ..runtime.distributed import count
from .checks import check_together, check_values
from .config_files import flags_of_json
from .flags import Arguments, GlueTrainingArguments, RunArguments
from .help import print_help
from .old_flags import DroppedArguments, settle_warmup
from .selection import resolve_metrics, selection_defaults
from .trainer_fields import UNSUPPORTED

GROUPS = (AdapterConfig, ModelArguments, DataTrainingArguments, RunArguments, GlueTrainingArguments, DroppedArguments)


class _Parser(RaisesUsageErrors, HfArgumentParser):
    pass


def parse_arguments(argv: list[str]) -> Arguments:
    """Parse and validate flags, or one JSON file of the same names, optionally followed by flags that win over it.

    Raises:
        UsageError: one line that names the flag and the mend.
    """
    if argv and argv[0].endswith(".json"):
        argv = flags_of_json(argv[0]) + argv[1:]
    parser = _Parser(
        GROUPS, prog="run_glue_tensorized.py", allow_abbrev=False, description=sys.modules["__main__"].__doc__
    )
    if {"-h", "--help"} & set(argv):
        print_help(parser)
        raise SystemExit(0)
    for action in parser._actions:
        if action.dest in ("method", "adapter_projection_type"):
            action.type = str.lower  # CP and LoRA are how the papers write them
        action.default = argparse.SUPPRESS  # the namespace then holds exactly what was given
    namespace, unknown = parser.parse_known_args(argv, argparse.Namespace(notes=[]))
    if unknown:
        raise UsageError(_unknown_flag(unknown[0], parser))
    given = vars(namespace)
    notes = given.pop("notes")
    settle_warmup(given)
    try:
        check_values(given)
        resolve_metrics(given)
    except UsageError as error:  # which names a flag as it is spelled today
        raise UsageError("; ".join([str(error), *notes])) from None
    config, saved = _adapter_config(given)
    values = _training_defaults(given, config) | given | config.to_dict()
    try:
        adapter, model, data, run, training, _ = parser.parse_dict(values, allow_extra_keys=True)
    except UsageError:
        raise
    except Exception as error:  # TrainingArguments raises whatever comes up as it reads and sets up
        raise UsageError(f"refused by TrainingArguments: {str(error) or type(error).__name__}") from None
    notes += _low_rate(given, config)
    arguments = Arguments(model, data, adapter, saved, run, training, given, notes)
    check_together(arguments)
    return arguments


def check_owned(given: dict[str, Any], config: AdapterConfig) -> None:
    """Refuse given flags that belong to another method than ``config``'s.

    Raises:
        UsageError: naming the flag and the method.
    """
    every = {name for names in METHOD_FIELDS.values() for name in names}
    foreign = (every - set(METHOD_FIELDS[config.method])) & set(given)
    if not config.trains_layer_norm and "layer_norm_learning_rate" in given:
        if "train_layer_norm" in METHOD_FIELDS[config.method]:
            raise UsageError(
                "--layer_norm_learning_rate contradicts --train_layer_norm False, which freezes the LayerNorms; leave "
                "one of them out"
            )
        foreign.add("layer_norm_learning_rate")
    if config.method == "tensorized" and (unused := unused_fields(config.adapter_placement) & set(given)):
        placement = f"--adapter_placement {config.adapter_placement}"
        raise UsageError(f"--{min(unused)} is of no use with {placement}; leave one of them out")
    if config.method != "tensorized" and "target_params" in given:
        foreign.add("target_params")
    if "adapter_sites" not in METHOD_FIELDS[config.method] and "measure_contribution" in given:
        foreign.add("measure_contribution")  # of residual adapters
    if foreign:
        raise UsageError(f"--{sorted(foreign)[0]} does not belong to --method {config.method}; leave one of them out")


def _adapter_config(given: dict[str, Any]) -> tuple[AdapterConfig, Optional[dict[str, Any]]]:
    """The method's settings: from the flags, or from ``--adapter_path``, whose config record comes second."""
    path = given.get("adapter_path")
    if path is None:
        if given.get("new_head"):
            raise UsageError("--new_head draws a new head for a saved adapter: give --adapter_path, or leave it out")
        config = AdapterConfig(**{f.name: given[f.name] for f in fields(AdapterConfig) if f.name in given})
        check_owned(given, config)
        if "target_params" in given and "tensorized_layer_rank" in given:
            raise UsageError("--target_params and --tensorized_layer_rank exclude each other; leave one of them out")
        return config, None
    if not path:
        raise UsageError("--adapter_path is empty; name an adapter/ folder or leave it out")
    if "head_start" in given and not given.get("new_head"):
        raise UsageError(
            "--head_start contradicts --adapter_path, which holds a trained head; leave one of them out, or add "
            "--new_head"
        )
    from ..saving.format import read_config  # with torch and transformers' models, which a plain command line spares
    from ..saving.hub import pinned

    given["adapter_path"] = path = pinned(path, token=given.get("token"))
    saved = read_config(path)
    config = AdapterConfig.from_dict(saved["adapter"])
    check_owned(given, config)
    if "target_params" in given:
        raise UsageError("--target_params contradicts --adapter_path, whose rank is settled; leave one of them out")
    for name, value in config.to_dict().items():
        if given.get(name, value) != value:
            saved_with = "was saved without it; leave it out" if value is None else f"has {value}"
            raise UsageError(f"--{name} {quoted(given[name])} contradicts --adapter_path, which {saved_with}")
    return config, saved


def _training_defaults(given: dict[str, Any], adapter: AdapterConfig) -> dict[str, Any]:
    defaults: dict[str, Any] = {"dataloader_pin_memory": torch.cuda.is_available()}  # else torch warns at every loader
    defaults["disable_tqdm"] = not sys.stderr.isatty()  # a bar in a log is one endless line
    if given.get("eval_strategy") == "steps":
        defaults["eval_steps"] = given.get("logging_steps", 500)  # as the Trainer's own defaults have it
    if given.get("do_eval") and given.get("do_train"):
        defaults["eval_strategy"] = "epoch"
    defaults |= selection_defaults(given)
    if (given.get("bf16") or given.get("bf16_full_eval")) and not torch.cuda.is_available():
        defaults["use_cpu"] = True  # TrainingArguments refuses bfloat16 on CPU unless it is asked for in so many words
    if count() > 1 and not torch.accelerator.is_available():
        defaults["use_cpu"] = True  # and takes each of several processes for the only one
    defaults["learning_rate"] = TABLE[adapter.method].learning_rate
    if not adapter.calibrated:
        defaults |= {"learning_rate": PUBLISHED_LEARNING_RATE, "warmup_steps": 0}
    return {name: value for name, value in defaults.items() if name not in given}


def _low_rate(given: dict[str, Any], config: AdapterConfig) -> list[str]:
    """A note where a rate of the published start was brought along to the calibrated one, which it hardly moves."""
    rate, default = given.get("learning_rate"), TABLE[config.method].learning_rate
    if not rate or not config.calibrated or config.method != "tensorized" or rate > default / 10 * (1 + 1e-9):
        return []
    return [
        f"--learning_rate {rate:g} is low for the calibrated start, whose default is {default:g}; the published "
        f"{PUBLISHED_LEARNING_RATE:g} belongs to --adapter_init published"
    ]


def _unknown_flag(word: str, parser: HfArgumentParser) -> str:
    shown = [
        action for action in parser._actions if action.help != argparse.SUPPRESS and action.dest not in UNSUPPORTED
    ]
    near = nearest(word.split("=")[0], [option for action in shown for option in action.option_strings])
    hint = f"; did you mean {near}?" if near else "; --help lists them"
    return f"unknown argument {word}{hint}"


def words_of_flags() -> set[str]:
    """Every flag that the command line takes, old spellings included."""
    return {option for action in _Parser(GROUPS)._actions for option in action.option_strings}


def nearest(word: str, known: Iterable[str]) -> Optional[str]:
    """Of the ``known`` flags the one that ``word`` begins, or else the one most like it; None if none is."""
    known, word = [option for option in known if "-" not in option[2:]], word.replace("-", "_").replace("__", "--", 1)
    begun = [option for option in known if len(word) > 4 and option.startswith(word)]
    return min(begun, key=len, default=None) or next(iter(difflib.get_close_matches(word, known, 1)), None)
