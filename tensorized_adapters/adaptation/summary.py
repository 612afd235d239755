"""A table of the adapters on a model."""

from typing import Any

import pandas as pd
from transformers import PreTrainedModel

from .named import active_adapter, adapter_names, adapter_set
from .parameters import adaptation_of, count_trained, unwrapped


def adapter_summary(model: PreTrainedModel) -> pd.DataFrame:
    """Return one row for each adapter, in the order in which they were added. An adapter without a name is called "-".

    Columns:
        name, method: ``method`` is the short name, such as ``tt-4``.
        decomposition, rank: of tensorized adapters and LoRA; missing (``<NA>``) for a method without them.
        parameters, percent: the trained parameters, and their percentage of the model.
        active: whether the model computes with the adapter.

    Raises:
        UsageError: if the model is not adapted.
    """
    model = unwrapped(model)
    active, names = active_adapter(model), adapter_names(model)
    rows = []
    for name in names or [None]:
        if not names or name == active:
            rows.append(_row(model, name or "-", True))
        else:
            with adapter_set(model, name):
                rows.append(_row(model, name, False))
    return pd.DataFrame(rows).astype({"decomposition": "string", "rank": "Int64"})


def _row(model: PreTrainedModel, name: str, active: bool) -> dict[str, Any]:
    config, counts = adaptation_of(model).config, count_trained(model)
    settings = config.to_dict()  # only the fields of its method
    return {
        "name": name,
        "method": config.describe(),
        "decomposition": settings.get("adapter_projection_type"),
        "rank": settings.get("tensorized_layer_rank", settings.get("lora_r")),
        "parameters": counts["trained"],
        "percent": 100 * counts["trained"] / counts["model"],
        "active": active,
    }
