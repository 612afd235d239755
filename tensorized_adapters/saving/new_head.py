"""What ``--new_head`` keeps of a saved adapter, as a line for the user."""

from typing import Any

from transformers import PreTrainedModel

from ..adaptation.parameters import trained_groups
from ..backbone.parts import base_prefix
from ..data.labels import saved_label_names
from ..errors import quoted


def kept_and_new(model: PreTrainedModel, saved: dict[str, Any]) -> str:
    """A line for the user about ``--new_head``: how many parameters are kept from the adapter, and how many are new.

    Args:
        saved: the adapter's config record.
    """
    prefix = base_prefix(model)
    groups = {group: dict(parameters) for group, parameters in trained_groups(model).items()}
    outside = {name: p for name, p in groups["head"].items() if not name.startswith(prefix)}
    groups["head"] = {name: p for name, p in groups["head"].items() if name not in outside}
    called = {"layer_norm": "LayerNorms", "head": "pooler"}
    kept = [
        f"{called.get(group, group)} ({sum(p.numel() for p in parameters.values()):,})"
        for group, parameters in groups.items()
        if parameters
    ]
    task, labels = saved["notes"].get("task"), saved_label_names(saved)
    before = f"{task or 'a task'}, {'scores' if labels is None else f'{len(labels)} classes'}"
    regression = model.config.problem_type == "regression"
    now = "scores" if regression else f"{model.config.num_labels} classes"
    size = sum(p.numel() for p in outside.values())
    return f"--new_head: kept from {quoted(before)}: {', '.join(kept)}; new: the head ({size:,}), for {now}"
