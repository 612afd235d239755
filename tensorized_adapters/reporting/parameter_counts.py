"""The table of trained parameters by method that ``tensorized-adapters count`` prints."""

import argparse
import sys
from collections.abc import Iterable
from typing import Any

import pandas as pd
from rich import box
from rich.table import Table
from rich.text import Text
from transformers import PreTrainedModel

from ..adaptation.counts import count_parameters, stored_bytes
from ..backbone.arguments import ModelArguments
from ..backbone.known_models import model_config
from ..backbone.parts import skeleton
from ..config import AdapterConfig
from ..errors import UsageError, about_model, one_line
from ..runtime.console import console
from ..sweeping.grid import MODES, grid_of
from .published import PUBLISHED, notes

COLUMNS = ("method", "mode", "adapters", "backbone", "layer_norm", "head", "trained", "percent")
BYTES = ("bytes_float32", "bytes_float16")


def counts_text(arguments: argparse.Namespace) -> str:
    """Return the table as text, in the format that the flags of ``tensorized-adapters count`` ask for.

    Raises:
        UsageError: for a model without configuration, a value out of range, or if no method can be counted.
    """
    rows = _rows(arguments, _model(arguments))
    paper = arguments.model == "bert-base-cased" and arguments.num_labels == 2
    text = _written(rows, arguments, with_published=paper)
    return text + "\n" + notes() if paper and arguments.format != "csv" else text


def _model(arguments: argparse.Namespace) -> PreTrainedModel:
    """Return the model without weights."""
    with about_model():
        return skeleton(model_config(ModelArguments(model_name_or_path=arguments.model), arguments.num_labels))


def _configs(arguments: argparse.Namespace) -> Iterable[AdapterConfig]:
    axes = {
        "adapter_projection_type": arguments.projection_types,
        "if_adapter_like": [MODES[mode] for mode in arguments.modes],
        "adapter_size": arguments.adapter_sizes,
        "tensorized_layer_rank": arguments.ranks,
    }
    axes |= {name: getattr(arguments, name) for name in ("phm_dim", "lora_r", "bitfit_terms", "peft_type")}
    single = "peft_config lora_targets diff_sparsity adapter_sites tensor_split tensor_scope adapter_placement".split()
    axes |= {name: [getattr(arguments, name)] for name in single}
    return grid_of(arguments.methods, axes)


def _rows(arguments: argparse.Namespace, model: PreTrainedModel) -> list[dict[str, Any]]:
    """Return a row for each method that fits the model. A line on stderr names each method that does not."""
    rows, flaws = [], []
    for config in _configs(arguments):
        try:
            counts = count_parameters(config, model)
        except UsageError as error:
            flaws.append(str(error))
            print(f"skipped: {one_line(f'{config.describe()}: {error}')}", file=sys.stderr)
        else:
            rows.append(_row(config, counts, several_sizes=len(arguments.adapter_sizes) > 1))
    if not rows:
        raise UsageError(f"nothing to count: {flaws[0]}")
    return rows


def _row(config: AdapterConfig, counts: dict[str, int], several_sizes: bool) -> dict[str, Any]:
    mode = ""
    if config.method == "tensorized":
        mode = f"bottleneck {config.adapter_size}" if several_sizes else "bottleneck"
        mode = mode if config.if_adapter_like else "one matrix"
        mode = "weights" if config.adapter_placement == "weights" else mode
    name = config.describe().removesuffix(" (one matrix)")
    as_published = config.if_adapter_like and (config.adapter_size, config.adapter_sites) == (64, "both")
    return (
        {"method": name, "mode": mode, "percent": 100 * counts["trained"] / counts["model"]}
        | {"published": PUBLISHED.get(name) if as_published else None}
        | {column: stored_bytes(config, counts, n) for column, n in zip(BYTES, (4, 2))}
        | counts
    )


def _written(rows: list[dict[str, Any]], arguments: argparse.Namespace, with_published: bool) -> str:
    columns = [*COLUMNS, *(("published",) if with_published else ()), *BYTES]
    cells = [[_cell(row, column, arguments.format) for column in columns] for row in rows]
    if arguments.format == "csv":
        return pd.DataFrame(cells, columns=columns).to_csv(index=False)
    markdown = arguments.format == "markdown"
    size = f"{rows[0]['model']:,} parameters, {arguments.num_labels} labels"
    title = one_line(f"Trained parameters, {arguments.model} ({size})")
    table = Table(
        title=None if markdown else Text(title), title_justify="left", box=box.MARKDOWN if markdown else box.SIMPLE
    )
    for column in columns:
        left = column in ("method", "mode")
        table.add_column(column.replace("_", " "), justify="left" if left else "right", no_wrap=True)
    for row in cells:
        table.add_row(*map(Text, row))
    printer = console()
    printer.width = 200  # columns must not be cut in a pipe or a narrow terminal
    with printer.capture() as capture:
        printer.print(table)
    text = "\n".join(line.rstrip() for line in capture.get().splitlines()).strip("\n") + "\n"
    return f"{title}\n\n{text}" if markdown else text


def _cell(row: dict[str, Any], column: str, format_: str) -> str:
    value = row[column]
    if value is None:
        return ""
    if column in ("percent", "published"):
        return f"{value:.4f}" if column == "percent" else f"{value:g}"
    return f"{value:,}" if isinstance(value, int) and format_ != "csv" else str(value)
