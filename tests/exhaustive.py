"""Parameters of tests that are left out of the usual run, because they repeat what other cases of the test cover."""

from collections.abc import Sequence
from typing import Any

import pytest

# Encoders whose queries, keys and values are separate or one layer, and a decoder.
FEW_ARCHITECTURES = ["bert", "deberta-v2", "modernbert", "gpt2"]


def exhaustive_but(few: Sequence[Any], values: Sequence[Any]) -> list[Any]:
    """Return values for parametrize, of which all but a few are marked exhaustive. pyproject.toml has the marker."""
    assert all(value in values for value in few)

    def marked(value: Any) -> Any:
        return pytest.param(*(value if isinstance(value, tuple) else [value]), marks=pytest.mark.exhaustive)

    return [value if value in few else marked(value) for value in values]
