"""Compress a trained dense adapter into a tensorized one, and print what each site's weights lose by it.

The result is an adapter folder like any other: run_glue_tensorized.py --adapter_path evaluates it or trains it on, and
tensorized-adapters predict predicts with it. LayerNorms and head stay as trained. The dense adapters' biases are left out.

With --figure, of a run's folder: error and score against rank, a line a format, as compressed and after one more
epoch of training on the run's data. Into --output_dir go the figure (PNG and SVG), its numbers (compression.json), and
each adapter with its runs; the same command again goes on where it was. --record draws compression.json again.
"""

import argparse
from pathlib import Path

from tensorized_adapters.cli.parser import ScriptParser, count, list_of, names_of, rate
from tensorized_adapters.config import PROJECTION_TYPES
from tensorized_adapters.errors import UsageError, need
from tensorized_adapters.exporting.folder import check_new_folder, new_folder

# Flags of one compression, and of a figure.
_OF_ONE = ("adapter_projection_type", "rank", "target_error")
_OF_FIGURE = ("record", "projection_types", "ranks")
FORMATS, RANKS = ("cp", "tucker", "tt", "tr"), (2, 4, 8, 16)


def main(argv: list[str]) -> int:
    """Compress and save; raises UsageError for what is refused, before anything is written."""
    arguments = _parser().parse_args(argv)
    _check_flags(arguments)
    if arguments.figure:
        return _draw(arguments)
    check_new_folder(arguments.output_dir)
    # Imported step by step: a wrong folder does not wait for Transformers' models.
    from tensorized_adapters.compressing.adapter import check_dense, compressed

    check_dense(arguments.adapter_path)
    from tensorized_adapters.saving.save import save_adapter

    kind = arguments.adapter_projection_type
    found = compressed(
        arguments.adapter_path, arguments.model_name_or_path, kind, arguments.rank, arguments.target_error
    )
    with new_folder(arguments.output_dir) as folder:
        save_adapter(found.model, folder, found.notes)
    _print_table(found.sites)
    print(f"{found.before} is {found.after} now, without biases: {arguments.output_dir}")
    return 0


def _draw(arguments: argparse.Namespace) -> int:
    """Measure what is missing, if a run is named, and draw the record."""
    need("matplotlib", "report", "a figure")
    from compression_study.record import read_record

    if arguments.record is not None:
        path, record = arguments.record, read_record(arguments.record)
    else:
        from compression_study.study import measure

        kinds, ranks = arguments.projection_types or FORMATS, arguments.ranks or RANKS
        path = measure(arguments.adapter_path, arguments.model_name_or_path, kinds, ranks, arguments.output_dir)
        record = read_record(path)
    from compression_study.figure import write_figure

    for written in write_figure(record, arguments.output_dir):
        print(f"figure: {written}")
    print(f"record: {path}")
    return 0


def _check_flags(given: argparse.Namespace) -> None:
    """Refuse flags of one compression with --figure, and the reverse; raises UsageError."""
    foreign = next((n for n in (_OF_ONE if given.figure else _OF_FIGURE) if getattr(given, n) is not None), None)
    if foreign:
        raise UsageError(f"--{foreign} goes {'without' if given.figure else 'with'} --figure; leave one of them out")
    if given.record is not None:
        for name in ("adapter_path", "model_name_or_path", "projection_types", "ranks"):
            if getattr(given, name) is not None:
                raise UsageError(f"--record is drawn as it is, without --{name}; leave one of them out")
    elif given.adapter_path is None:
        raise UsageError("--adapter_path is missing; name a dense adapter's folder, or its run's folder")
    if not given.figure and given.adapter_projection_type is None:
        raise UsageError(f"--adapter_projection_type is missing; give one of {', '.join(PROJECTION_TYPES)}")
    if not given.figure and given.rank is None and given.target_error is None:
        raise UsageError("one of --rank and --target_error is missing")


def _print_table(sites: list) -> None:
    width = max(len(site.site) for site in sites)
    print(f"{'site':<{width}}  error: down     up  parameters:  before    after")
    for site in sites:
        sizes = f"{site.parameters_before:>20,} {site.parameters_after:>8,}"
        print(f"{site.site:<{width}}  {site.down_error:>11.4f} {site.up_error:>6.4f}{sizes}")
    before, after = (sum(getattr(s, f"parameters_{when}") for s in sites) for when in ("before", "after"))
    print(f"{'all sites':<{width}}{'':>20}{before:>20,} {after:>8,}")


def _parser() -> argparse.ArgumentParser:
    parser = ScriptParser(__doc__)
    parser.add_argument("--adapter_path", type=Path, help="a dense adapter/ folder, or its run's folder")
    parser.add_argument(
        "--output_dir",
        type=Path,
        required=True,
        help="a folder that is not there yet, or is empty; with --figure also that of an earlier start",
    )
    parser.add_argument("--adapter_projection_type", choices=PROJECTION_TYPES, help="the new format")
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--rank", type=count, help="of every weight")
    size.add_argument(
        "--target_error", type=rate, help="take the smallest rank at which no weight's relative error is above this"
    )
    parser.add_argument("--model_name_or_path", help="where the base model is now (default: where it was)")
    figure = parser.add_argument_group("figure")
    figure.add_argument("--figure", action="store_true", help="measure several ranks and formats, and draw them")
    figure.add_argument(
        "--projection_types", type=names_of(PROJECTION_TYPES), help=f"formats (default: {','.join(FORMATS)})"
    )
    figure.add_argument("--ranks", type=list_of(count), help=f"of every weight (default: {','.join(map(str, RANKS))})")
    figure.add_argument("--record", type=Path, help="draw this compression.json, instead of --adapter_path")
    return parser
