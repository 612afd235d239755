"""Runs the commands that a benchmark measures, and writes its JSON record."""

import importlib.metadata
import os
import platform
import subprocess
from pathlib import Path
from typing import Any, Optional

from tensorized_adapters.errors import RunFailed, one_line
from tensorized_adapters.runtime.files import write_json

ROOT = Path(__file__).resolve().parents[1]


def run_command(command: list[str]) -> None:
    """Run a command of this repository in its folder; raise RunFailed with its last line if it fails."""
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    ended = subprocess.run(command, cwd=ROOT, env=os.environ | {"PYTHONPATH": path}, capture_output=True, text=True)
    if ended.returncode:
        last = (ended.stderr.strip() or ended.stdout.strip()).splitlines()[-1:]
        raise RunFailed(f"{' '.join(command[1:6])} ... ended with {ended.returncode}: {''.join(last)}")


def write_record(
    path: Optional[Path], program: str, argv: list[str], machine: dict[str, Any], results: dict[str, Any]
) -> None:
    """Write the record of a benchmark (its file ``program``, with the arguments ``argv``) and print where it is.

    ``machine`` has further entries about the machine, and ``results`` further ones of the record. Without a path,
    nothing is written.
    """
    if path is None:
        return
    record = {
        "command": ["python", f"benchmarks/{Path(program).name}", *argv],
        "machine": {"platform": platform.platform(), "cpus": os.cpu_count()} | machine,
        "torch": importlib.metadata.version("torch"),
    }
    write_json(path.resolve(), record | results)  # a link stays one
    print(f"record: {one_line(path)}")
