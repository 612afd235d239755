"""Seconds and peak memory of steps, for benchmarks/benchmark.py."""

import argparse
import contextlib
import gc
import os
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from models import FLOOR, Bench, backbone_of
from rich.table import Table
from transformers import PreTrainedModel

from tensorized_adapters.runtime.console import numbers_table, peak_memory

_BENCHMARK = Path(__file__).with_name("benchmark.py")


def seconds_of(step: Callable[[], Any], device: str) -> float:
    """Return how long a step takes, on a GPU by its own clock."""
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


def time_steps(arguments: argparse.Namespace, backbone: PreTrainedModel, shape: str) -> dict[str, dict[str, Any]]:
    """Return each method's ratio to the floor, which runs right before and right after it, in alternating rounds."""
    names = [name for name in arguments.methods if name != FLOOR]
    benches = {name: Bench(name, backbone, arguments, shape) for name in (FLOOR, *names)}
    times, ratios = ({name: {"train": [], "evaluate": []} for name in benches} for _ in range(2))
    for round_ in range(-2, arguments.rounds):
        for kind in ("train", "evaluate"):
            before = seconds_of(getattr(benches[FLOOR], kind), arguments.device)
            for name in names if round_ % 2 else reversed(names):
                seconds = seconds_of(getattr(benches[name], kind), arguments.device)
                after = seconds_of(getattr(benches[FLOOR], kind), arguments.device)
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
            rows[name][kind]["quartiles"] = quartiles(ratios[name][kind] or [1.0])
    del benches, backbone, bench
    gc.collect()
    if arguments.device == "cuda":
        torch.cuda.empty_cache()
    if not arguments.no_memory:
        for name in rows:
            rows[name]["peak_bytes"] = _peak_in_its_own_process(arguments, shape, name)
    return rows


def quartiles(values: list[float]) -> tuple[float, float]:
    """Return the lower and the upper quartile. For a single value, return that value twice."""
    low, _, high = statistics.quantiles(values, n=4) if len(values) > 1 else (values[0],) * 3
    return low, high


def peak_bytes(arguments: argparse.Namespace) -> int:
    """Return the process's bytes at the peak of three training steps, without the peak of building the model."""
    bench = Bench(arguments.memory_of, backbone_of(arguments), arguments, arguments.shapes[0])
    if arguments.compile:
        bench.train()  # compile first, since that takes memory
    if arguments.device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    else:
        gc.collect()
        with contextlib.suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5")  # Linux: reset the peak
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
    # With these, glibc frees large blocks at once, so that the peak does not include the allocator's fragments.
    environment = os.environ | {"MALLOC_MMAP_THRESHOLD_": "262144", "MALLOC_TRIM_THRESHOLD_": "262144"}
    ended = subprocess.run(
        [sys.executable, str(_BENCHMARK), *words], env=environment, capture_output=True, text=True, check=True
    )
    return int(ended.stdout.splitlines()[-1])


def timing_table(arguments: argparse.Namespace, shape: str, rows: dict[str, dict[str, Any]]) -> Table:
    title = f"{arguments.model}, {shape} tokens, {arguments.device}, {arguments.dtype}: ratio to the floor"
    names = ("trained", "train", "quartiles", "evaluate", "quartiles", "peak", "ms a step", "tokens/s")
    table = numbers_table(title, "method", *names)
    for name, row in rows.items():
        cells = [name, f"{row['trained']:,}"]
        for kind in ("train", "evaluate"):
            cells += [f"{row[kind]['ratio']:.3f}", "{:.3f}-{:.3f}".format(*row[kind]["quartiles"])]
        peak = row.get("peak_bytes")
        cells.append(f"{peak / rows[FLOOR]['peak_bytes']:.3f}" if peak else "")
        train = row["train"]
        table.add_row(*cells, f"{1000 * train['seconds']:.1f}", f"{train['tokens_per_second']:,.0f}")
    return table
