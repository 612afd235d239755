"""Reads which adapter is to be compressed, without the slow imports of its model, so that a wrong one is refused at
once."""

from pathlib import Path
from typing import Any

from ..errors import UsageError
from ..saving.manifest import read_config


def check_dense(path: Path) -> dict[str, Any]:
    """Return the config record of a dense adapter's folder; raise UsageError for any other folder."""
    record = read_config(path)
    if (method := record["adapter"]["method"]) != "dense":
        raise UsageError(f"--adapter_path {path} is of --method {method}; only dense is compressed")
    return record
