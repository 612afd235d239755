"""Make the zip file for GLUE's server (gluebenchmark.com) from the predictions of runs with --do_predict.

Each RUN is the output folder of a run of run_glue_tensorized.py. A task without a run gets a file of constant
predictions, since the server takes complete submissions only, and a line says so.
"""

from pathlib import Path

from tensorized_adapters.cli.parser import ScriptParser, check_output
from tensorized_adapters.errors import UsageError


def main(argv: list[str]) -> int:
    """Write the zip file; raise UsageError if input is refused."""
    parser = ScriptParser(__doc__)
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="output folders of runs")
    parser.add_argument("--output", type=Path, required=True, help="the zip file")
    arguments = parser.parse_args(argv)
    if arguments.output.exists():
        raise UsageError(f"--output {arguments.output} exists; name another file")
    check_output(arguments.output)
    from tensorized_adapters.predicting.glue_submission import write_submission  # imports pandas, unlike --help

    lines = write_submission(arguments.runs, arguments.output)
    print(*lines, f"submission: {arguments.output}", sep="\n")
    return 0
