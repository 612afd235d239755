"""The line for the user about ``--new_head``, which keeps all of a saved adapter but its head."""

from typing import Any, Optional

from transformers import PreTrainedModel

from ..adaptation.parameters import trained_groups
from ..backbone.parts import base_prefix
from ..errors import quoted


def kept_and_new(model: PreTrainedModel, saved: dict[str, Any]) -> str:
    """Return a line that says how many parameters are kept from the adapter, and how many are new.

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
    task = saved["notes"].get("task") or "a task"
    before = f"{quoted(task)} ({_predicted(saved['problem_type'], saved['num_labels'])})"
    now = _predicted(model.config.problem_type, model.config.num_labels)
    size = sum(p.numel() for p in outside.values())
    return f"--new_head: kept from {before}: {', '.join(kept)}; new: the head ({size:,}), for {now}"


def _predicted(problem_type: Optional[str], count: int) -> str:
    """Return what a model of that type of problem predicts."""
    if problem_type == "regression":
        return "scores"
    return f"{count} labels" if problem_type == "multi_label_classification" else f"{count} classes"
