"""Flags that transformers 5 dropped: parsed with their old meaning, kept under today's names, each with a note."""

import argparse
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Optional

from ..errors import UsageError


class _Dropped(argparse.Action):
    """Stores in the namespace what the flag means today, in its place among the others: the later one wins."""

    def __init__(self, *args, meaning: Callable[[Any], dict[str, Any]], now: str, **kwargs):
        super().__init__(*args, **kwargs)
        self.meaning, self.now = meaning, now

    def __call__(self, parser, namespace, value, option_string=None):
        for name, today in self.meaning(value).items():
            setattr(namespace, name, today)
        namespace.notes.append(f"--{option_string[2:].replace('-', '_')} {self.now}")


def _dropped(now: str, meaning: Callable[[Any], dict[str, Any]] = lambda value: {}, **options: Any) -> Any:
    """A field whose note says ``now``, and whose value stands for the arguments ``meaning(value)``."""
    how = {"action": _Dropped, "now": now, "meaning": meaning, "help": argparse.SUPPRESS}
    return field(default=None, metadata=how | options)


def _renamed(today: str) -> Any:
    return _dropped(f"is now --{today}", lambda value: {today: value})


def _safetensors(on: bool) -> dict[str, Any]:
    if not on:
        raise UsageError("--save_safetensors False is gone: everything is saved as safetensors; leave it out")
    return {}


def _logging_dir(folder: str) -> dict[str, Any]:
    os.environ["TENSORBOARD_LOGGING_DIR"] = folder
    return {}


def _auth_token(value: Optional[str]) -> dict[str, Any]:
    """A switch for the stored token, which is used anyway, or a token."""
    switch = (value or "").lower() in ("", *"true 1 yes y t false 0 no n f".split())
    return {} if switch else {"token": value}


def _warmup_ratio(ratio: float) -> dict[str, Any]:
    if not 0 <= ratio <= 1:
        raise UsageError(f"--warmup_ratio must be between 0 and 1, got {ratio}")
    return {"warmup_ratio": min(ratio, 1 - 1e-9)}


def _all_spellings(names: str) -> list[str]:
    return [f"--{spelling}" for name in names.split() for spelling in dict.fromkeys((name, name.replace("_", "-")))]


@dataclass
class DroppedArguments:
    """For the parser alone, which fills the fields of the other groups from these; --help hides them."""

    evaluation_strategy: str = _renamed("eval_strategy")
    no_cuda: bool = _renamed("use_cpu")
    per_gpu_train_batch_size: int = _renamed("per_device_train_batch_size")
    per_gpu_eval_batch_size: int = _renamed("per_device_eval_batch_size")
    push_to_hub_token: str = _renamed("hub_token")
    push_to_hub_model_id: str = _renamed("hub_model_id")
    include_tokens_per_second: bool = _renamed("include_num_input_tokens_seen")
    group_by_length: bool = _dropped(
        "is now --train_sampling_strategy group_by_length, or random",
        lambda on: {"train_sampling_strategy": "group_by_length" if on else "random"},
    )
    adafactor: bool = _dropped("is now --optim adafactor", lambda on: {"optim": "adafactor"} if on else {})
    include_inputs_for_metrics: bool = _dropped(
        "is now --include_for_metrics inputs", lambda on: {"include_for_metrics": ["inputs"]} if on else {}
    )
    save_safetensors: bool = _dropped("is now always on", _safetensors)
    use_mps_device: bool = _dropped("is now always on")  # where there is one
    warmup_ratio: float = _dropped("is now --warmup_steps, which takes a fraction below 1", _warmup_ratio)
    logging_dir: str = _dropped("is now the environment variable TENSORBOARD_LOGGING_DIR", _logging_dir)
    use_auth_token: str = _dropped("is now --token", _auth_token, nargs="?")
    # With their effect went the backends that they chose among.
    fp16_backend: str = _dropped(
        "has no effect any more; leave it out",
        nargs="?",
        aliases=_all_spellings(
            "half_precision_backend fp16_opt_level tpu_num_cores tpu_metrics_debug past_index ray_scope jit_mode_eval "
            "use_ipex torchdynamo mp_parameters use_legacy_prediction_loop push_to_hub_organization xpu_backend "
            "fsdp_min_num_params fsdp_transformer_layer_cls_to_wrap sharded_ddp"
        ),
    )


def settle_warmup(given: dict[str, Any]) -> None:
    """In place: a number of steps above 0 wins over the ratio, wherever it stands, as it always did."""
    ratio = given.pop("warmup_ratio", None)
    if ratio is not None and not given.get("warmup_steps"):
        given["warmup_steps"] = ratio
