"""How many parameters each method trains, of any supported model, in closed form: no weights are loaded.

Without flags it prints the paper's second table: the four formats at ranks 2, 4 and 8 and the methods that it is
compared with, on bert-base-cased.
"""

import argparse
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pandas as pd
from rich import box
from rich.table import Table
from rich.text import Text
from transformers import PreTrainedModel

from tensorized_adapters import AdapterConfig
from tensorized_adapters.adaptation.counts import count_parameters, stored_bytes
from tensorized_adapters.backbone.arguments import ModelArguments
from tensorized_adapters.backbone.known_models import KNOWN, model_config
from tensorized_adapters.backbone.parts import skeleton
from tensorized_adapters.cli.parser import ScriptParser, about_model, check_output, count, list_of, names_of
from tensorized_adapters.config import BITFIT_TERMS, METHODS, PLACEMENTS, PROJECTION_TYPES, SCOPES, SITES, SPLITS
from tensorized_adapters.errors import RunFailed, UsageError, one_line
from tensorized_adapters.reporting.published import PUBLISHED, notes
from tensorized_adapters.runtime.console import console
from tensorized_adapters.runtime.exits import tell
from tensorized_adapters.runtime.files import write_aside
from tensorized_adapters.sweeping.grid import MODES, grid_of

COLUMNS = ("method", "mode", "adapters", "backbone", "layer_norm", "head", "trained", "percent")
_DEFAULT = "(default: %(default)s)"
BYTES = ("bytes_float32", "bytes_float16")


def main(argv: list[str]) -> int:
    try:
        arguments = _parser().parse_args(argv)
        if arguments.output:
            check_output(arguments.output)
        rows = _rows(arguments, _model(arguments))
        paper = arguments.model == "bert-base-cased" and arguments.num_labels == 2
        text = _written(rows, arguments, with_published=paper)
        if paper and arguments.format != "csv":
            text += "\n" + notes()
        if arguments.output:
            _write(arguments.output, text)
        else:
            print(text, end="")
    except (UsageError, RunFailed) as error:
        return tell("error", error, 2)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = ScriptParser(__doc__)
    known = f"{', '.join(KNOWN)} are known without a hub"
    parser.add_argument("--model", default="bert-base-cased", help=f"folder or hub id of a model; {known} {_DEFAULT}")
    parser.add_argument("--num_labels", type=count, default=2, help=f"labels of the head {_DEFAULT}")
    lists = {
        "methods": (METHODS, METHODS, "methods"),
        "projection_types": (PROJECTION_TYPES[:4], PROJECTION_TYPES, "formats of the tensorized adapters"),
        "modes": (("bottleneck",), MODES, "modes of the tensorized adapters"),
        "bitfit_terms": (("all",), BITFIT_TERMS, "biases that BitFit trains"),
        "ranks": ((2, 4, 8), None, "ranks of the tensorized adapters"),
        "adapter_sizes": ((64,), None, "bottleneck dimensions of all adapters"),
        "lora_r": ((8,), None, "ranks of LoRA"),
        "phm_dim": ((4,), None, "numbers of Kronecker products of Compacter"),
    }
    for name, (default, choices, text) in lists.items():
        kind, metavar = (names_of(choices), "NAME,...") if choices else (list_of(count), "N,...")
        text += f", of {', '.join(choices)}" if choices else ""
        text += f" (default: {','.join(map(str, default))})"
        parser.add_argument(f"--{name}", type=kind, default=default, metavar=metavar, help=text)
    targets = "linear layers that LoRA and --adapter_placement weights update (default: queries and values)"
    parser.add_argument("--lora_targets", help=targets)
    for name, choices in (("tensor_split", SPLITS), ("tensor_scope", SCOPES), ("adapter_placement", PLACEMENTS)):
        parser.add_argument(
            f"--{name}", choices=choices, default=choices[0], help=f"of tensorized adapters {_DEFAULT}"
        )
    parser.add_argument("--diff_sparsity", type=float, default=0.005, help="share that diff pruning changes")
    parser.add_argument("--adapter_sites", choices=SITES, default="both", help="sites of all adapters")
    parser.add_argument("--format", choices=("text", "markdown", "csv"), default="text", help="of the table")
    parser.add_argument("--output", type=Path, help="write to this file instead of the terminal")
    return parser


def _model(arguments: argparse.Namespace) -> PreTrainedModel:
    """Without weights."""
    with about_model():
        return skeleton(model_config(ModelArguments(model_name_or_path=arguments.model), arguments.num_labels))


def _configs(arguments: argparse.Namespace) -> Iterable[AdapterConfig]:
    axes = {
        "adapter_projection_type": arguments.projection_types,
        "if_adapter_like": [MODES[mode] for mode in arguments.modes],
        "adapter_size": arguments.adapter_sizes,
        "tensorized_layer_rank": arguments.ranks,
    }
    axes |= {name: getattr(arguments, name) for name in ("phm_dim", "lora_r", "bitfit_terms")}
    single = "lora_targets diff_sparsity adapter_sites tensor_split tensor_scope adapter_placement".split()
    axes |= {name: [getattr(arguments, name)] for name in single}
    return grid_of(arguments.methods, axes)


def _rows(arguments: argparse.Namespace, model: PreTrainedModel) -> list[dict[str, Any]]:
    """A row for each method that can be used on the model, a line for each that cannot."""
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
    printer.width = 200  # in full, wherever it goes
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


def _write(path: Path, text: str) -> None:
    try:
        write_aside(path, text.encode())
    except OSError as error:
        raise UsageError(f"--output {path} cannot be written: {error.strerror}") from None
