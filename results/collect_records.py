"""Copies the records of finished runs into a folder to keep, small and without this machine's folders.

  python results/collect_records.py runs/sweep --output_dir results/rates

Each becomes OUTPUT_DIR/NAME/run.json, named by its run's folder. Left out are arguments that change no result, memory,
and digits of the step losses beyond the fourth; absolute paths keep two parts.
"""

import json
import shlex
import sys
from pathlib import Path
from typing import Any

from tensorized_adapters.cli.parser import ScriptParser
from tensorized_adapters.reporting.results import read_results
from tensorized_adapters.runs.folder import RECORD_FILE
from tensorized_adapters.runs.same_run import effective_arguments
from tensorized_adapters.runtime.exits import run_program
from tensorized_adapters.runtime.files import write_atomically

_LEFT_OUT = ("peak_memory_bytes", "files", "path")


def main(argv: list[str]) -> int:
    parser = ScriptParser(__doc__)
    parser.add_argument("runs", nargs="+", type=Path, help="folders of runs or sweeps, at any depth")
    parser.add_argument("--output_dir", type=Path, required=True)
    arguments = parser.parse_args(argv)
    results = read_results(arguments.runs)
    for line in (*results.missing, *results.notes):
        print(f"note: {line}", file=sys.stderr)
    for record in results.runs["record"]:
        folder = arguments.output_dir / record["path"].parent.name
        folder.mkdir(parents=True, exist_ok=True)
        write_atomically(folder / RECORD_FILE, (json.dumps(kept(record), separators=(",", ":")) + "\n").encode())
    print(f"{len(results.runs)} records in {arguments.output_dir}")
    return 0


def kept(record: dict[str, Any]) -> dict[str, Any]:
    """Return the part of a record that is kept."""
    record = {name: neutral(value) for name, value in record.items() if name not in _LEFT_OUT}
    arguments = effective_arguments(record["arguments"])
    arguments = {name: neutral(value) for name, value in arguments.items()}
    command = shlex.join(map(neutral, shlex.split(record["command"])))
    losses = [round(loss, 4) for loss in record.get("step_losses", ())]
    return record | {"arguments": arguments, "command": command, "step_losses": losses}


def neutral(value: Any) -> Any:
    """Return an absolute path by its last two parts, and anything else as it is."""
    if not isinstance(value, str) or not value.startswith("/"):
        return value
    return "/".join(Path(value).parts[-2:])


if __name__ == "__main__":
    run_program(main)
