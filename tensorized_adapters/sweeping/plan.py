"""The plan of a sweep. Each point of a grid of methods and settings is a trial, with a command line of the main
job."""

import argparse
import contextlib
import hashlib
import io
import itertools
import json
import os
import re
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional

from transformers import PreTrainedModel

from ..adaptation.counts import count_parameters
from ..arguments.flags import Arguments
from ..arguments.parsing import parse_arguments
from ..backbone.arguments import ModelArguments
from ..backbone.known_models import model_config
from ..backbone.loading import load_tokenizer
from ..backbone.parts import skeleton
from ..config import AdapterConfig
from ..data.class_weights import class_weights
from ..data.loading import load_data
from ..data.locations import location_of
from ..data.metric_names import with_metrics
from ..data.sources import check_source
from ..data.tasks import TASKS
from ..errors import UsageError, one_line
from ..runs.same_run import effective_arguments, resolved_arguments, used_roles
from . import REPOSITORY, TRIALS
from .grid import MODES, grid_of
from .passed_flags import own_words, owns, passed_flags, take_value, with_defaults

# The numbers of examples in GLUE's training sets, and the seconds of a step of each method relative to tensorized
# adapters (benchmarks/). They only decide the order of the trials and the estimate of the remaining time.
_EXAMPLES = {"cola": 8551, "mnli": 392702, "mrpc": 3668, "qnli": 104743, "qqp": 363846, "rte": 2490, "sst2": 67349}
_EXAMPLES |= {"stsb": 5749, "wnli": 635}
_COST = {"head": 0.5, "diff_pruning": 1.5, "full": 1.45}
# Flags that name a trial's model and data.
_SOURCES = "model_name_or_path config_name tokenizer_name model_revision task_name glue_path dataset_name".split()
_SOURCES += "dataset_config_name train_file validation_file test_file".split()
# Flags whose values depend on the columns and the labels of the data.
_ABOUT_DATA = {"class_weights", "metric_name", "metric_for_best_model", "text_columns", "label_column"}
# The bytes of the readable part of a trial's name. With the hash and .log, 255 are the most that file systems take.
_LONGEST = 240
_PLACEMENT = "adapter_placement"  # a flag of the main job that decides which others belong to a trial


@dataclass(frozen=True)
class Trial:
    """One run of the main job."""

    # The name of the trial's folder and log: task, method, seed and a hash of the settings that can change the result.
    name: str
    words: tuple[str, ...]  # the command line, without --output_dir
    resolved: dict[str, Any]  # all arguments with their values
    config: AdapterConfig
    task: str
    seed: int
    counts: Optional[dict[str, int]]  # numbers of parameters by group; None if refused
    refused: Optional[str]  # why the method cannot be used on this model, or None
    cost: float  # the expected time, in arbitrary units

    def folder(self, output_dir: Path) -> Path:
        return output_dir / TRIALS / self.name

    def command(self, output_dir: Path) -> list[str]:
        """Return the script and its arguments."""
        script = str(REPOSITORY / "run_glue_tensorized.py")
        return [script, *self.words, "--output_dir", str(self.folder(output_dir))]


def trials_of(options: argparse.Namespace, flags: list[str]) -> list[Trial]:
    """Return every trial of the grid, the longest first; raise UsageError for a grid without trials.

    ``flags`` are for the main job, such as ``["--num_train_epochs", "3"]``. A flag goes to the trials of the methods
    that own it, and one that no method owns is refused.
    """
    passed = passed_flags(flags)
    configs = _configs_of(options, passed)
    passed = with_defaults(passed, options)
    skeletons: dict[int, PreTrainedModel] = {}  # one for each number of labels, since all trials have the same model

    def skeleton_with(labels: int, model: ModelArguments) -> PreTrainedModel:
        if labels not in skeletons:
            skeletons[labels] = skeleton(model_config(model, labels))
        return skeletons[labels]

    trials: dict[str, Trial] = {}
    flaws: dict[AdapterConfig, UsageError] = {}  # why a config has no valid trial
    for config, settings in configs.items():
        own = own_words(config, passed)
        rest = itertools.product(options.tasks or (None,), options.learning_rates or (None,), options.seeds)
        made: dict[str, Trial] = {}  # command lines of equal settings are one trial
        for task, rate, seed in rest:
            point = settings | {"task_name": task, "learning_rate": rate, "seed": seed}
            words = [str(word) for name, value in point.items() if value is not None for word in (f"--{name}", value)]
            try:
                arguments = parse_arguments(own + words, lambda model: skeleton_with(2, model).config)
            except UsageError as error:
                flaws.setdefault(config, error)
            else:
                trial = _trial(arguments, own + words, skeleton_with)
                made[trial.name] = trial
        if made and config in flaws:  # a task, a rate or a seed is at fault, and not the config
            raise flaws[config]
        trials |= made
    for config, flaw in flaws.items():
        if not any(trial.config.method == config.method for trial in trials.values()):
            raise flaw  # no format accepts the flag, so the flag is wrong
        print(f"skipped: {one_line(f'{config.describe()}: {flaw}')}", file=sys.stderr)
    return sorted(trials.values(), key=lambda trial: -trial.cost)


def _configs_of(options: argparse.Namespace, passed: dict[str, list[str]]) -> dict[AdapterConfig, dict[str, Any]]:
    """Return the methods of the grid with the settings of each, as grid_of does. Flags that are axes of the grid are
    removed from ``passed``. Raises UsageError for a grid without methods, and for a flag that no method of it owns."""
    axes = {"adapter_projection_type": options.projection_types, "tensorized_layer_rank": options.ranks}
    axes |= {"if_adapter_like": [MODES[mode] for mode in options.modes], "adapter_size": options.adapter_sizes}
    if options.projection_types and _PLACEMENT in passed:
        axes[_PLACEMENT] = [take_value(passed, _PLACEMENT)]
    if "peft" in options.methods and "peft_type" in passed:
        axes["peft_type"] = [name.strip() for name in take_value(passed, "peft_type").split(",")]
    if "peft" in options.methods and "peft_config" in passed:
        axes["peft_config"] = [take_value(passed, "peft_config")]
    configs = grid_of([*(["tensorized"] if options.projection_types else []), *options.methods], axes)
    for axis, name in (("modes", "if_adapter_like"), ("adapter_sizes", "adapter_size")):
        if getattr(options, axis) and not any(name in settings for settings in configs.values()):
            raise UsageError(f"--{axis} belongs to none of this sweep's methods; leave it out")
    if not configs:
        raise UsageError("nothing to train: give --projection_types and --ranks, or --methods")
    for name in passed:
        if not any(owns(config, name) for config in configs):
            raise UsageError(f"--{name} belongs to none of this sweep's methods; leave it out")
    return configs


def check_reachable(trials: Iterable[Trial]) -> None:
    """Refuse a sweep of which no trial could start, as its model or data cannot be reached; raise UsageError.

    One trial that can start is enough, since any other fails by itself later. No weights are loaded.
    """
    flaw = None
    for trial in {tuple(str(t.resolved.get(name)) for name in _SOURCES): t for t in trials}.values():
        try:
            arguments = parse_arguments(list(trial.words))  # loads the model's configuration
            load_tokenizer(arguments.model, arguments.model_config)
            check_source(arguments.data, used_roles(arguments.training))
            _check_labels(arguments)
            return
        except UsageError as error:
            flaw = flaw or error
    if flaw:
        raise UsageError(f"no trial could start: {flaw}")


def _check_labels(arguments: Arguments) -> None:
    """Refuse flags that do not suit the columns and the labels of local data; raise UsageError.

    Data is read if such a flag is given. That of the hub is left to the trials, which download it.
    """
    data, run, training = arguments.data, arguments.run, arguments.training
    if not arguments.given.keys() & _ABOUT_DATA or not (data.files or location_of(data).folder):
        return
    with contextlib.redirect_stdout(io.StringIO()):  # each trial's log has the notes
        loaded = load_data(data, used_roles(training), seed=training.seed)
    task = with_metrics(loaded.task, run.metric_name, training.metric_for_best_model)
    if run.class_weights is not None and loaded.train is not None:
        class_weights(run.class_weights, task.labels, loaded.train["label"][:])


def labels_of(resolved: dict[str, Any]) -> int:
    """Return the number of labels for the count of a trial's parameters. Data that is not GLUE's is taken to have two,
    or one with ``--do_regression``, without reading it. The record of a finished trial has the true counts."""
    if resolved["task_name"] in TASKS:
        return len(TASKS[resolved["task_name"]].labels or "1")
    return 1 if resolved["do_regression"] else 2


def cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _trial(
    arguments: Arguments, words: list[str], skeleton_with: Callable[[int, ModelArguments], PreTrainedModel]
) -> Trial:
    resolved = resolved_arguments(arguments)
    data, config, training = arguments.data, arguments.adapter, arguments.training
    task = data.task_name or Path(data.dataset_name or data.train_file).stem
    settings = json.dumps(effective_arguments(resolved), sort_keys=True)
    described = re.sub(r"[^A-Za-z0-9.+-]+", "_", f"{task}_{config.describe()}_seed{training.seed}")
    counts, refused, model = None, None, skeleton_with(labels_of(resolved), arguments.model)
    try:
        counts = count_parameters(config, model)
    except UsageError as error:
        refused = one_line(error)
    count = min(_EXAMPLES.get(data.task_name, 5000), data.max_train_samples or 10**9)
    examples = max(training.max_steps, 0) * training.per_device_train_batch_size or count * training.num_train_epochs
    return Trial(
        name=f"{described[:_LONGEST]}_{hashlib.sha256(settings.encode()).hexdigest()[:10]}",
        words=tuple(words),
        resolved=resolved,
        config=config,
        task=task,
        seed=training.seed,
        counts=counts,
        refused=refused,
        cost=examples * _COST.get(config.method, 1.0),
    )
