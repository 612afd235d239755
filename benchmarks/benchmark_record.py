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
