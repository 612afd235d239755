"""Make the zip file for GLUE's server (gluebenchmark.com) from the predictions of runs with --do_predict.

Each RUN is the output folder of a run of run_glue_tensorized.py. A task without a run gets a file of constant
predictions, since the server takes complete submissions only, and a line says so.
"""

import sys
from pathlib import Path
from typing import Optional

from tensorized_adapters.cli.parser import ScriptParser
from tensorized_adapters.errors import UsageError


def main(argv: list[str]) -> int:
    """Write the zip file; raise UsageError if input is refused."""
    parser = ScriptParser(__doc__)
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="output folders of runs")
    parser.add_argument("--output", type=Path, required=True, help="the zip file")
    arguments = parser.parse_args(argv)
    if arguments.output.suffix.lower() != ".zip":
        raise UsageError(f"--output {arguments.output} must end in .zip, which is what the server takes")
    if arguments.output.exists():
        raise UsageError(f"--output {arguments.output} exists; name another file")
    from tensorized_adapters.predicting.glue_submission import write_submission  # imports pandas, unlike --help

    lines = write_submission(arguments.runs, arguments.output)
    for flaw in filter(None, map(_flaw_of_record, arguments.runs)):
        print(f"note: {flaw}", file=sys.stderr)
    print(*lines, f"submission: {arguments.output}", sep="\n")
    return 0


def _flaw_of_record(run: Path) -> Optional[str]:
    """Return why the predictions in a run's folder may not be its own: it has not finished, or has another task."""
    from tensorized_adapters.data.tasks import TASKS
    from tensorized_adapters.predicting.glue_submission import SIZES
    from tensorized_adapters.runs.folder import RECORD_FILE
    from tensorized_adapters.runs.read_record import read_record

    path = run / RECORD_FILE
    if not path.exists():
        return None
    try:
        record = read_record(path)
    except UsageError as error:
        return f"{path}: {error}"
    if record["status"] != "finished":
        return f"{path} says {record['status']}, not finished; the predictions may be of an earlier run"
    task = record["arguments"].get("task_name")
    own = {name for name, _ in TASKS[task].prediction_sets} if task in TASKS else set()
    other = [run / f"{name}.tsv" for name in SIZES if name not in own and (run / f"{name}.tsv").is_file()]
    return f"{other[0]} is of another task than {path} ({task or 'no task of GLUE'})" if other else None
