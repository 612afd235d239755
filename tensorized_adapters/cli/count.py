"""Count the parameters that each method trains on any supported model.

Formulas give the counts, so no weights are loaded. Without flags it prints the paper's second table: the four formats
at ranks 2, 4 and 8, and the methods that the paper compares them with, on bert-base-cased.
"""

from pathlib import Path

from tensorized_adapters.backbone.known_models import KNOWN
from tensorized_adapters.cli.parser import ScriptParser, comma_separated, names_among, positive_integer
from tensorized_adapters.config import BITFIT_TERMS, METHODS, PLACEMENTS, PROJECTION_TYPES, SCOPES, SITES, SPLITS
from tensorized_adapters.runtime.files import refusing_unwritable, write_atomically
from tensorized_adapters.sweeping.grid import MODES

_DEFAULT = "(default: %(default)s)"


def main(argv: list[str]) -> int:
    """Print or write the table; raise UsageError if input is refused."""
    parser = ScriptParser(__doc__)
    known = f"{', '.join(KNOWN)} are known without a hub"
    parser.add_argument("--model", default="bert-base-cased", help=f"folder or hub id of a model; {known} {_DEFAULT}")
    parser.add_argument("--num_labels", type=positive_integer, default=2, help=f"labels of the head {_DEFAULT}")
    without_peft, formats = tuple(name for name in METHODS if name != "peft"), PROJECTION_TYPES
    # flag, setting of AdapterConfig, default, choices (None for numbers), what is listed
    for flag, setting, default, choices, text in (
        ("methods", "methods", without_peft, METHODS, "methods"),
        ("projection_types", "adapter_projection_type", formats[:4], formats, "formats of the tensorized adapters"),
        ("modes", "if_adapter_like", ("bottleneck",), MODES, "modes of the tensorized adapters"),
        ("bitfit_terms", "bitfit_terms", ("all",), BITFIT_TERMS, "biases that BitFit trains"),
        ("adapter_sizes", "adapter_size", (64,), None, "bottleneck dimensions of all adapters"),
        ("ranks", "tensorized_layer_rank", (2, 4, 8), None, "ranks of the tensorized adapters"),
        ("lora_r", "lora_r", (8,), None, "ranks of LoRA"),
        ("phm_dim", "phm_dim", (4,), None, "numbers of Kronecker products of Compacter"),
    ):
        kind, metavar = (names_among(choices), "NAME,...") if choices else (comma_separated(positive_integer), "N,...")
        text += f", of {', '.join(choices)}" if choices else ""
        text += f" (default: {','.join(map(str, default))})"
        parser.add_argument(f"--{flag}", dest=setting, type=kind, default=default, metavar=metavar, help=text)
    types = "types of --methods peft, such as vera,loha"
    parser.add_argument("--peft_type", type=lambda text: tuple(text.split(",")), default=(), help=types)
    settings = "settings of --methods peft: JSON, or a path to a JSON file"
    parser.add_argument("--peft_config", default="{}", help=settings)
    targets = "linear layers that LoRA and --adapter_placement weights update (default: queries and values)"
    parser.add_argument("--lora_targets", help=targets)
    for name, choices in (("tensor_split", SPLITS), ("tensor_scope", SCOPES), ("adapter_placement", PLACEMENTS)):
        which = f"for tensorized adapters {_DEFAULT}"
        parser.add_argument(f"--{name}", choices=choices, default=choices[0], help=which)
    parser.add_argument("--diff_sparsity", type=float, default=0.005, help="share that diff pruning changes")
    parser.add_argument("--adapter_sites", choices=SITES, default="both", help="sites of all adapters")
    parser.add_argument("--format", choices=("text", "markdown", "csv"), default="text", help="format of the table")
    parser.add_argument("--output", type=Path, help="write to this file instead of the terminal")
    arguments = parser.parse_args(argv)
    given = [each for each in parser._actions if getattr(arguments, each.dest, each.default) != each.default]
    arguments.given = {action.dest: action.option_strings[0] for action in given}
    from tensorized_adapters.reporting.parameter_counts import counts_text  # imports Transformers, unlike --help

    text = counts_text(arguments)
    if not arguments.output:
        print(text, end="")
        return 0
    with refusing_unwritable(f"--output {arguments.output}"):
        write_atomically(arguments.output.resolve(), text.encode())  # a link stays one
    return 0
