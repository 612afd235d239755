"""The overhead of a sweep on short trials, forked from a process that has imported everything or in new interpreters.

The same sweep of short trials (the embedded model, the packaged pairs, one seed each) runs both ways, in alternating
rounds. The table gives the medians of the trials an hour, of the seconds of a trial and of its part that is not
training: imports, data, model, evaluation and writing. A JSON record goes to --output.
"""

import argparse
import json
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmark_record import run_command, write_record
from rich.table import Table

from tensorized_adapters.cli.parser import ScriptParser, positive_integer
from tensorized_adapters.runtime.console import console, numbers_table
from tensorized_adapters.runtime.exits import run_program
from tensorized_adapters.runtime.files import read_json

VARIANTS = {"forked": [], "fresh interpreters": ["--fresh_processes"]}
COLUMNS = {"trials_an_hour": "trials an hour", "seconds": "seconds a trial", "besides": "of which not training"}


def main(argv: list[str]) -> int:
    parser = ScriptParser(__doc__)
    parser.add_argument("--trials", type=positive_integer, default=32)
    parser.add_argument("--max_train_samples", type=positive_integer, default=64)
    parser.add_argument("--rounds", type=positive_integer, default=1)
    parser.add_argument("--output", type=Path, help="JSON record")
    arguments = parser.parse_args(argv)
    rows: dict[str, list[dict[str, float]]] = {name: [] for name in VARIANTS}
    for round_ in range(arguments.rounds):
        for name in VARIANTS if round_ % 2 == 0 else reversed(VARIANTS):
            rows[name].append(_measure(arguments, VARIANTS[name]))
            print(f"round {round_ + 1} of {arguments.rounds}, {name}: {json.dumps(rows[name][-1])}", file=sys.stderr)
    console().print(_table(arguments, rows))
    write_record(arguments.output, __file__, argv, {}, {"rows": rows})
    return 0


def _measure(arguments: argparse.Namespace, words: list[str]) -> dict[str, float]:
    """Run the sweep once, and return the values of ``COLUMNS``; raise RunFailed if it fails."""
    with tempfile.TemporaryDirectory() as folder:
        seeds = ",".join(map(str, range(1, arguments.trials + 1)))
        command = [sys.executable, "-m", "tensorized_adapters", "sweep", "--projection_types", "cp", "--seeds", seeds]
        command += ["--max_train_samples", str(arguments.max_train_samples), "--num_train_epochs", "1"]
        command += ["--save_strategy", "no", "--no_report", "--output_dir", folder, *words]
        run_command(command)
        timing = read_json(Path(folder) / "sweep.json")["timing"]
        records = [read_json(path) for path in Path(folder).glob("trials/*/run.json")]
    training = statistics.mean(record["metrics"]["train_runtime"] for record in records)
    seconds, per_hour = timing["trials_own"] / len(records), 3600 * len(records) / timing["trials"]
    return {"trials_an_hour": per_hour, "seconds": seconds, "besides": seconds - training}


def _table(arguments: argparse.Namespace, rows: dict[str, list[dict[str, Any]]]) -> Table:
    title = f"{arguments.trials} trials of {arguments.max_train_samples} pairs"
    table = numbers_table(title, "a trial is", *COLUMNS.values())
    for name, measured in rows.items():
        table.add_row(name, *(f"{statistics.median(row[key] for row in measured):.1f}" for key in COLUMNS))
    return table


if __name__ == "__main__":
    run_program(main)
