"""Flags that transformers 5 dropped: accepted with their old meaning, with a line that names the new spelling."""

import os
import re

from .errors import UsageError

RENAMED = {
    "evaluation_strategy": "eval_strategy",
    "warmup_ratio": "warmup_steps",  # a value below 1 is a fraction there
    "no_cuda": "use_cpu",
    "per_gpu_train_batch_size": "per_device_train_batch_size",
    "per_gpu_eval_batch_size": "per_device_eval_batch_size",
    "use_auth_token": "token",
    "push_to_hub_token": "hub_token",
    "push_to_hub_model_id": "hub_model_id",
    "include_tokens_per_second": "include_num_input_tokens_seen",
}
# A switch, and the flags that say the same today. Off, each is the default and needs none.
SWITCHES = {
    "group_by_length": ["--train_sampling_strategy", "group_by_length"],
    "adafactor": ["--optim", "adafactor"],
    "include_inputs_for_metrics": ["--include_for_metrics", "inputs"],
    "save_safetensors": [],  # always
    "use_mps_device": [],  # found by itself
}
# Flags with a value whose effect is gone with the backends they chose among.
WITHOUT_EFFECT = {
    "fp16_backend",
    "half_precision_backend",
    "fp16_opt_level",
    "tpu_num_cores",
    "past_index",
    "ray_scope",
}
TRUE, FALSE = {"true", "1", "yes", "y", "t"}, {"false", "0", "no", "n", "f"}


def translate_legacy_flags(argv: list[str]) -> tuple[list[str], list[str]]:
    """Rewrite dropped flags.

    Returns:
        The flags in today's spelling, and one line for each that was rewritten.

    Raises:
        UsageError: for an old flag whose meaning cannot be kept.
    """
    result: list[str] = []
    notes: list[str] = []
    words = [part for word in argv for part in (word.split("=", 1) if re.match(r"--[\w-]+=", word) else [word])]
    position = 0
    while position < len(words):
        word = words[position]
        name = word[2:].replace("-", "_") if word.startswith("--") else ""
        following = words[position + 1] if position + 1 < len(words) else ""
        value = "" if following.startswith("--") else following
        position += 1
        if name in RENAMED:
            result.append(f"--{RENAMED[name]}")
            notes.append(f"--{name} is now --{RENAMED[name]}")
        elif name in SWITCHES:
            if value.lower() in TRUE | FALSE:
                position += 1
            on = value.lower() not in FALSE
            if name == "save_safetensors" and not on:
                raise UsageError("--save_safetensors False is gone: everything is saved as safetensors; leave it out")
            result += SWITCHES[name] if on else []
            notes.append(f"--{name} is now {' '.join(SWITCHES[name]) or 'always on'}")
        elif name == "logging_dir":
            position += bool(value)
            os.environ["TENSORBOARD_LOGGING_DIR"] = value
            notes.append("--logging_dir is now the environment variable TENSORBOARD_LOGGING_DIR")
        elif name in WITHOUT_EFFECT:
            position += bool(value)
            notes.append(f"--{name} has no effect any more; leave it out")
        else:
            result.append(word)
    return result, notes
