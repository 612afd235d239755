"""Encoder layers by their numbers: as a user names them, and in parameter names."""

import re
from typing import Optional

from .errors import UsageError


def parse_layers(text: str) -> tuple[int, ...]:
    """Layers such as ``"6-11"`` or ``"0,2,8-11"`` as ascending indices from 0.

    Raises:
        UsageError: for anything else.
    """
    found: set[int] = set()
    for part in str(text).split(","):
        match = re.fullmatch(r"\s*(\d{1,4})(?:\s*-\s*(\d{1,4}))?\s*", part)
        if not match or int(match[2] or match[1]) < int(match[1]):
            raise UsageError(f"--adapter_layers {text!r} is not like 6-11 or 0,2,8-11")
        found |= set(range(int(match[1]), int(match[2] or match[1]) + 1))
    return tuple(sorted(found))


def layer_of(name: str) -> Optional[int]:
    """The index of the encoder layer that a module or parameter belongs to; None outside of the layers."""
    match = re.match(r"(?:.*\.)?encoder\.layer\.(\d+)\.", f"{name}.")
    return int(match[1]) if match else None
