"""The command ``tensorized-adapters SUBCOMMAND FLAG...``, and ``run_glue_tensorized FLAG...`` as pip installs it."""

import runpy
import sys
from importlib import import_module

from ..errors import printable
from ..runtime import signals
from ..sweeping import REPOSITORY

SUBCOMMANDS = {
    "predict": "label texts with a saved adapter",
    "sweep": "run a grid of methods, ranks, tasks, learning rates and seeds",
    "report": "write tables and figures from the records of runs",
    "count": "print how many parameters each method trains",
    "export": "write a saved adapter as dense weights, a torch.export program or ONNX",
    "glue_submission": "make the zip file for GLUE's server from the predictions of runs",
    "compress": "turn a trained dense adapter into a tensorized one",
}


def main() -> None:
    """Run the subcommand that the first word names. Exits with 2 at an unknown word."""
    signals.begin()
    word = sys.argv[1] if len(sys.argv) > 1 else "--help"
    if word in ("-h", "--help"):
        print("usage: tensorized-adapters SUBCOMMAND FLAG...     (SUBCOMMAND --help lists its flags)\n")
        print(*(f"  {name:<17}{what}" for name, what in SUBCOMMANDS.items()), sep="\n")
        return
    if word not in SUBCOMMANDS:
        known = ", ".join(SUBCOMMANDS)
        print(f"error: unknown subcommand {printable(word)[:80]}; known: {known}", file=sys.stderr)
        sys.exit(2)
    sys.argv[:2] = [f"tensorized-adapters {word}"]
    subcommand = import_module(f".{word}", __package__)
    from ..runtime.exits import run_program  # not above: signals are taken before anything else is imported

    run_program(subcommand.main)


def run_glue() -> None:
    """Run run_glue_tensorized.py on the command line as it is."""
    sys.argv[0] = str(REPOSITORY / "run_glue_tensorized.py")
    runpy.run_path(sys.argv[0], run_name="__main__")
