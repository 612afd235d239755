"""The JSON record of a benchmark: its command, the machine, and what it measured."""

import importlib.metadata
import os
import platform
from pathlib import Path
from typing import Any, Optional

from tensorized_adapters.errors import one_line
from tensorized_adapters.runtime.files import write_json


def write_record(
    path: Optional[Path], program: str, argv: list[str], machine: dict[str, Any], results: dict[str, Any]
) -> None:
    """Write a benchmark's record and print where it is; without a path, do nothing.

    Args:
        path: the JSON file, or None
        program: the benchmark's file
        argv: its arguments
        machine: further entries about the machine, such as the number of threads
        results: the further entries of the record
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
