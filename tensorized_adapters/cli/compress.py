"""Compress a trained dense adapter into a tensorized one, and print the error of each site's weights.

The result is an adapter folder like any other: run_glue_tensorized.py --adapter_path evaluates it or trains it on, and
tensorized-adapters predict uses it. LayerNorms and head stay as trained. The dense adapters' biases are left out.
"""

from pathlib import Path

from tensorized_adapters.cli.parser import ScriptParser, new_folder, number, positive_integer
from tensorized_adapters.config import PROJECTION_TYPES


def main(argv: list[str]) -> int:
    """Compress and save; raise UsageError if input is refused, before anything is written."""
    parser = ScriptParser(__doc__)
    parser.add_argument("--adapter_path", type=Path, required=True, help="a dense adapter/ folder, or a run's folder")
    parser.add_argument("--output_dir", type=Path, required=True, help="a folder that does not exist yet, or is empty")
    parser.add_argument("--adapter_projection_type", choices=PROJECTION_TYPES, required=True, help="the new format")
    size = parser.add_mutually_exclusive_group(required=True)
    size.add_argument("--rank", type=positive_integer, help="the rank of every weight")
    error = "take the smallest rank at which no weight's relative error is above this"
    size.add_argument("--target_error", type=number, help=error)
    parser.add_argument("--model_name_or_path", help="where the base model is now (default: where it was)")
    arguments = parser.parse_args(argv)
    from tensorized_adapters.compressing.source import check_dense

    with new_folder(arguments.output_dir) as folder:
        check_dense(arguments.adapter_path)  # before Transformers' models are imported, which takes seconds
        from tensorized_adapters.compressing.decompose import compress_adapter
        from tensorized_adapters.predicting.pipeline import load_pipeline
        from tensorized_adapters.saving.save import save_adapter

        model = load_pipeline(arguments.adapter_path, arguments.model_name_or_path, device="cpu").model
        settings = (arguments.adapter_projection_type, arguments.rank, arguments.target_error)
        sites = compress_adapter(model, *settings)
        save_adapter(model, folder)
    width = max(len(site.site) for site in sites)
    print(f"{'site':<{width}}  error: down     up  parameters:  before    after")
    for site in sites:
        sizes = f"{site.parameters_before:>20,} {site.parameters_after:>8,}"
        print(f"{site.site:<{width}}  {site.down_error:>11.4f} {site.up_error:>6.4f}{sizes}")
    before, after = (sum(getattr(site, f"parameters_{when}") for site in sites) for when in ("before", "after"))
    print(f"{'all sites':<{width}}{'':>20}{before:>20,} {after:>8,}")
    old, new = model.adaptation.notes["compressed_from"], model.adaptation.config.describe()
    print(f"{old} is {new} now, without biases: {arguments.output_dir}")
    return 0
