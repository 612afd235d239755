"""Compress a trained dense adapter into a tensorized one, and print what each site's weights lose by it.

The result is an adapter folder like any other: run_glue_tensorized.py --adapter_path evaluates it or trains it on, and
scripts/predict.py predicts with it. LayerNorms and head stay as trained. The dense adapters' biases are left out.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tensorized_adapters import entry

if __name__ == "__main__":
    entry.begin()

import argparse

from command_line import ScriptParser, count, rate  # noqa: E402

from tensorized_adapters.endings import run  # noqa: E402
from tensorized_adapters.errors import UsageError  # noqa: E402
from tensorized_adapters.exporting.folder import check_new_folder, new_folder  # noqa: E402
from tensorized_adapters.settings import PROJECTION_TYPES  # noqa: E402

KEPT_NOTES = ("task", "texts", "label", "max_seq_length", "tokenizer")  # not those of how it was measured


def main(argv: list[str]) -> int:
    """Compress and save; raises UsageError for what is refused, before anything is written."""
    arguments = _parser().parse_args(argv)
    check_new_folder(arguments.output_dir)
    # Imported step by step: a wrong folder does not wait for Transformers' models.
    from tensorized_adapters.saving.format import read_config

    record = read_config(arguments.adapter_path)
    if (method := record["adapter"]["method"]) != "dense":
        raise UsageError(f"--adapter_path {arguments.adapter_path} is of --method {method}; only dense is compressed")
    from tensorized_adapters.methods.compression import compress_adapter
    from tensorized_adapters.predicting.pipeline import load_pipeline
    from tensorized_adapters.saving.adapter import save_adapter

    model = load_pipeline(arguments.adapter_path, arguments.model_name_or_path, device="cpu").model
    before = model.adaptation.config.describe()
    sites = compress_adapter(model, arguments.adapter_projection_type, arguments.rank, arguments.target_error)
    notes = {name: record["notes"][name] for name in KEPT_NOTES if name in record["notes"]}
    with new_folder(arguments.output_dir) as folder:
        save_adapter(model, folder, notes | {"compressed_from": before})
    _print_table(sites)
    print(f"{before} is {model.adaptation.config.describe()} now, without biases: {arguments.output_dir}")
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
    parser.add_argument("--output_dir", type=Path, required=True, help="a folder that is not there yet, or is empty")
    parser.add_argument("--adapter_projection_type", choices=PROJECTION_TYPES, required=True, help="the new format")
    size = parser.add_mutually_exclusive_group(required=True)
    size.add_argument("--rank", type=count, help="of every weight")
    size.add_argument(
        "--target_error", type=rate, help="take the smallest rank at which no weight's relative error is above this"
    )
    parser.add_argument("--model_name_or_path", help="where the base model is now (default: where it was)")
    return parser


if __name__ == "__main__":
    sys.exit(run(main))
