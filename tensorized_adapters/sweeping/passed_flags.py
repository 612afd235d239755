"""The flags that a sweep passes on to its trials: the allowed ones, the methods that own them, and defaults."""

import argparse
import itertools
import sys
from typing import Any

from ..arguments.method_settings import flaws_of_ownership
from ..config import AdapterConfig
from ..embedded import embedded_model
from ..errors import UsageError
from . import REPOSITORY

# Flags of the main job that a sweep sets itself, with the reason why a user may not.
_NOT_FOR_TRIALS = {
    "output_dir": "the sweep gives each trial a folder of its own",
    "overwrite_output_dir": "a sweep overwrites nothing; name another --output_dir",
    "resume_from_checkpoint": "the same sweep again goes on from each trial's checkpoint",
    "adapter_path": "a sweep trains its adapters",
    "push_to_hub": "a repository holds one adapter; upload a trial's with push_adapter",
    "target_params": "a sweep takes --ranks",
    "if_adapter_like": "a sweep takes --modes",
}

_LAYERS, _CACHE = {"adapter_layers", "lora_targets"}, {"cache_frozen_prefix", "prefix_cache_dir"}


def passed_flags(flags: list[str]) -> dict[str, list[str]]:
    """Return the words ``--name value ...`` by name. The last of equal names wins, as in argparse. Raises UsageError
    for a word that belongs to no flag, and for a flag that the sweep sets itself."""
    passed: dict[str, list[str]] = {}
    name = ""
    for word in flags:
        if word.startswith("--"):
            name = word[2:].partition("=")[0]
            passed[name] = []
        elif not name:
            raise UsageError(f"{word!r} is neither a flag nor a value of one; --help lists what there is")
        passed[name].append(word)
    for name, reason in _NOT_FOR_TRIALS.items():
        if name in passed:
            raise UsageError(f"--{name}: {reason}")
    for name in ("do_train", "do_eval"):
        if passed.get(name, ["true"])[-1].rpartition("=")[2].lower() in ("false", "0", "no", "f", "n"):
            raise UsageError(f"--{name}: a sweep trains and evaluates; leave it out")
    return passed


def owns(config: AdapterConfig, name: str) -> bool:
    """Return whether a flag has a meaning for the method of a config."""
    return not any(flaws_of_ownership({name: None}, config))


def own_words(config: AdapterConfig, passed: dict[str, list[str]]) -> list[str]:
    """Return the words of the flags that belong to a method. Those for the cache of frozen layers are left out if
    flags choose layers, and the method has none of these."""
    own = {name: words for name, words in passed.items() if owns(config, name)}
    if _LAYERS & passed.keys() and not _LAYERS & own.keys():
        own = {name: words for name, words in own.items() if name not in _CACHE}
    return [*itertools.chain(*own.values())]


def take_value(passed: dict[str, list[str]], name: str) -> str:
    """Remove a flag from those that are passed on, and return its value."""
    return " ".join(passed.pop(name)).removeprefix(f"--{name}")[1:]


def with_defaults(passed: dict[str, list[str]], options: argparse.Namespace) -> dict[str, list[str]]:
    """Return the flags with those that every trial gets, and the embedded model and its data if none are named."""
    defaults: dict[str, Any] = {"do_train": True, "do_eval": True, "disable_tqdm": True}
    names_data = options.tasks or {"dataset_name", "train_file", "validation_file"} & passed.keys()
    if "model_name_or_path" not in passed:
        defaults |= {"model_name_or_path": embedded_model()}
        if names_data:
            print("note: no --model_name_or_path is given; taking the embedded MiniLM BERT", file=sys.stderr)
    if not names_data:
        data = REPOSITORY / "data" / "paraphrases"
        defaults |= {"train_file": data / "train.csv", "validation_file": data / "validation.csv", "task_name": "mrpc"}
    defaults |= {"per_device_train_batch_size": 32, "cpu_threads": options.cpus_per_trial}
    return {name: [f"--{name}", str(value)] for name, value in defaults.items() if name not in passed} | passed
