"""``--help``: one usage line, the flags that most runs need first, and no flag that would be refused."""

import argparse
import sys

from ..config import PROJECTION_TYPES
from .trainer_fields import ALWAYS_ON, UNSUPPORTED

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


def print_help(parser: argparse.ArgumentParser) -> None:
    """Print the help of a parser, which cannot parse afterwards."""
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
