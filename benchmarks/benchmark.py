"""The cost of a method above its floor, which is the same frozen model with trained LayerNorms and head.

One process runs the methods in alternating rounds, each between two runs of the floor. It prints medians and spread of
the ratios of a training step (forward, backward, AdamW), of an evaluation step, and of the peak memory, which is
measured in one process a method. A JSON record goes to --output. --count_operations counts what a step would launch on
an accelerator, without an accelerator. --switch times set_adapter between two adapters of each method on one backbone.
"""

import argparse
import json
import os
import re
import sys
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import torch
from benchmark_record import write_record
from models import FLOOR, backbone_of, config_of, model_config_of, names_of
from operations import COUNTED, count_operations, operations_table
from switching import switching_table, time_switches
from timing import peak_bytes, time_steps, timing_table
from transformers import PreTrainedModel

from tensorized_adapters.backbone.parts import skeleton
from tensorized_adapters.cli.parser import ScriptParser
from tensorized_adapters.errors import UsageError, one_line, quoted
from tensorized_adapters.methods.registry import method_of
from tensorized_adapters.runtime.console import console
from tensorized_adapters.runtime.exits import run_program


def _with_assembled(names: list[str]) -> list[str]:
    return [*names, *(f"{name}-assembled" for name in names), "dense", "lora", "full"]


# The last two draw dropout as torch does. The others draw it cheaply, as a run does on CPU.
DEFAULT = [*_with_assembled(names_of((4,))), "floor-torch-dropout", "cp-4-torch-dropout"]
ALL = _with_assembled(names_of((2, 4, 8), ("", "-one-matrix")))


def main(argv: list[str]) -> int:
    try:
        arguments = _parser().parse_args(argv)
        _check(arguments)
    except (OSError, ValueError) as error:
        raise UsageError(str(error)) from None
    if arguments.threads or arguments.count_operations:  # a count needs no second thread
        torch.set_num_threads(arguments.threads or 1)
    if arguments.memory_of:
        print(json.dumps(peak_bytes(arguments)))
        return 0
    if arguments.count_operations:
        measure, table = count_operations, operations_table
    elif arguments.switch:
        measure, table = time_switches, switching_table
    else:
        measure, table = time_steps, timing_table
    shapes = {shape: measure(arguments, backbone_of(arguments), shape) for shape in arguments.shapes}
    for shape, rows in shapes.items():
        console().print(table(arguments, shape, rows))
    gpu = torch.cuda.get_device_name() if arguments.device == "cuda" else None
    settings = {key: getattr(arguments, key) for key in ("model", "device", "dtype", "compile", "rounds")}
    machine = {"threads": torch.get_num_threads(), "gpu": gpu}
    write_record(arguments.output, __file__, argv, machine, {"settings": settings, "shapes": shapes})
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = ScriptParser(__doc__)
    comma_separated = {"type": lambda text: text.split(",")}
    parser.add_argument("--methods", **comma_separated, help=f"'all', or of {','.join(ALL)}")
    parser.add_argument("--model", default="bert-base", help="bert-base (random weights), or a model folder")
    parser.add_argument("--shapes", **comma_separated, help="examples x tokens, comma-separated (8x128,32x128)")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32", help="bfloat16 is autocast")
    parser.add_argument("--gradient_checkpointing", action="store_true")
    parser.add_argument("--rounds", type=int, default=9, help="measured rounds, after two that are not")
    parser.add_argument("--threads", type=int, help="threads of the arithmetic on CPU")
    parser.add_argument("--no_memory", action="store_true", help="leave peak memory out")
    kind = parser.add_mutually_exclusive_group()  # the last two are about what runs without a compiler
    kind.add_argument("--compile", action="store_true", help="torch.compile(fullgraph=True) every model")
    kind.add_argument("--count_operations", action="store_true", help="count operations instead of measuring time")
    kind.add_argument("--switch", action="store_true", help="time switches between two adapters on one backbone")
    parser.add_argument("--output", type=Path, help="JSON record")
    parser.add_argument("--memory_of", help=argparse.SUPPRESS)  # one method, in a process of its own
    return parser


def _check(arguments: argparse.Namespace) -> None:
    if arguments.model != "bert-base" and not (Path(arguments.model) / "config.json").is_file():
        raise UsageError(f"--model {quoted(arguments.model)} is neither bert-base nor a model folder")
    model_config = model_config_of(arguments)
    names = arguments.methods or (COUNTED if arguments.count_operations or arguments.switch else DEFAULT)
    arguments.methods = _usable(ALL if names == ["all"] else names, skeleton(model_config))
    # The count is the same for any number of tokens.
    arguments.shapes = arguments.shapes or (["2x8"] if arguments.count_operations else ["8x128", "32x128"])
    if not arguments.memory_of and set(arguments.methods) <= {FLOOR}:
        raise UsageError(f"--methods: name one to compare with the {FLOOR}")
    for shape in arguments.shapes:
        sizes = shape.split("x")
        if len(sizes) != 2 or not all(re.fullmatch("[1-9][0-9]{0,5}", size) for size in sizes):
            raise UsageError(f"--shapes: {quoted(shape)} is not like 8x128")
        if int(sizes[1]) > model_config.max_position_embeddings:
            raise UsageError(
                f"--shapes: {shape} has more tokens than the model's {model_config.max_position_embeddings}"
            )
    for name, most in (("rounds", 10**6), ("threads", 1024)):
        value = getattr(arguments, name)
        if value is not None and not 1 <= value <= most:
            raise UsageError(f"--{name} must be at least 1 and at most {most:,}, got {value}")
    if arguments.device == "cuda" and not torch.cuda.is_available():
        raise UsageError("--device cuda: there is no GPU here")


def _usable(names: list[str], model: PreTrainedModel) -> list[str]:
    """Return the methods that suit the model, and print the others' errors; raise the first one if none suits."""
    flaws: dict[str, UsageError] = {}
    for name, config in {name: config_of(name) for name in names}.items():
        try:
            method_of(config).check(model)
        except UsageError as error:
            flaws[name] = error
    usable = [name for name in names if name not in flaws]
    if flaws and set(usable) <= {FLOOR}:
        raise next(iter(flaws.values()))
    for name, error in flaws.items():
        print(f"skipped: {one_line(f'{name}: {error}')}", file=sys.stderr)
    return usable


if __name__ == "__main__":
    run_program(main)
