"""The value of --peft_config: JSON, or a path to a JSON file, as one canonical text."""

import json
from pathlib import Path
from typing import Any

from .errors import UsageError, quoted

_LARGEST = 2**20  # bytes


def canonical(value: Any) -> str:
    """Return the settings as JSON with sorted keys, so that equal settings are equal texts.

    Args:
        value: a dictionary, the text of a JSON object, or a path to a file that holds one.

    Raises:
        UsageError: for anything else.
    """
    where = "--peft_config"
    try:
        if isinstance(value, str) and not value.lstrip().startswith("{"):
            where = f"--peft_config {quoted(value)}"
            path = Path(value)
            if not path.is_file():
                raise UsageError(f"{where} is neither a JSON object nor a file; give '{{\"r\": 8}}' or a path")
            if path.stat().st_size > _LARGEST:
                raise UsageError(f"{where} is larger than 1 MiB; name a JSON file of PEFT's settings")
            value = path.read_text(encoding="utf-8")
        values = json.loads(value) if isinstance(value, str) else value
        if not isinstance(values, dict) or not all(isinstance(key, str) for key in values):
            raise UsageError(f"{where} must be a JSON object of PEFT's settings, such as '{{\"r\": 8}}'")
        text = json.dumps(values, sort_keys=True, allow_nan=False)
        text.encode()
        return text
    except UsageError:
        raise
    except OSError as error:
        raise UsageError(f"{where} cannot be read: {error.strerror}") from None
    except (TypeError, ValueError, RecursionError) as error:
        raise UsageError(f"{where} is not JSON: {error}") from None
