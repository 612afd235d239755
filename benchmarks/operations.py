"""How many operations a training step dispatches: what a step costs where launching them is what takes the time.

On a GPU with small batches that is nearly every step. The count needs no GPU: the rule by which adapters compute on
one (``tensorized_adapters.adapters.fast.few_launches``) is put in force on the processor.
"""

import argparse
from typing import Any

import torch
from models import FLOOR, TORCH_DROPOUT, Bench, names_of
from rich.table import Table
from rich.text import Text
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import PreTrainedModel

from tensorized_adapters.adapters.fast import few_launches
from tensorized_adapters.errors import one_line

COUNTED = [*names_of((4,), (True,)), "dense", "compacter", "lora", "bitfit", "full"]

# They make a tensor of memory that is there, by what they are called where their schema does not say so.
_NO_WORK = {"detach", "_unsafe_view", "_reshape_alias", "lift_fresh", "empty", "empty_like", "new_empty"}
_NO_WORK |= {"empty_strided", "new_empty_strided"}


class OperationCount(TorchDispatchMode):
    """Counts the operations that are dispatched within it, by name; views and empty memory are none.

    Attributes:
        counts: how often each was dispatched, as ``{"aten.mm": 48}``.
    """

    def __init__(self):
        super().__init__()
        self.counts: dict[str, int] = {}

    @property
    def total(self) -> int:
        return sum(self.counts.values())

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        packet = function.overloadpacket
        if not function.is_view and packet.__name__ not in _NO_WORK:
            self.counts[str(packet)] = self.counts.get(str(packet), 0) + 1
        return function(*args, **(kwargs or {}))


def count_operations(
    arguments: argparse.Namespace, backbone: PreTrainedModel, shape: str
) -> dict[str, dict[str, Any]]:
    """Count, for the floor and each method, the trained parameters, the operations of a training step forward and
    backward, and the optimizer's parameter groups, each of which takes launches of its own."""
    rows = {}
    for name in (FLOOR, *(name for name in arguments.methods if name != FLOOR)):
        # torch's dropout, which is what an accelerator computes, whichever one this run takes.
        bench = Bench(name.removesuffix(TORCH_DROPOUT) + TORCH_DROPOUT, backbone, arguments, shape)
        # Nothing is padded: a mask costs the processor's attention operations that a GPU's fused one has not.
        bench.batch = bench.batch | {"attention_mask": torch.ones_like(bench.batch["input_ids"])}
        with few_launches(True), OperationCount() as operations:
            bench.differentiate()
        rows[name] = {"trained": bench.counts["trained"], "operations": operations.total, "by_name": operations.counts}
        rows[name]["optimizer_groups"] = len(bench.optimizer.param_groups)
    return rows


def operations_table(arguments: argparse.Namespace, shape: str, rows: dict[str, dict[str, Any]]) -> Table:
    """Return the counts to print."""
    title = (
        f"{arguments.model}, {shape} tokens, {arguments.dtype}: operations of a training step, as on an accelerator"
    )
    table = Table(title=Text(one_line(title)), title_justify="left")
    for column in ("method", "trained", "operations", "above floor", "optimizer groups"):
        table.add_column(column, justify="left" if column == "method" else "right", no_wrap=True)
    for name, row in rows.items():
        above = row["operations"] - rows[FLOOR]["operations"]
        cells = (f"{number:,}" for number in (row["trained"], row["operations"], above, row["optimizer_groups"]))
        table.add_row(name, *cells)
    return table
