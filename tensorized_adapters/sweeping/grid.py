"""The grid of sweeps and of tables of counts: every combination of the settings that each method has."""

import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ..config import METHOD_FIELDS, AdapterConfig, unused_fields

MODES = {"bottleneck": True, "one_matrix": False}  # values of if_adapter_like


def grid_of(methods: Iterable[str], axes: Mapping[str, Sequence[Any]]) -> dict[AdapterConfig, dict[str, Any]]:
    """Return each config once, with the fields that were set. They are the product of the axes that a method has, in
    the order of the methods; the first axis varies slowest. Raises UsageError for a value outside its field's range.

    ``axes`` has values of the fields of AdapterConfig, such as ``{"adapter_projection_type": ("cp", "tt")}``. A field
    without values stays at its default, and a method leaves out the fields of other methods.
    """
    grid: dict[AdapterConfig, dict[str, Any]] = {}
    for method in methods:
        own = {name: values for name, values in axes.items() if name in METHOD_FIELDS[method] and values}
        for point in itertools.product(*own.values()):
            settings = ({} if method == "tensorized" else {"method": method}) | dict(zip(own, point))
            if not settings.get("if_adapter_like", True):
                settings.pop("adapter_size", None)  # one square matrix has no bottleneck
            if method == "tensorized":
                unused = unused_fields(settings.get("adapter_placement", "sequential"))
                settings = {name: value for name, value in settings.items() if name not in unused}
            grid.setdefault(AdapterConfig(**settings), settings)
    return grid
