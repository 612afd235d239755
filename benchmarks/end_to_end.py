"""Seconds of a command that trains and evaluates a GLUE task, for this program and for a plain run_glue.

A plain run_glue (full fine-tuning and PEFT's LoRA, padded to --max_seq_length, in random order; plain_run_glue.py) is
compared with this program's cp, tt, dense and lora, with cp without each of its optimisations, and with cp in the
upper layers alone, above a frozen prefix that each command computes once. Every variant is a process of its own. The
order alternates from round to round. The table gives the median wall time with its quartiles, the processor time, and
the factor against run_glue with LoRA. A JSON record goes to --output.
"""

import argparse
import os
import resource
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")

from benchmark_record import run_command, write_record
from rich.table import Table
from timing import quartiles
from transformers import AutoConfig

from tensorized_adapters.cli.parser import ScriptParser, names_among, positive_integer
from tensorized_adapters.data.tasks import TASKS
from tensorized_adapters.errors import UsageError, quoted
from tensorized_adapters.runtime.console import console, numbers_table
from tensorized_adapters.runtime.exits import run_program

REFERENCE = "run_glue, lora"
_CP = ["--adapter_projection_type", "cp"]
_OURS = ["run_glue_tensorized.py", "--do_train", "--do_eval"]

# What the command does before it reads the data, and how it ends.
_IMPORTS = """
from tensorized_adapters.runtime import exits, signals
signals.begin()
import run_glue_tensorized, tensorized_adapters.runs.run, transformers.trainer
exits.exit_with(0)
"""
UPPER_LAYERS = {"cp-4, upper quarter": 1 / 4, "cp-4, upper half": 1 / 2, "cp-4, upper three quarters": 3 / 4}

# The arguments of each command. Python stands before them, and the flags that all commands share behind them.
VARIANTS: dict[str, list[str]] = {
    "run_glue, full": ["benchmarks/plain_run_glue.py", "--method", "full"],
    REFERENCE: ["benchmarks/plain_run_glue.py", "--method", "lora"],
    "cp-4": [*_OURS, *_CP],
    "tt-4": [*_OURS, "--adapter_projection_type", "tt"],
    "dense-64": [*_OURS, "--method", "dense"],
    "lora-8": [*_OURS, "--method", "lora"],
    "cp-4 padded to the maximum": [*_OURS, *_CP, "--pad_to_max_length"],
    "cp-4 in random order": [*_OURS, *_CP, "--train_sampling_strategy", "random"],
    "cp-4 evaluated in batches of 8": [*_OURS, *_CP, "--per_device_eval_batch_size", "8"],
    "cp-4 without cheap dropout": ["benchmarks/run_without.py", "cheap_dropout", *_OURS[1:], *_CP],
    "cp-4 without batched weights": ["benchmarks/run_without.py", "batched_weights", *_OURS[1:], *_CP],
    "cp-4 without checkpoints and training metrics": [
        *_OURS,
        *_CP,
        *("--save_strategy", "no", "--eval_strategy", "no", "--max_train_metric_samples", "1"),
    ],
    **{name: [*_OURS, *_CP, "--cache_frozen_prefix"] for name in UPPER_LAYERS},
    "imports alone": ["-c", _IMPORTS],
}


def main(argv: list[str]) -> int:
    arguments = _parser().parse_args(argv)
    _check(arguments)
    tasks = {task: _measure(arguments, task) for task in arguments.tasks}
    for task, rows in tasks.items():
        console().print(_table(task, rows))
    settings = {key: str(getattr(arguments, key)) for key in ("model", "max_train_samples", "rounds")}
    results = {"settings": settings, "tasks": tasks}
    write_record(arguments.output, __file__, argv, {"threads": arguments.threads}, results)
    return 0


def _measure(arguments: argparse.Namespace, task: str) -> dict[str, dict[str, Any]]:
    """Return every variant's wall and processor seconds in each round, in an order that alternates."""
    rows: dict[str, dict[str, Any]] = {name: {"wall": [], "processor": []} for name in arguments.variants}
    for round_ in range(arguments.rounds):
        for name in arguments.variants if round_ % 2 == 0 else reversed(arguments.variants):
            with tempfile.TemporaryDirectory() as folder:
                wall, processor = _run(_command(arguments, task, name, folder))
            rows[name]["wall"].append(wall)
            rows[name]["processor"].append(processor)
            print(f"{task}, round {round_ + 1} of {arguments.rounds}: {name}: {wall:.1f} s", file=sys.stderr)
    return rows


def _command(arguments: argparse.Namespace, task: str, name: str, folder: str) -> list[str]:
    command = [sys.executable, *VARIANTS[name]]
    if "-c" in command:
        return command
    command += ["--model_name_or_path", str(arguments.model), "--glue_path", str(arguments.glue), "--task_name", task]
    command += ["--output_dir", f"{folder}/run", "--max_seq_length", str(arguments.max_seq_length)]
    command += ["--per_device_train_batch_size", "8", "--num_train_epochs", str(arguments.epochs)]
    if name in UPPER_LAYERS:
        layers = AutoConfig.from_pretrained(arguments.model).num_hidden_layers
        first = layers - max(1, round(layers * UPPER_LAYERS[name]))
        command += ["--adapter_layers", f"{first}-{layers - 1}", "--prefix_cache_dir", f"{folder}/prefix"]
    if arguments.max_train_samples:
        command += ["--max_train_samples", str(arguments.max_train_samples)]
    return command + ["--cpu_threads", str(arguments.threads)]


def _run(command: list[str]) -> tuple[float, float]:
    """Return wall and processor seconds of a command with all its processes; raise RunFailed if it fails."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    run_command(command)
    seconds, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    return seconds, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def _table(task: str, rows: dict[str, dict[str, Any]]) -> Table:
    title = f"{task}: seconds from the command to its end"
    table = numbers_table(title, "variant", "seconds", "quartiles", "processor", f"{REFERENCE} / it")
    reference = statistics.median(rows[REFERENCE]["wall"]) if REFERENCE in rows else None
    for name, row in rows.items():
        wall, processor = statistics.median(row["wall"]), statistics.median(row["processor"])
        low, high = quartiles(row["wall"])
        factor = f"{reference / wall:.2f}" if reference else ""
        table.add_row(name, f"{wall:.1f}", f"{low:.1f}-{high:.1f}", f"{processor:.1f}", factor)
    return table


def _parser() -> argparse.ArgumentParser:
    parser = ScriptParser(__doc__)
    parser.add_argument("--model", type=Path, required=True, help="folder of a pre-trained model")
    parser.add_argument("--glue", type=Path, required=True, help="folder of GLUE's parquet files, as on the hub")
    parser.add_argument("--tasks", type=names_among(tuple(TASKS)), default=("mrpc", "stsb", "cola"))
    parser.add_argument("--max_train_samples", type=positive_integer, help="how many of the first (default: all)")
    parser.add_argument("--max_seq_length", type=positive_integer, default=128)
    parser.add_argument("--epochs", type=positive_integer, default=1)
    parser.add_argument("--rounds", type=positive_integer, default=3)
    parser.add_argument("--threads", type=positive_integer, default=1, help="of the arithmetic")
    everything = ", ".join(VARIANTS)
    parser.add_argument("--variants", help=f"separated by semicolons (default: {everything})".replace("%", "%%"))
    parser.add_argument("--output", type=Path, help="JSON record")
    return parser


def _check(arguments: argparse.Namespace) -> None:
    names = list(VARIANTS) if arguments.variants is None else arguments.variants.split(";")
    arguments.variants = [name.strip() for name in names]
    for name in arguments.variants:
        if name not in VARIANTS:
            raise UsageError(f"--variants: {quoted(name)} is none of {'; '.join(VARIANTS)}")
    if not (arguments.model / "config.json").is_file():
        raise UsageError(f"--model {arguments.model} is not a model folder")
    for task in arguments.tasks:
        if not list(arguments.glue.glob(f"{task}/train-*.parquet")):
            raise UsageError(f"--glue {arguments.glue} has no {task}/train-*.parquet")
    arguments.model, arguments.glue = arguments.model.resolve(), arguments.glue.resolve()


if __name__ == "__main__":
    run_program(main)
