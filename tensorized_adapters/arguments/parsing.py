"""Parses the command line: flags are read, checked, and completed with our defaults.

Nothing here imports the Trainer, datasets or evaluate, so that ``--help`` and a typo are answered quickly.
"""

import argparse
import difflib
import itertools
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import Any, Optional

import torch
from transformers import HfArgumentParser, PretrainedConfig

from ..backbone.arguments import ModelArguments
from ..backbone.loading import load_config, use_attention
from ..backbone.parts import skeleton
from ..config import PROJECTION_TYPES, PUBLISHED_LEARNING_RATE, TABLE, AdapterConfig
from ..data.arguments import DataTrainingArguments
from ..errors import RaisesUsageErrors, UsageError, reason_of, refuse_first
from ..methods.tensorized import rank_within
from ..runtime.distributed import fail_together, world_size
from ..runtime.processor import computes_bfloat16, multiplies_bfloat16
from ..saving.manifest import kept_note, read_adapter
from .checks import flaws_of_arguments
from .config_files import flags_of_file
from .flags import Arguments, GlueTrainingArguments, RunArguments
from .method_settings import method_settings
from .old_flags import OldArguments, merge_warmup
from .rates import low_rate, optimizer_for_model, rates_for_model
from .selection import resolve_metrics, selection_defaults
from .trainer_fields import ALWAYS_ON, UNSUPPORTED, flaws_of_values, flaws_of_variables

GROUPS = (AdapterConfig, ModelArguments, DataTrainingArguments, RunArguments, GlueTrainingArguments, OldArguments)
ModelConfigOf = Callable[[ModelArguments], PretrainedConfig]
_USAGE = (
    "run_glue_tensorized.py [JOB.json] --model_name_or_path MODEL --task_name TASK --do_train --do_eval "
    f"--output_dir FOLDER --adapter_projection_type {{{','.join(PROJECTION_TYPES)}}} [FLAG ...]"
)
# TrainingArguments has more than a hundred flags. These are shown first.
_USUAL = (
    "do_train do_eval do_predict output_dir learning_rate num_train_epochs max_steps per_device_train_batch_size "
    "per_device_eval_batch_size gradient_accumulation_steps warmup_steps weight_decay seed eval_strategy "
    "save_strategy save_total_limit load_best_model_at_end metric_for_best_model logging_steps disable_tqdm bf16 "
    "resume_from_checkpoint"
).split()


class _Parser(RaisesUsageErrors, HfArgumentParser):
    pass


def parse_arguments(argv: list[str], model_config_of: ModelConfigOf = load_config) -> Arguments:
    """Parse, check and complete flags. A JSON file of the same names can come first; flags after it win.

    ``model_config_of`` loads the pre-trained model's configuration. Raise UsageError, which names the flag.
    """
    parser = _Parser(GROUPS, allow_abbrev=False, description=sys.modules["__main__"].__doc__)
    if argv and argv[0].endswith(".json"):
        several = {option[2:] for action in parser._actions if action.nargs == "+" for option in action.option_strings}
        argv = flags_of_file(argv[0], several) + argv[1:]
    if {"-h", "--help"} & set(argv):
        _print_help(parser)
        raise SystemExit(0)
    given, notes = _given(parser, argv)
    try:
        refuse_first(itertools.chain(flaws_of_variables(given), flaws_of_values(given)))
        resolve_metrics(given)
    except UsageError as error:  # it uses a flag's new name, and the notes name the old one
        raise UsageError("; ".join([str(error), *notes])) from None
    config, saved = method_settings(given)
    trained = _as_trained(saved, given) if saved else {}
    values = _training_defaults(given, config) | trained | given | config.to_dict()
    try:
        adapter, model, data, run, training, _ = parser.parse_dict(values, allow_extra_keys=True)
    except UsageError:
        raise
    except Exception as error:  # TrainingArguments may raise anything while it sets up
        raise UsageError(f"refused by TrainingArguments: {reason_of(error)}") from None
    notes += filter(None, [low_rate(given, config)])
    if "early_stopping_patience" in given and "metric_for_best_model" not in given:
        notes.append("early stopping watches the evaluation's loss; --metric_for_best_model names another")
    notes += [f"--{name} {value}, as --adapter_path was trained" for name, value in trained.items()]
    arguments = Arguments(model, data, adapter, saved, run, training, given, tuple(notes))
    refuse_first(flaws_of_arguments(arguments))
    with fail_together():  # a model's configuration may be missing in one process only
        return _resolved(arguments, model_config_of)


def words_of_flags() -> set[str]:
    """Return every flag that the command line takes, old names included."""
    return {option for action in _Parser(GROUPS)._actions for option in action.option_strings}


def nearest(word: str, known: Iterable[str]) -> Optional[str]:
    """Return the ``known`` flag that begins with ``word``, or else the most similar one, if there is one."""
    known, word = [option for option in known if "-" not in option[2:]], word.replace("-", "_").replace("__", "--", 1)
    begun = [option for option in known if len(word) > 4 and option.startswith(word)]
    return min(begun, key=len, default=None) or next(iter(difflib.get_close_matches(word, known, 1)), None)


def _given(parser: _Parser, argv: list[str]) -> tuple[dict[str, Any], list[str]]:
    """Return the values of the given flags, without defaults, and a message for each flag with an old name."""
    for action in parser._actions:
        if action.dest in ("method", "adapter_projection_type"):
            action.type = str.lower  # the papers write CP and LoRA
        action.default = argparse.SUPPRESS
    namespace, unknown = parser.parse_known_args(argv, argparse.Namespace(notes=[]))
    if unknown:
        hidden = {action.dest for action in parser._actions if action.help == argparse.SUPPRESS} | UNSUPPORTED.keys()
        shown = [action.option_strings for action in parser._actions if action.dest not in hidden]
        near = nearest(unknown[0].split("=")[0], itertools.chain(*shown))
        raise UsageError(f"unknown argument {unknown[0]}; {f'did you mean {near}?' if near else '--help lists them'}")
    given = vars(namespace)
    notes = given.pop("notes")
    merge_warmup(given)
    return given, notes


def _training_defaults(given: dict[str, Any], adapter: AdapterConfig) -> dict[str, Any]:
    """Return the defaults that depend on other flags, on the method or on the machine."""
    defaults: dict[str, Any] = {"dataloader_pin_memory": torch.cuda.is_available()}  # torch warns without a GPU
    defaults["disable_tqdm"] = not sys.stderr.isatty()  # a bar in a log is one endless line
    if given.get("eval_strategy") == "steps":
        defaults["eval_steps"] = given.get("logging_steps", 500)  # the Trainer's own default
    if given.get("do_eval") and given.get("do_train"):
        defaults["eval_strategy"] = "epoch"
    defaults |= selection_defaults(given)
    if (given.get("bf16") or given.get("bf16_full_eval")) and not torch.cuda.is_available():
        defaults["use_cpu"] = True  # TrainingArguments refuses bfloat16 on CPU without this flag
    if world_size() > 1 and not torch.accelerator.is_available():
        defaults["use_cpu"] = True  # without it TrainingArguments takes each process for the only one
    defaults["learning_rate"] = TABLE[adapter.method].learning_rate
    if not adapter.calibrated:
        defaults |= {"learning_rate": PUBLISHED_LEARNING_RATE, "warmup_steps": 0}
    return {name: value for name, value in defaults.items() if name not in given}


def _as_trained(saved: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
    """Return the flags of a saved adapter's training that are neither given nor the defaults. With ``--new_head`` the
    length is left out, since another task has its own."""
    values = {"tokenizer_name": kept_note(saved, "tokenizer", str)}
    if not given.get("new_head"):
        length = kept_note(saved, "max_seq_length", int)
        values["max_seq_length"] = None if length == DataTrainingArguments.max_seq_length else length
    return {name: value for name, value in values.items() if value is not None and name not in given}


def _resolved(arguments: Arguments, model_config_of: ModelConfigOf) -> Arguments:
    """Return the arguments with what depends on the model: its configuration, default rates, optimizer and rank."""
    if arguments.saved:
        read_adapter(arguments.run.adapter_path)  # check the weights too, before slow steps
    model_config = model_config_of(arguments.model)
    if arguments.model.attn_implementation:
        use_attention(model_config, arguments.model.attn_implementation)
    rates = rates_for_model(arguments, model_config)
    training, adapter, notes = arguments.training, arguments.adapter, list(arguments.notes)
    training.learning_rate = rates.pop("learning_rate", training.learning_rate)
    if (optimizer := optimizer_for_model(arguments, model_config)) != training.optim:
        training.optim = optimizer
        notes.append(f"--optim {optimizer.value}, the default of this method for a model of this size")
    if arguments.run.target_params is not None:
        rank, note = rank_within(adapter, skeleton(model_config), arguments.run.target_params)
        adapter = replace(adapter, tensorized_layer_rank=rank)
        notes.append(note)
    notes += _device_notes(training)
    if training.n_gpu > 1:
        # Otherwise the Trainer would split batches over all GPUs (nn.DataParallel), which multiplies the batch size.
        training._n_gpu = 1
    return replace(
        arguments,
        adapter=adapter,
        run=replace(arguments.run, **rates),
        notes=tuple(notes),
        model_config=model_config,
    )


def _device_notes(training: GlueTrainingArguments) -> Iterator[str]:
    """Yield messages about the precision and the GPUs, of which a run uses one."""
    if training.device.type == "cuda" and not (training.bf16 or training.fp16 or training.tf32):
        yield "in float32, since no other precision is given; --bf16 or --tf32 True is faster on this GPU"
    if training.device.type == "cpu" and training.do_train and not training.bf16 and multiplies_bfloat16():
        yield "in float32, since no other precision is given; --bf16 is faster on this processor (AMX)"
    half = next((flag for flag in ("bf16", "bf16_full_eval") if getattr(training, flag)), None)
    if half and training.device.type == "cpu" and not computes_bfloat16():
        yield f"this processor has no instructions for bfloat16, and float32 is faster on it: leave --{half} out"
    if training.n_gpu > 1:
        how = "CUDA_VISIBLE_DEVICES chooses it; several runs side by side, or one under torchrun, use them all"
        yield f"{training.n_gpu} GPUs are visible and a run uses one, {training.device}; {how}"


def _print_help(parser: argparse.ArgumentParser) -> None:
    """Print the usual flags first, and none that would be refused. The parser cannot parse afterwards."""
    parser.usage = _USAGE
    for action in parser._actions:
        if action.dest in UNSUPPORTED or action.dest in ALWAYS_ON:
            action.help = argparse.SUPPRESS
        if action.default is None:
            action.default = argparse.SUPPRESS  # "default: None" is of no use
        # Names with dashes are accepted too. To show both would double every line.
        action.option_strings = [option for option in action.option_strings if "-" not in option[2:]] or ["-h"]
    for group in list(parser._action_groups):
        if group.title == "training arguments":
            usual = parser.add_argument_group("training arguments: the usual ones")
            usual._group_actions = [action for action in group._group_actions if action.dest in _USUAL]
            rest = [action for action in group._group_actions if action.dest not in _USUAL]
            parser._action_groups.insert(parser._action_groups.index(group), parser._action_groups.pop())
            group.title, group._group_actions = "training arguments: all others of Hugging Face's Trainer", rest
    parser.print_help(sys.stdout)
