"""How many parameters each method trains, of any supported model, in closed form: no weights are loaded.

Without flags it prints the paper's second table: the four formats at ranks 2, 4 and 8 and the methods that it is
compared with, on bert-base-cased.
"""

import argparse
import csv
import io
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from command_line import ScriptParser, count, counts, names_of  # noqa: E402
from published_table import KNOWN, PUBLISHED, notes  # noqa: E402
from rich import box  # noqa: E402
from rich.table import Table  # noqa: E402
from transformers import BertConfig, PretrainedConfig  # noqa: E402

from tensorized_adapters import AdapterConfig, RunFailed, UsageError  # noqa: E402
from tensorized_adapters.architectures import skeleton  # noqa: E402
from tensorized_adapters.config import BITFIT_TERMS, METHODS, PROJECTION_TYPES, SITES  # noqa: E402
from tensorized_adapters.files import write_aside  # noqa: E402
from tensorized_adapters.job.flags import ModelArguments  # noqa: E402
from tensorized_adapters.job.pretrained import load_config  # noqa: E402
from tensorized_adapters.job.results import console  # noqa: E402
from tensorized_adapters.methods.counts import count_parameters, stored_bytes  # noqa: E402

COLUMNS = ("method", "mode", "adapters", "backbone", "layer_norm", "head", "trained", "percent")
BYTES = ("bytes_float32", "bytes_float16")


def main(argv: list[str]) -> int:
    try:
        arguments = _parser().parse_args(argv)
        model = skeleton(_model_config(arguments))
        rows = list(_rows(arguments, model))
        if not rows:
            raise UsageError("nothing to count: no format can use these --ranks")
        paper = arguments.model == "bert-base-cased" and arguments.num_labels == 2
        text = _written(rows, arguments, with_published=paper)
        if paper and arguments.format != "csv":
            text += "\n" + notes()
        if arguments.output:
            _write(arguments.output, text)
        else:
            print(text, end="")
    except (UsageError, RunFailed) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = ScriptParser(__doc__)
    parser.add_argument(
        "--model",
        default="bert-base-cased",
        help=f"folder or hub id of a model; {', '.join(KNOWN)} are known without a hub (default: %(default)s)",
    )
    parser.add_argument("--num_labels", type=count, default=2, help="labels of the head (default: %(default)s)")
    lists = {
        "methods": (METHODS, METHODS, "methods"),
        "projection_types": (PROJECTION_TYPES[:4], PROJECTION_TYPES, "formats of the tensorized adapters"),
        "modes": (("bottleneck",), ("bottleneck", "one_matrix"), "modes of the tensorized adapters"),
        "bitfit_terms": (("all",), BITFIT_TERMS, "biases that BitFit trains"),
    }
    for name, (default, choices, text) in lists.items():
        parser.add_argument(
            f"--{name}",
            type=names_of(choices),
            default=default,
            metavar="NAME,...",
            help=f"{text}, of {', '.join(choices)} (default: {','.join(default)})",
        )
    numbers = {
        "ranks": ((2, 4, 8), "ranks of the tensorized adapters"),
        "adapter_sizes": ((64,), "bottleneck dimensions of all adapters"),
        "lora_r": ((8,), "ranks of LoRA"),
        "phm_dim": ((4,), "numbers of Kronecker products of Compacter"),
    }
    for name, (default, text) in numbers.items():
        parser.add_argument(
            f"--{name}", type=counts, default=default, metavar="N,...", help=f"{text} (default: {default})"
        )
    parser.add_argument("--lora_targets", help="linear layers that LoRA updates (default: queries and values)")
    parser.add_argument("--diff_sparsity", type=float, default=0.005, help="share that diff pruning changes")
    parser.add_argument("--adapter_sites", choices=SITES, default="both", help="sites of all adapters")
    parser.add_argument("--format", choices=("text", "markdown", "csv"), default="text", help="of the table")
    parser.add_argument("--output", type=Path, help="write to this file instead of the terminal")
    return parser


def _model_config(arguments: argparse.Namespace) -> PretrainedConfig:
    known = KNOWN.get(arguments.model)
    config = BertConfig(**known) if known else load_config(ModelArguments(model_name_or_path=arguments.model))
    config.num_labels = arguments.num_labels
    return config


def _configs(arguments: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Every combination that was asked for, as settings of an AdapterConfig."""
    sites, sizes = arguments.adapter_sites, arguments.adapter_sizes
    for method in arguments.methods:
        if method == "tensorized":
            for kind in arguments.projection_types:
                for mode in arguments.modes:
                    for size in sizes if mode == "bottleneck" else sizes[:1]:  # one matrix has no bottleneck
                        for rank in arguments.ranks:
                            yield {
                                "adapter_projection_type": kind,
                                "tensorized_layer_rank": rank,
                                "if_adapter_like": mode == "bottleneck",
                                "adapter_size": size,
                                "adapter_sites": sites,
                            }
        elif method == "dense":
            yield from ({"method": method, "adapter_size": size, "adapter_sites": sites} for size in sizes)
        elif method == "compacter":
            for size in sizes:
                for n in arguments.phm_dim:
                    yield {"method": method, "adapter_size": size, "phm_dim": n, "adapter_sites": sites}
        elif method == "lora":
            for r in arguments.lora_r:
                yield {"method": method, "lora_r": r, "lora_targets": arguments.lora_targets}
        elif method == "bitfit":
            yield from ({"method": method, "bitfit_terms": terms} for terms in arguments.bitfit_terms)
        else:
            yield {"method": method} | ({"diff_sparsity": arguments.diff_sparsity} if method == "diff_pruning" else {})


def _rows(arguments: argparse.Namespace, model) -> Iterator[dict[str, Any]]:
    several_sizes = len(arguments.adapter_sizes) > 1
    for settings in _configs(arguments):
        config = AdapterConfig(**settings)
        try:
            counts = count_parameters(config, model)
        except UsageError as error:
            if config.method not in ("tensorized", "compacter"):
                raise
            print(f"skipped: {config.describe()}: {error}", file=sys.stderr)  # a rank that this format cannot use
            continue
        mode = ""
        if config.method == "tensorized":
            mode = f"bottleneck {config.adapter_size}" if config.if_adapter_like else "one matrix"
            mode = mode if several_sizes or not config.if_adapter_like else "bottleneck"
        name = config.describe().removesuffix(" (one matrix)")
        as_published = config.if_adapter_like and (config.adapter_size, config.adapter_sites) == (64, "both")
        yield (
            {"method": name, "mode": mode, "percent": 100 * counts["trained"] / counts["model"]}
            | {"published": PUBLISHED.get(name) if as_published else None}
            | {column: stored_bytes(config, counts, n) for column, n in zip(BYTES, (4, 2))}
            | counts
        )


def _written(rows: list[dict[str, Any]], arguments: argparse.Namespace, with_published: bool) -> str:
    columns = [*COLUMNS, *(("published",) if with_published else ()), *BYTES]
    cells = [[_cell(row, column, arguments.format) for column in columns] for row in rows]
    buffer = io.StringIO()
    if arguments.format == "csv":
        csv.writer(buffer, lineterminator="\n").writerows([columns, *cells])
        return buffer.getvalue()
    markdown = arguments.format == "markdown"
    size = f"{rows[0]['model']:,} parameters, {arguments.num_labels} labels"
    title = f"Trained parameters, {arguments.model} ({size})"
    table = Table(
        title=None if markdown else title, title_justify="left", box=box.MARKDOWN if markdown else box.SIMPLE
    )
    for column in columns:
        left = column in ("method", "mode")
        table.add_column(column.replace("_", " "), justify="left" if left else "right", no_wrap=True)
    for row in cells:
        table.add_row(*row)
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


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
