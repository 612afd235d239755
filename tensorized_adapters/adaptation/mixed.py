"""Computes one batch in which each row has its own adapter. The rows of each adapter form a batch, so that each row
gets the outputs of that adapter alone."""

from collections.abc import Callable, Sequence
from typing import Any, Optional

import torch
from torch import Tensor

from ..errors import UsageError, quoted


def in_groups(
    compute: Callable[[Optional[str], tuple, dict[str, Any]], Any],
    names: Sequence[Optional[str]],
    args: tuple,
    kwargs: dict[str, Any],
) -> Any:
    """Return the outputs of ``compute(name, args, kwargs)`` for the rows of each name, in the order of the rows.

    Tensors with a row for each of ``names`` are split, and all else is passed to each group. Raise UsageError if that
    does not fit: for labels, whose loss would be a mean over other batches, or a cache into which each adapter writes.
    """
    if kwargs.get("labels") is not None:
        raise UsageError("adapter_names is for predictions; leave labels out")
    for name, value in [*kwargs.items(), *((f"argument {i + 1}", value) for i, value in enumerate(args))]:
        if not isinstance(value, (Tensor, bool, int, float, str, type(None))):
            raise UsageError(
                f"adapter_names: {name} ({type(value).__name__}) cannot be split into the rows of each adapter; leave "
                "it out, or set_adapter and compute each adapter's rows by themselves"
            )
    if kwargs.get("use_cache"):
        raise UsageError("adapter_names: use_cache=True would be one cache for several adapters; leave it out")
    values = [kwargs.get("input_ids"), kwargs.get("inputs_embeds"), *args]
    rows = next((len(value) for value in values if isinstance(value, Tensor)), None)
    if isinstance(names, str) or len(names) != rows:
        given = quoted(names) if isinstance(names, str) else len(names)
        raise UsageError(f"adapter_names is a list of one name or None for each row: {given} for {rows} rows")
    if not rows:
        raise UsageError("adapter_names: the batch is empty; give at least one row")
    groups = {name: [row for row, each in enumerate(names) if each == name] for name in dict.fromkeys(names)}
    outputs = []
    for name, of_name in groups.items():

        def part(value: Any, of_name: list[int] = of_name) -> Any:
            split = isinstance(value, Tensor) and value.ndim and len(value) == rows
            return value[torch.tensor(of_name, device=value.device)] if split else value

        outputs.append(compute(name, tuple(map(part, args)), {key: part(value) for key, value in kwargs.items()}))
    order = torch.tensor([row for of_name in groups.values() for row in of_name]).argsort()
    return _joined(outputs, order)


def _joined(outputs: list[Any], order: Tensor) -> Any:
    """Join the groups' tensors, tuples or mappings, in the ``order`` of the rows."""
    first = outputs[0]
    if isinstance(first, Tensor):
        return torch.cat(outputs)[order.to(first.device)]
    if isinstance(first, dict):  # a ModelOutput is one
        return type(first)(**{key: _joined([output[key] for output in outputs], order) for key in first})
    if isinstance(first, tuple):
        return tuple(_joined(list(parts), order) for parts in zip(*outputs))
    return first if isinstance(first, (bool, int, float, str)) else None  # a cache is that of one adapter's rows
