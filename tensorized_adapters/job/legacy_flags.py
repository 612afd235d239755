"""Flags that transformers 5 dropped: accepted with their old meaning, with a line that names the new spelling."""

import os

from ..errors import UsageError

RENAMED = {
    "evaluation_strategy": "eval_strategy",
    "no_cuda": "use_cpu",
    "per_gpu_train_batch_size": "per_device_train_batch_size",
    "per_gpu_eval_batch_size": "per_device_eval_batch_size",
    "push_to_hub_token": "hub_token",
    "push_to_hub_model_id": "hub_model_id",
    "include_tokens_per_second": "include_num_input_tokens_seen",
}
# A switch, and the flags that say the same today. Off, each is the default and needs none, or has those below.
SWITCHES = {
    "group_by_length": ["--train_sampling_strategy", "group_by_length"],
    "adafactor": ["--optim", "adafactor"],
    "include_inputs_for_metrics": ["--include_for_metrics", "inputs"],
    "save_safetensors": [],  # always
    "use_mps_device": [],  # found by itself
}
SWITCHED_OFF = {"group_by_length": ["--train_sampling_strategy", "random"]}
# Flags whose effect is gone with the backends they chose among.
WITHOUT_EFFECT = set(
    "fp16_backend half_precision_backend fp16_opt_level tpu_num_cores tpu_metrics_debug past_index ray_scope "
    "jit_mode_eval use_ipex torchdynamo mp_parameters use_legacy_prediction_loop push_to_hub_organization "
    "fsdp_min_num_params fsdp_transformer_layer_cls_to_wrap sharded_ddp xpu_backend".split()
)
SPECIAL = {"warmup_ratio", "logging_dir", "use_auth_token"}
TRUE, FALSE = {"true", "1", "yes", "y", "t"}, {"false", "0", "no", "n", "f"}


def translate_legacy_flags(argv: list[str]) -> tuple[list[str], list[str]]:
    """Rewrite dropped flags.

    Returns:
        The flags in today's spelling, and one line for each that was rewritten.

    Raises:
        UsageError: for an old flag whose meaning cannot be kept.
    """
    result: list[str] = []
    last: list[str] = []
    notes: list[str] = []
    position = 0
    while position < len(argv):
        word = argv[position]
        position += 1
        name, equals, value = word.partition("=")
        name = name[2:].replace("-", "_") if name.startswith("--") else ""
        if name not in RENAMED.keys() | SWITCHES.keys() | WITHOUT_EFFECT | SPECIAL:
            result.append(word)
            continue
        given = [value] if equals else []
        if not equals and position < len(argv) and not argv[position].startswith("--"):
            given = [argv[position]]
            position += 1
        new, note = _translate(name, given, argv)
        # Last, so that it wins over a --warmup_steps 0 that stands behind it.
        last += new if name == "warmup_ratio" else []
        result += [] if name == "warmup_ratio" else new
        notes.append(f"--{name} {note}")
    return result + last, notes


def _translate(name: str, given: list[str], argv: list[str]) -> tuple[list[str], str]:
    """Today's words for one dropped flag with its value, if it has one, and what to tell about it."""
    value = given[0] if given else ""
    if name in RENAMED:
        return [f"--{RENAMED[name]}", *given], f"is now --{RENAMED[name]}"
    if name in SWITCHES:
        on = value.lower() not in FALSE
        if name == "save_safetensors" and not on:
            raise UsageError("--save_safetensors False is gone: everything is saved as safetensors; leave it out")
        new = SWITCHES[name] if on else SWITCHED_OFF.get(name, [])
        return new, f"is now {' '.join(new or SWITCHES[name]) or 'always on'}"
    if name == "warmup_ratio":
        return _warmup(value, argv), "is now --warmup_steps, which takes a fraction below 1"
    if name == "logging_dir":
        os.environ["TENSORBOARD_LOGGING_DIR"] = value
        return [], "is now the environment variable TENSORBOARD_LOGGING_DIR"
    if name == "use_auth_token":  # a switch for the stored token, which is used anyway, or a token
        token = [] if value.lower() in TRUE | FALSE | {""} else ["--token", value]
        return token, "is now --token"
    return [], "has no effect any more; leave it out"


def _warmup(value: str, argv: list[str]) -> list[str]:
    """A number of steps above 0 wins over the ratio, wherever it stands, as it always did."""
    try:
        ratio = float(value)
    except ValueError:
        ratio = -1.0
    if not 0 <= ratio <= 1:
        raise UsageError(f"--warmup_ratio must be between 0 and 1, got {value!r}")
    steps = [argv[i + 1] for i, word in enumerate(argv[:-1]) if word in ("--warmup_steps", "--warmup-steps")]
    if steps and steps[-1] not in ("0", "0.0"):
        return []
    return ["--warmup_steps", str(min(ratio, 1 - 1e-9))]
