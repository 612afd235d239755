"""Counts the operations that a training step dispatches: its cost where launching them takes the time.

This holds for nearly every step on a GPU with small batches. The count needs no GPU, because the adapters are made to
compute on the processor as on a GPU.
"""

import argparse
from collections import Counter
from typing import Any
from unittest.mock import patch

import torch
from models import FLOOR, TORCH_DROPOUT, Bench, names_of
from rich.table import Table
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import PreTrainedModel

from tensorized_adapters.adapters import fast
from tensorized_adapters.runtime.console import numbers_table

COUNTED = [*names_of((4,)), "dense", "compacter", "lora", "bitfit", "full"]

# These operations do no work, but their schema does not mark them as views.
_NO_WORK = {"detach", "_unsafe_view", "_reshape_alias", "lift_fresh", "empty", "empty_like", "new_empty"}
_NO_WORK |= {"empty_strided", "new_empty_strided"}


class OperationCount(TorchDispatchMode):
    """Counts the operations dispatched within its block in ``counts`` (``{"aten.mm": 48}``), without views and empty
    memory."""

    def __init__(self):
        super().__init__()
        self.counts: Counter[str] = Counter()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        packet = function.overloadpacket
        if not function.is_view and packet.__name__ not in _NO_WORK:
            self.counts[str(packet)] += 1
        return function(*args, **(kwargs or {}))


def count_operations(
    arguments: argparse.Namespace, backbone: PreTrainedModel, shape: str
) -> dict[str, dict[str, Any]]:
    """Count the trained parameters, the operations of a training step forward and backward, and the optimizer's
    parameter groups, for the floor and each method."""
    rows = {}
    for name in (FLOOR, *(name for name in arguments.methods if name != FLOOR)):
        # Always torch's dropout, since an accelerator uses it.
        bench = Bench(name.removesuffix(TORCH_DROPOUT) + TORCH_DROPOUT, backbone, arguments, shape)
        # Without padding, since a mask takes operations on the processor that a GPU's fused attention does not need.
        bench.batch = bench.batch | {"attention_mask": torch.ones_like(bench.batch["input_ids"])}
        with patch.object(fast, "saves_launches", lambda device: True), OperationCount() as operations:
            bench.differentiate()
        rows[name] = {
            "trained": bench.counts["trained"],
            "operations": operations.counts.total(),
            "by_name": operations.counts,
            "optimizer_groups": len(bench.optimizer.param_groups),
        }
    return rows


def operations_table(arguments: argparse.Namespace, shape: str, rows: dict[str, dict[str, Any]]) -> Table:
    title = f"{arguments.model}, {shape} tokens, {arguments.dtype}: operations of a training step, as on a GPU"
    table = numbers_table(title, "method", "trained", "operations", "above floor", "optimizer groups")
    for name, row in rows.items():
        above = row["operations"] - rows[FLOOR]["operations"]
        cells = (f"{number:,}" for number in (row["trained"], row["operations"], above, row["optimizer_groups"]))
        table.add_row(name, *cells)
    return table
