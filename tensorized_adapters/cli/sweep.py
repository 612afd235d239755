"""A grid of runs of run_glue_tensorized.py on Ray: methods, ranks, sizes, tasks, learning rates and seeds.

  tensorized-adapters sweep [GRID.yaml] --projection_types cp,tt --ranks 2,4 --methods dense,bitfit --tasks mrpc,rte \\
      --seeds 1,2,3 --output_dir runs/sweep [any flag of run_glue_tensorized.py]

Each trial is a run of the main job in a process of its own, below OUTPUT_DIR/trials. A flag that belongs to some
methods goes to their trials alone. The same command again goes on: finished trials are left alone, interrupted ones
resume from their checkpoint, failed ones get another chance. Without model and data, the embedded MiniLM and
data/paraphrases are used. A YAML file holds the same names without dashes, lists as lists; flags after it win. At the
end OUTPUT_DIR/report holds tables and figures (tensorized-adapters report).

Exit codes: 0 all trials done, 1 some failed, 2 refused input, 130 and 143 interrupted.
"""

import argparse
import os
import shlex
import sys
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

from tensorized_adapters.arguments.config_files import flags_of_file
from tensorized_adapters.cli.parser import (
    ScriptParser,
    comma_separated,
    duration,
    names_among,
    nonnegative_integer,
    number,
    positive_integer,
)
from tensorized_adapters.config import METHODS, PROJECTION_TYPES
from tensorized_adapters.data.tasks import TASKS
from tensorized_adapters.errors import Terminated, UsageError, need, one_line
from tensorized_adapters.reporting import PACKAGES
from tensorized_adapters.sweeping.grid import MODES


def main(argv: list[str]) -> int:
    """Run the sweep; raise UsageError if input is refused, and RunFailed if the sweep itself fails."""
    began = time.time()
    if argv and argv[0].endswith((".yaml", ".yml")):
        argv = flags_of_file(argv[0]) + argv[1:]
    argv = [_with_underscores(word) for word in argv]
    parser = _parser()
    options, flags = parser.parse_known_args(argv)
    _check_spelling(parser, argv, flags)
    _check(options, argv)
    try:
        return _sweep(options, flags, began)
    except (KeyboardInterrupt, Terminated) as error:
        raise type(error)("the same command goes on where it was") from error


def _sweep(options: argparse.Namespace, flags: list[str], began: float) -> int:
    from tensorized_adapters.runtime.console import console
    from tensorized_adapters.sweeping.ledger import Ledger, no_room
    from tensorized_adapters.sweeping.plan import check_reachable, labels_of, trials_of
    from tensorized_adapters.sweeping.progress import trials_table

    options.cpus_per_trial = options.cpus_per_trial or _default_cpus(options)
    trials = trials_of(options, flags)
    ledger = Ledger(options.output_dir, trials, options.command)
    if options.dry_run:
        ledger.print_notes()
        console().print(trials_table(ledger, f"{len(trials)} trials, {len(ledger.to_run())} to run"))
        for labels in {labels_of(trial.resolved) for trial in trials if not trial.resolved["task_name"]}:
            head = f"a head of {labels} label{'s' * (labels > 1)}"
            print(f"note: parameters are counted with {head}; the data is not read")
        return 0
    if all(trial.refused for trial in trials):
        raise UsageError(f"no trial could start: {trials[0].refused}")
    check_reachable(ledger.to_run())
    planning = time.time() - began
    with ledger.locked():
        try:
            if ran := bool(ledger.to_run()):
                ledger.timing = {"planning": planning} | _run(ledger, options)
            else:
                ledger.print_notes()
            ledger.write()
            console().print(trials_table(ledger, f"sweep in {options.output_dir}"))
            return _report(ledger, options, ran)
        except OSError as error:  # most likely the disk is full
            raise no_room(options.output_dir, error.strerror or error) from None


def _run(ledger: Any, options: argparse.Namespace) -> dict[str, float]:
    """Run the remaining trials; return the seconds that its parts took."""
    from tensorized_adapters.sweeping.ledger import no_room
    from tensorized_adapters.sweeping.progress import Progress
    from tensorized_adapters.sweeping.trial import disk_is_full

    if flaw := disk_is_full(ledger.folder):  # before Ray takes its time to start
        raise no_room(ledger.folder, flaw)
    # Ray reads these at its import. It reports nothing to its makers, and does not show hidden GPUs.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    # Otherwise Ray's memory monitor would restart a trial that does not fit into memory again and again.
    os.environ.setdefault("RAY_task_oom_retries", str(options.max_failures))
    if not options.address:  # Ray then listens on the loopback address alone, on Linux too
        os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
    from tensorized_adapters.sweeping.on_ray import Machines, run_trials

    with Machines(options.address, options.cpus_per_trial, options.gpus_per_trial) as machines:
        ledger.print_notes()
        ledger.write()  # the first write; nothing is refused after this line
        at_a_time = min(machines.at_a_time, options.trials_at_a_time or machines.at_a_time)
        where = f"{machines.nodes} machines" if machines.nodes > 1 else "this machine"
        print(f"{len(ledger.to_run())} trials, {at_a_time} at a time on {where}", flush=True)
        with Progress(ledger, at_a_time) as progress:
            run_trials(machines, options, progress)
    timing = {"trials": time.time() - progress.began, "trials_own": sum(progress.seconds.values())}
    return timing | {"ray_start": machines.seconds_to_start, "at_a_time": at_a_time}


def _report(ledger: Any, options: argparse.Namespace, ran: bool) -> int:
    """Write the report, if one is wanted, and if trials ran print where the time went; returns the exit code."""
    from tensorized_adapters.sweeping import REPORT
    from tensorized_adapters.sweeping.progress import print_timing

    if options.report and ledger.states()["finished"]:
        from tensorized_adapters.reporting.write import write_report  # needs packages that --no_report does without

        began, folder = time.time(), options.output_dir / REPORT
        try:
            write_report([options.output_dir], folder)
        except UsageError as error:  # the trials are done nevertheless
            print(f"no report: {one_line(error)}", file=sys.stderr)
            return 1
        print(f"report: {one_line(folder / 'report.html')}")
        ledger.timing["report"] = time.time() - began
    if ran:
        ledger.timing = {name: round(seconds, 2) for name, seconds in ledger.timing.items()}
        ledger.write()
        print_timing(ledger.timing)
    return 1 if ledger.states()["failed"] else 0


def _parser() -> argparse.ArgumentParser:
    parser = ScriptParser(__doc__)
    some = {"metavar": "A,B,..."}
    integers = comma_separated(positive_integer)
    formats = names_among(PROJECTION_TYPES, or_none=True)
    baselines = names_among(METHODS[1:], or_none=True)
    parser.add_argument("--projection_types", "--adapter_projection_type", type=formats, default=(), **some)
    parser.add_argument("--ranks", "--tensorized_layer_rank", type=integers, default=(4,), **some)
    parser.add_argument("--modes", type=names_among(MODES), default=(), **some)
    parser.add_argument("--adapter_sizes", "--adapter_size", type=integers, default=(), **some)
    parser.add_argument("--methods", "--method", type=baselines, default=(), help="baselines", **some)
    parser.add_argument("--tasks", "--task_name", type=names_among(TASKS), default=(), **some)
    parser.add_argument("--learning_rates", "--learning_rate", type=comma_separated(number), default=(), **some)
    parser.add_argument("--seeds", "--seed", type=comma_separated(nonnegative_integer), default=(42,), **some)
    parser.add_argument("--output_dir", type=Path, default=Path("runs/sweep"), help="(default: %(default)s)")
    cpus = "cores, threads of a trial (default: an eighth, 1 to 8)"
    parser.add_argument("--cpus_per_trial", "--cpu_threads", type=positive_integer, help=cpus)
    gpus = "1 where there are GPUs; 0.25 lets four share one; 0: none"
    parser.add_argument("--gpus_per_trial", type=float, help=gpus)
    most = "the most trials at a time (default: as many as fit)"
    parser.add_argument("--trials_at_a_time", type=positive_integer, help=most)
    address = "the address of a Ray cluster: auto, HOST:PORT or ray://HOST:PORT; its machines share files"
    parser.add_argument("--address", help=address)
    failures = "further starts of a failing trial (default: 2)"
    parser.add_argument("--max_failures", type=nonnegative_integer, default=2, help=failures)
    limit = "such as 90m, 1.5h or 30s: a start that takes longer is killed and counts as a failure (default: none)"
    parser.add_argument("--trial_time_limit", type=duration, metavar="DURATION", help=limit)
    fresh = "start each trial in a new interpreter, as on a GPU, and not as a fork of one that has imported everything"
    parser.add_argument("--fresh_processes", action="store_true", help=fresh)
    parser.add_argument("--dry_run", action="store_true", help="list the trials, and what is already done")
    parser.add_argument("--no_report", dest="report", action="store_false", help="write no report")
    return parser


def _with_underscores(word: str) -> str:
    """Return ``--num-train-epochs=3`` as ``--num_train_epochs=3``."""
    name, equals, value = word.partition("=")
    return "--" + name[2:].replace("-", "_") + equals + value if word.startswith("--") else word


def _check_spelling(parser: argparse.ArgumentParser, argv: list[str], flags: list[str]) -> None:
    """Refuse a flag by two of its names, and an unknown flag that resembles one of the sweep's, not of the job's."""
    from tensorized_adapters.arguments.parsing import nearest, words_of_flags

    given = {word.partition("=")[0] for word in argv}
    for action in parser._actions:
        both = [option for option in action.option_strings if option in given]
        if len(both) > 1:
            raise UsageError(f"{' and '.join(both)} are the same; give one of them")
    of_job = words_of_flags()
    own = [option for action in parser._actions for option in action.option_strings]
    for word in (flag.partition("=")[0] for flag in flags if flag.startswith("--")):
        if word not in of_job and (near := nearest(word, [*own, *of_job])) in own:
            raise UsageError(f"unknown argument {word}; did you mean {near}?")


def _check(options: argparse.Namespace, argv: list[str]) -> None:
    options.command = shlex.join(["tensorized-adapters", "sweep", *argv])
    if "\0" in str(options.output_dir) or str(options.output_dir) == ".":
        raise UsageError("--output_dir must name a folder of the sweep's own")
    options.output_dir = options.output_dir.absolute()
    if options.gpus_per_trial is not None and not 0 <= options.gpus_per_trial <= 64:
        raise UsageError(f"--gpus_per_trial must be from 0 to 64, got {options.gpus_per_trial:g}")
    if not options.dry_run:
        need("ray", "sweeps", "a sweep")
    if options.report and not options.dry_run:
        for package in PACKAGES:
            need(package, "report", "a sweep's report (--no_report leaves it out)")


def _default_cpus(options: argparse.Namespace) -> int:
    """Return an eighth of this machine's cores, or a trial's share of them if GPUs hold the trials; from 1 to 8."""
    import torch

    from tensorized_adapters.sweeping.plan import cores

    gpus = 0 if options.gpus_per_trial == 0 else torch.cuda.device_count()
    at_a_time = gpus / (options.gpus_per_trial or 1) if gpus else 8
    return max(1, min(8, int(cores() / at_a_time)))
