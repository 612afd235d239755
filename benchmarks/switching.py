"""The cost of a switch between adapters on one backbone, for benchmarks/benchmark.py --switch."""

import argparse
import copy
import gc
import statistics
import tempfile
import time
from functools import partial
from typing import Any

import torch
from models import FLOOR, config_of
from rich.table import Table
from timing import seconds_of
from transformers import PreTrainedModel

from tensorized_adapters import add_adapters, load_adapter, save_adapter, set_adapter
from tensorized_adapters.runtime.console import numbers_table

SWITCHES = 200  # a round


def time_switches(arguments: argparse.Namespace, backbone: PreTrainedModel, shape: str) -> dict[str, dict[str, Any]]:
    """Return for each method the milliseconds of a switch between two adapters, and of a forward pass of ``shape``.

    The time of a switch is processor time, since only the interpreter works. So other processes do not lengthen it.
    """
    rows = {}
    backbone.eval()
    examples, tokens = map(int, shape.split("x"))
    ids = torch.full((examples, tokens), backbone.config.vocab_size // 2, device=arguments.device)
    for name in [name for name in arguments.methods if name != FLOOR]:
        with tempfile.TemporaryDirectory() as folder:
            save_adapter(add_adapters(copy.deepcopy(backbone), config_of(name)), folder)
            model = copy.deepcopy(backbone)
            for each in "ab":
                load_adapter(model, folder, name=each)
        gc.collect()
        switches = [_milliseconds_of_a_switch(model) for _ in range(arguments.rounds)]
        with torch.no_grad():
            passes = [seconds_of(partial(model, ids), arguments.device) for _ in range(arguments.rounds)]
        forward = 1000 * statistics.median(passes)
        switch, range_ms = statistics.median(switches), (min(switches), max(switches))
        rows[name] = {"switch_ms": switch, "range_ms": range_ms, "forward_ms": forward, "ratio": switch / forward}
    return rows


def switching_table(arguments: argparse.Namespace, shape: str, rows: dict[str, dict[str, Any]]) -> Table:
    title = f"{arguments.model}, {arguments.device}: a switch from one adapter to another, and {shape} tokens forward"
    table = numbers_table(title, "method", "switch, ms", "range", "forward, ms", "switch / forward")
    for name, row in rows.items():
        low, high = row["range_ms"]
        cells = f"{row['switch_ms']:.3f}", f"{low:.3f}-{high:.3f}", f"{row['forward_ms']:.1f}", f"{row['ratio']:.4f}"
        table.add_row(name, *cells)
    return table


def _milliseconds_of_a_switch(model: PreTrainedModel) -> float:
    began = time.process_time()
    for i in range(SWITCHES):
        set_adapter(model, "ab"[i % 2])
    return 1000 * (time.process_time() - began) / SWITCHES
