"""The table of trained parameters by method that ``tensorized-adapters count`` prints."""

import argparse
import sys
from typing import Any

import pandas as pd
from rich import box
from rich.text import Text
from transformers import PreTrainedModel

from ..adaptation.counts import count_parameters, stored_bytes
from ..backbone.arguments import ModelArguments
from ..backbone.known_models import model_config
from ..backbone.parts import skeleton
from ..config import AdapterConfig
from ..errors import UsageError, about_model, one_line
from ..runtime.console import console, numbers_table
from ..sweeping.grid import MODES, grid_of
from .published import NOTES, PUBLISHED

COLUMNS = ("method", "mode", "adapters", "backbone", "layer_norm", "head", "trained", "percent")
BYTES = ("bytes_float32", "bytes_float16")


def counts_text(arguments: argparse.Namespace) -> str:
    """Return the table as text, in the format that the flags of ``tensorized-adapters count`` ask for."""
    with about_model():
        config = model_config(ModelArguments(model_name_or_path=arguments.model), arguments.num_labels)
        model = skeleton(config)  # without weights
    rows = _rows(arguments, model)
    paper = arguments.model == "bert-base-cased" and arguments.num_labels == 2
    cells = pd.DataFrame(rows, columns=[*COLUMNS, *(["published"] if paper else []), *BYTES], dtype=object)
    cells["percent"] = cells["percent"].map("{:.4f}".format)
    if arguments.format == "csv":
        return cells.to_csv(index=False)
    size = f"{rows[0]['model']:,} parameters, {arguments.num_labels} labels"
    title = one_line(f"Trained parameters, {arguments.model} ({size})")
    table = numbers_table("", *(column.replace("_", " ") for column in cells), text=("mode",))
    table.box = box.MARKDOWN if arguments.format == "markdown" else box.SIMPLE
    for row in cells.map(lambda cell: f"{cell:,}" if isinstance(cell, int) else cell).values:
        table.add_row(*map(Text, row))
    printer = console()
    printer.width = 200  # columns must not be cut in a pipe or a narrow terminal
    with printer.capture() as capture:
        printer.print(table)
    text = "\n".join(line.rstrip() for line in capture.get().splitlines()).strip("\n")
    return f"{title}\n\n{text}\n" + (f"\n{NOTES}" if paper else "")


def _rows(arguments: argparse.Namespace, model: PreTrainedModel) -> list[dict[str, Any]]:
    """Return a row for each method that fits the model. A line on stderr names each method that does not."""
    values = vars(arguments) | {"if_adapter_like": [MODES[mode] for mode in arguments.if_adapter_like]}
    axes = {name: value for name, value in values.items() if hasattr(AdapterConfig, name)}
    axes = {name: value if isinstance(value, (list, tuple)) else [value] for name, value in axes.items()}
    configs = grid_of(arguments.methods, axes)
    for name, flag in arguments.given.items():
        if name in axes and not any(name in settings for settings in configs.values()):
            raise UsageError(f"{flag} belongs to none of --methods {','.join(arguments.methods)}; leave it out")
    rows, flaws = [], []
    for config in configs:
        try:
            counts = count_parameters(config, model)
        except UsageError as error:
            flaws.append(str(error))
            print(f"skipped: {one_line(f'{config.describe()}: {error}')}", file=sys.stderr)
        else:
            rows.append(_row(config, counts, several_sizes=len(arguments.adapter_size) > 1))
    if not rows:
        raise UsageError(f"nothing to count: {flaws[0]}")
    return rows


def _row(config: AdapterConfig, counts: dict[str, int], several_sizes: bool) -> dict[str, Any]:
    if config.method != "tensorized":
        mode = ""
    elif config.adapter_placement == "weights":
        mode = "weights"
    elif not config.if_adapter_like:
        mode = "one matrix"
    else:
        mode = f"bottleneck {config.adapter_size}" if several_sizes else "bottleneck"
    name = config.describe().removesuffix(" (one matrix)")
    as_published = config.if_adapter_like and (config.adapter_size, config.adapter_sites) == (64, "both")
    row = {"method": name, "mode": mode, "percent": 100 * counts["trained"] / counts["model"]} | counts
    row["published"] = f"{PUBLISHED[name]:g}" if as_published and name in PUBLISHED else ""
    return row | {column: stored_bytes(config, counts, n) for column, n in zip(BYTES, (4, 2))}
