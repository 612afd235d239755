"""Compress a trained dense adapter into a tensorized one, and print the error of each site's weights.

The result is an adapter folder like any other: run_glue_tensorized.py --adapter_path evaluates it or trains it on, and
tensorized-adapters predict uses it. LayerNorms and head stay as trained. The dense adapters' biases are left out.
"""

import argparse
from pathlib import Path

from tensorized_adapters.cli.parser import ScriptParser, count, rate
from tensorized_adapters.config import PROJECTION_TYPES
from tensorized_adapters.errors import UsageError
from tensorized_adapters.exporting.folder import check_new_folder, new_folder


def main(argv: list[str]) -> int:
    """Compress and save; raise UsageError if input is refused, before anything is written."""
    arguments = _parser().parse_args(argv)
    if arguments.rank is None and arguments.target_error is None:
        raise UsageError("one of --rank and --target_error is missing")
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
    parser.add_argument(
        "--adapter_path", type=Path, required=True, help="a dense adapter/ folder, or its run's folder"
    )
    parser.add_argument("--output_dir", type=Path, required=True, help="a folder that does not exist yet, or is empty")
    parser.add_argument("--adapter_projection_type", choices=PROJECTION_TYPES, required=True, help="the new format")
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--rank", type=count, help="the rank of every weight")
    size.add_argument(
        "--target_error", type=rate, help="take the smallest rank at which no weight's relative error is above this"
    )
    parser.add_argument("--model_name_or_path", help="where the base model is now (default: where it was)")
    return parser
