"""Error and score of compressed dense adapters against rank, a line a format, before and after one more epoch.

  python results/study_compression.py --adapter_path runs/dense --output_dir runs/compression

The epoch is on the run's own data. Into --output_dir go the figure (PNG and SVG), its numbers (compression.json), and
each adapter with its runs; the same command again goes on where it was. --record draws compression.json again.
"""

import argparse
from pathlib import Path

from tensorized_adapters.cli.parser import ScriptParser, comma_separated, names_among, positive_integer
from tensorized_adapters.config import PROJECTION_TYPES
from tensorized_adapters.errors import UsageError, need
from tensorized_adapters.runtime.exits import run_program

FORMATS, RANKS = ("cp", "tucker", "tt", "tr"), (2, 4, 8, 16)


def main(argv: list[str]) -> int:
    """Measure what is missing, if a run is named, and draw the record. Raises UsageError for what is refused."""
    arguments = _parser().parse_args(argv)
    _check_flags(arguments)
    need("matplotlib", "report", "a figure")
    from compression_study.figure import write_figure
    from compression_study.record import read_record
    from compression_study.study import measure

    path = arguments.record
    if path is None:
        kinds, ranks = arguments.projection_types or FORMATS, arguments.ranks or RANKS
        path = measure(arguments.adapter_path, arguments.model_name_or_path, kinds, ranks, arguments.output_dir)
    for written in write_figure(read_record(path), arguments.output_dir):
        print(f"figure: {written}")
    print(f"record: {path}")
    return 0


def _check_flags(given: argparse.Namespace) -> None:
    if given.record is None:
        if given.adapter_path is None:
            raise UsageError("--adapter_path is missing; name a dense adapter's folder, or its run's folder")
        return
    for name in ("adapter_path", "model_name_or_path", "projection_types", "ranks"):
        if getattr(given, name) is not None:
            raise UsageError(f"--record is drawn as it is, without --{name}; leave one of them out")


def _parser() -> argparse.ArgumentParser:
    parser = ScriptParser(__doc__)
    parser.add_argument("--adapter_path", type=Path, help="a dense adapter/ folder, or its run's folder")
    parser.add_argument("--output_dir", type=Path, required=True, help="a new folder, or that of an earlier start")
    parser.add_argument("--model_name_or_path", help="the base model's folder (default: the one that was recorded)")
    parser.add_argument(
        "--projection_types", type=names_among(PROJECTION_TYPES), help=f"formats (default: {','.join(FORMATS)})"
    )
    parser.add_argument(
        "--ranks",
        type=comma_separated(positive_integer),
        help=f"of every weight (default: {','.join(map(str, RANKS))})",
    )
    parser.add_argument("--record", type=Path, help="draw this compression.json, instead of --adapter_path")
    return parser


if __name__ == "__main__":
    run_program(main)
