"""Flags of transformers 4 that have another name today. They keep their meaning, and a message gives the new name."""

import argparse
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Optional

from ..errors import UsageError


def _old(now: str, meaning: Callable[[Any], dict[str, Any]], **options: Any) -> Any:
    """Return a field that is replaced by the arguments ``meaning(value)``. Its message names the new flag ``now``."""

    class OldFlag(argparse.Action):
        """Stores the value under the flag of today, so that the later one of both on the command line wins."""

        def __call__(self, parser, namespace, value, option_string=None):
            for name, today in meaning(value).items():
                setattr(namespace, name, today)
            namespace.notes.append(f"--{option_string[2:].replace('-', '_')} is now {now}")

    return field(default=None, metadata={"action": OldFlag, "help": argparse.SUPPRESS} | options)


def renamed(today: str) -> Any:
    """Return a field whose value goes to the flag ``today``, with a message."""
    return _old(f"--{today}", lambda value: {today: value})


def _logging_dir(folder: str) -> dict[str, Any]:
    """Set the environment variable that has replaced the flag, and return no arguments."""
    os.environ["TENSORBOARD_LOGGING_DIR"] = folder
    return {}


def _auth_token(value: Optional[str]) -> dict[str, Any]:
    """Return the arguments of an old token flag: a token, or a switch for the stored token, which is used anyway."""
    switch = (value or "").lower() in ("", *"true 1 yes y t false 0 no n f".split())
    return {} if switch else {"token": value}


def _warmup_ratio(ratio: float) -> dict[str, Any]:
    if not 0 <= ratio <= 1:
        raise UsageError(f"--warmup_ratio must be between 0 and 1, got {ratio}")
    return {"warmup_ratio": min(ratio, 1 - 1e-9)}  # as --warmup_steps, 1 would be one step


@dataclass
class OldArguments:
    """Declares old flags, whose values the parser stores in fields of the other groups. --help does not show them."""

    evaluation_strategy: str = renamed("eval_strategy")
    no_cuda: bool = renamed("use_cpu")
    per_gpu_train_batch_size: int = renamed("per_device_train_batch_size")
    per_gpu_eval_batch_size: int = renamed("per_device_eval_batch_size")
    push_to_hub_token: str = renamed("hub_token")
    push_to_hub_model_id: str = renamed("hub_model_id")
    include_tokens_per_second: bool = renamed("include_num_input_tokens_seen")
    group_by_length: bool = _old(
        "--train_sampling_strategy group_by_length, or random",
        lambda on: {"train_sampling_strategy": "group_by_length" if on else "random"},
    )
    adafactor: bool = _old("--optim adafactor", lambda on: {"optim": "adafactor"} if on else {})
    include_inputs_for_metrics: bool = _old(
        "--include_for_metrics inputs", lambda on: {"include_for_metrics": ["inputs"]} if on else {}
    )
    warmup_ratio: float = _old("--warmup_steps, which takes a fraction below 1", _warmup_ratio)
    logging_dir: str = _old("the environment variable TENSORBOARD_LOGGING_DIR", _logging_dir)
    use_auth_token: str = _old("--token", _auth_token, nargs="?")


def merge_warmup(given: dict[str, Any]) -> None:
    """Replace the ratio by steps, in place. As in transformers 4, a number of steps above 0 wins over the ratio."""
    ratio = given.pop("warmup_ratio", None)
    if ratio is not None and not given.get("warmup_steps"):
        given["warmup_steps"] = ratio
