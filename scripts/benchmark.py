"""What a method costs on top of its floor: the same frozen model with LayerNorms and head trained and no adapters.

One process takes the methods in alternating rounds, each between two runs of the floor, and prints medians and spread
of the ratios: of a training step (forward, backward, AdamW), of an evaluation step, and of the peak memory, which is
taken in one process a method. A JSON record goes to --output. With --count_operations nothing is timed: it counts what
a step would have an accelerator launch, which takes no accelerator. With --switch it times set_adapter between two
adapters of each method on one backbone.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tensorized_adapters import entry

if __name__ == "__main__":
    entry.begin()

import argparse
import contextlib
import gc
import json
import os
import platform
import re
import statistics
import subprocess
import time
from collections.abc import Callable
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import torch  # noqa: E402
from benchmark_models import FLOOR, Bench, config_of, names_of  # noqa: E402
from benchmark_operations import COUNTED, count_operations, operations_table  # noqa: E402
from benchmark_switching import switching_table, time_switches  # noqa: E402
from command_line import ScriptParser, about_model, check_output  # noqa: E402
from rich.table import Table  # noqa: E402
from rich.text import Text  # noqa: E402
from transformers import (  # noqa: E402
    AutoModelForSequenceClassification,
    BertConfig,
    PretrainedConfig,
    PreTrainedModel,
)

from tensorized_adapters.architectures import skeleton  # noqa: E402
from tensorized_adapters.endings import run, tell  # noqa: E402
from tensorized_adapters.errors import UsageError, one_line, quoted  # noqa: E402
from tensorized_adapters.files import write_json  # noqa: E402
from tensorized_adapters.job.flags import ModelArguments  # noqa: E402
from tensorized_adapters.job.pretrained import load_config  # noqa: E402
from tensorized_adapters.job.results import console, peak_memory  # noqa: E402
from tensorized_adapters.methods.registry import method_of  # noqa: E402

DEFAULT = [
    *names_of((4,), (True,)),
    *(f"{name}-assembled" for name in names_of((4,), (True,))),
    "dense",
    "lora",
    "full",
]
DEFAULT += ["floor-torch-dropout", "cp-4-torch-dropout"]  # the others draw cheaply, as a run does on CPU
TENSORIZED = names_of((2, 4, 8), (True, False))
ALL = [*TENSORIZED, *(f"{name}-assembled" for name in TENSORIZED), "dense", "lora", "full"]


def main(argv: list[str]) -> int:
    try:
        arguments = _parser().parse_args(argv)
        _check(arguments)
    except (UsageError, OSError, ValueError) as error:
        return tell("error", error, 2)
    if arguments.threads or arguments.count_operations:  # a few tokens are not worth a second thread
        torch.set_num_threads(arguments.threads or 1)
    if arguments.memory_of:
        print(json.dumps(_peak(arguments)))
        return 0
    measure, table = _measure, _table
    if arguments.count_operations:
        measure, table = count_operations, operations_table
    elif arguments.switch:
        measure, table = time_switches, switching_table
    record = {
        "command": ["python", "scripts/benchmark.py", *argv],
        "machine": {"platform": platform.platform(), "cpus": os.cpu_count(), "threads": torch.get_num_threads()}
        | {"gpu": torch.cuda.get_device_name() if arguments.device == "cuda" else None},
        "torch": torch.__version__,
        "settings": {key: getattr(arguments, key) for key in ("model", "device", "dtype", "compile", "rounds")},
        "shapes": {shape: measure(arguments, _backbone(arguments), shape) for shape in arguments.shapes},
    }
    for shape, rows in record["shapes"].items():
        console().print(table(arguments, shape, rows))
    if arguments.output:
        write_json(arguments.output, record)
        print(f"record: {one_line(arguments.output)}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = ScriptParser(__doc__)
    words = {"type": lambda text: text.split(",")}
    parser.add_argument("--methods", **words, help=f"'all', or of {','.join(ALL)}")
    parser.add_argument("--model", default="bert-base", help="bert-base (random weights), or a model folder")
    parser.add_argument("--shapes", **words, help="examples x tokens, comma-separated (8x128,32x128)")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32", help="bfloat16 is autocast")
    parser.add_argument("--compile", action="store_true", help="torch.compile(fullgraph=True) every model")
    parser.add_argument("--gradient_checkpointing", action="store_true")
    parser.add_argument("--rounds", type=int, default=9, help="measured rounds, after two that are not")
    parser.add_argument("--threads", type=int, help="threads of the arithmetic on CPU")
    parser.add_argument("--no_memory", action="store_true", help="leave peak memory out")
    parser.add_argument("--count_operations", action="store_true", help="count operations instead of measuring time")
    parser.add_argument("--switch", action="store_true", help="time switches between two adapters on one backbone")
    parser.add_argument("--output", type=Path, help="JSON record")
    parser.add_argument("--memory_of", help=argparse.SUPPRESS)  # one method, in a process of its own
    return parser


def _check(arguments: argparse.Namespace) -> None:
    if arguments.output:  # now rather than after the measurement
        check_output(arguments.output)
    if arguments.model != "bert-base" and not (Path(arguments.model) / "config.json").is_file():
        raise UsageError(f"--model {quoted(arguments.model)} is neither bert-base nor a model folder")
    model_config = _model_config(arguments)
    model = skeleton(model_config)
    for flag in ("count_operations", "switch"):
        if getattr(arguments, flag) and arguments.compile:
            raise UsageError(f"--{flag} is about what runs without a compiler; leave out --compile")
    if arguments.count_operations and arguments.switch:
        raise UsageError("--count_operations and --switch print different tables; leave one of them out")
    names = arguments.methods or (COUNTED if arguments.count_operations or arguments.switch else DEFAULT)
    arguments.methods = _usable(ALL if names == ["all"] else names, model)
    # Operations are as many for any number of tokens.
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
    """Those that can be used on the model, with a line for each that cannot; raises UsageError if none can."""
    usable, flaws = [], []
    for name, config in [(name, config_of(name)) for name in names]:
        try:
            method_of(config).check(model)
        except UsageError as error:
            flaws.append((name, error))
        else:
            usable.append(name)
    if flaws and set(usable) <= {FLOOR}:
        raise flaws[0][1]
    for name, error in flaws:
        print(f"skipped: {one_line(f'{name}: {error}')}", file=sys.stderr)
    return usable


def _model_config(arguments: argparse.Namespace) -> PretrainedConfig:
    if arguments.model == "bert-base":
        return BertConfig(vocab_size=28996)
    with about_model():
        return load_config(ModelArguments(model_name_or_path=arguments.model))


def _backbone(arguments: argparse.Namespace) -> PreTrainedModel:
    torch.manual_seed(0)
    if arguments.model == "bert-base":
        model = AutoModelForSequenceClassification.from_config(_model_config(arguments))
    else:
        model = AutoModelForSequenceClassification.from_pretrained(arguments.model)
    return model.to(arguments.device)


def _seconds(step: Callable[[], None], device: str) -> float:
    if device == "cpu":
        began = time.perf_counter()
        step()
        return time.perf_counter() - began
    began, ended = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    torch.cuda.synchronize()
    began.record()
    step()
    ended.record()
    torch.cuda.synchronize()
    return began.elapsed_time(ended) / 1000


def _measure(arguments: argparse.Namespace, backbone: PreTrainedModel, shape: str) -> dict[str, dict[str, Any]]:
    """Ratio of each method to the floor that was run right before and right after it, in alternating rounds."""
    names = [name for name in arguments.methods if name != FLOOR]
    benches = {name: Bench(name, backbone, arguments, shape) for name in (FLOOR, *names)}
    times: dict[str, dict[str, list[float]]] = {n: {"train": [], "evaluate": []} for n in benches}
    ratios: dict[str, dict[str, list[float]]] = {n: {"train": [], "evaluate": []} for n in benches}
    for round_ in range(-2, arguments.rounds):
        for kind in ("train", "evaluate"):
            before = _seconds(getattr(benches[FLOOR], kind), arguments.device)
            for name in names if round_ % 2 else reversed(names):
                seconds = _seconds(getattr(benches[name], kind), arguments.device)
                after = _seconds(getattr(benches[FLOOR], kind), arguments.device)
                if round_ >= 0:
                    times[name][kind].append(seconds)
                    times[FLOOR][kind].append(after)
                    ratios[name][kind].append(2 * seconds / (before + after))
                before = after
        print(f"{shape}: round {round_ + 3} of {arguments.rounds + 2}", file=sys.stderr)
    examples, tokens = map(int, shape.split("x"))
    rows = {}
    for name, bench in benches.items():
        rows[name] = {"trained": bench.counts["trained"]}
        for kind in ("train", "evaluate"):
            seconds = statistics.median(times[name][kind])
            rows[name][kind] = {"seconds": seconds, "tokens_per_second": examples * tokens / seconds}
            rows[name][kind]["ratio"] = statistics.median(ratios[name][kind] or [1.0])
            rows[name][kind]["quartiles"] = _quartiles(ratios[name][kind] or [1.0])
    del benches, backbone
    if not arguments.no_memory:
        for name in rows:
            rows[name]["peak_bytes"] = _peak_in_its_own_process(arguments, shape, name)
    return rows


def _quartiles(values: list[float]) -> tuple[float, float]:
    low, _, high = statistics.quantiles(values, n=4) if len(values) > 1 else (values[0],) * 3
    return low, high


def _peak(arguments: argparse.Namespace) -> int:
    """The process's bytes at the peak of three training steps, without the peak of building the model."""
    bench = Bench(arguments.memory_of, _backbone(arguments), arguments, arguments.shapes[0])
    if arguments.device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    else:
        gc.collect()
        with contextlib.suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5")  # Linux: start the peak anew
    for _ in range(3):
        bench.train()
    if arguments.device == "cuda":
        return torch.cuda.max_memory_allocated()
    with contextlib.suppress(OSError):
        status = Path("/proc/self/status").read_text()
        return 1024 * int(re.search(r"VmHWM:\s+(\d+) kB", status)[1])
    return peak_memory()["resident"]


def _peak_in_its_own_process(arguments: argparse.Namespace, shape: str, name: str) -> int:
    words = ["--memory_of", name, "--shapes", shape, "--model", arguments.model, "--device", arguments.device]
    words += ["--dtype", arguments.dtype, "--threads", str(torch.get_num_threads())]
    words += ["--compile"] * arguments.compile + ["--gradient_checkpointing"] * arguments.gradient_checkpointing
    # glibc gives large blocks back at once then: the peak is of what is alive, not of the allocator's fragments.
    environment = os.environ | {"MALLOC_MMAP_THRESHOLD_": "262144", "MALLOC_TRIM_THRESHOLD_": "262144"}
    ended = subprocess.run(
        [sys.executable, __file__, *words], env=environment, capture_output=True, text=True, check=True
    )
    return int(ended.stdout.splitlines()[-1])


def _table(arguments: argparse.Namespace, shape: str, rows: dict[str, dict[str, Any]]) -> Table:
    title = f"{arguments.model}, {shape} tokens, {arguments.device}, {arguments.dtype}: ratio to the floor"
    table = Table(title=Text(one_line(title)), title_justify="left")
    for column in (
        "method",
        "trained",
        "train",
        "quartiles",
        "evaluate",
        "quartiles",
        "peak",
        "ms a step",
        "tokens/s",
    ):
        table.add_column(column, justify="left" if column == "method" else "right", no_wrap=True)
    for name, row in rows.items():
        cells = [name, f"{row['trained']:,}"]
        for kind in ("train", "evaluate"):
            cells += [f"{row[kind]['ratio']:.3f}", "{:.3f}-{:.3f}".format(*row[kind]["quartiles"])]
        peak = row.get("peak_bytes")
        cells.append(f"{peak / rows[FLOOR]['peak_bytes']:.3f}" if peak else "")
        train = row["train"]
        table.add_row(*cells, f"{1000 * train['seconds']:.1f}", f"{train['tokens_per_second']:,.0f}")
    return table


if __name__ == "__main__":
    sys.exit(run(main))
