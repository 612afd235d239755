"""Counts the parameters that each method trains, in closed form, from a model's shapes without its weights."""

from transformers import PreTrainedModel

from ..backbone.parts import head_names
from ..config import AdapterConfig
from ..methods.registry import method_of
from .parameters import with_totals


def count_parameters(config: AdapterConfig, model: PreTrainedModel) -> dict[str, int]:
    """Return what :func:`parameters.count_trained` returns once ``model`` is adapted, if its checkpoint is complete.

    A parameter of the base that a checkpoint lacks (some have no pooler) is newly initialised and counts as head.

    Args:
        config: the method and its settings.
        model: any model of the right shapes, not adapted; ``backbone.parts.skeleton`` gives one without weights.

    Returns:
        The counts adapters, backbone, layer_norm, head, trained, frozen and model.

    Raises:
        UsageError: if the method's ``check`` refuses the model.
    """
    method = method_of(config)
    method.check(model)
    sizes = {name: p.numel() for name, p in model.named_parameters()}
    counts = {
        "adapters": method.added_count(model),
        "backbone": method.backbone_count(model),
        "layer_norm": sum(sizes[name] for name in method.layer_norm_names(model)),
        "head": sum(sizes[name] for name in head_names(model)),
    }
    return with_totals(counts, sum(sizes.values()))


def stored_bytes(config: AdapterConfig, counts: dict[str, int], bytes_per_number: int) -> int:
    """Return the size of a method's stored tensors in bytes, without names, metadata and model card."""
    positions = 4 * counts["backbone"] if method_of(config).stores_positions else 0
    return bytes_per_number * counts["trained"] + positions
