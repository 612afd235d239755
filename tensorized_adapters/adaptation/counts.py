"""How many parameters each method trains, in closed form: from a model's shapes, without weights and without building.

What a method adds is a formula of its settings and the model's sizes; what it trains in place is summed over shapes.
"""

from transformers import PreTrainedModel

from ..backbone.parts import base_prefix
from ..config import AdapterConfig
from ..methods.registry import method_of
from .parameters import with_totals


def count_parameters(config: AdapterConfig, model: PreTrainedModel) -> dict[str, int]:
    """What :func:`parameters.count_trained` will say of ``model`` once it is adapted, if its checkpoint is whole.

    What a checkpoint lacks of the base (some have no pooler) is drawn anew and counts as head.

    Args:
        config: the method and its settings.
        model: any model of the right shapes, not adapted; ``architectures.skeleton`` gives one without weights.

    Returns:
        adapters, backbone, layer_norm, head, trained, frozen, model.

    Raises:
        UsageError: what the method's ``check`` refuses.
    """
    method = method_of(config)
    method.check(model)
    sizes = {name: p.numel() for name, p in model.named_parameters()}
    base = sum(size for name, size in sizes.items() if name.startswith(base_prefix(model)))
    counts = {
        "adapters": method.added_count(model),
        "backbone": method.backbone_count(model),
        "layer_norm": sum(sizes[name] for name in method.layer_norm_names(model)),
        "head": sum(sizes.values()) - base,
    }
    return with_totals(counts, sum(sizes.values()))


def stored_bytes(config: AdapterConfig, counts: dict[str, int], bytes_per_number: int) -> int:
    """Size of what a method stores, in bytes: its tensors alone, without names, metadata and model card.

    A sparse difference also stores a four-byte position of each changed number.
    """
    positions = 4 * counts["backbone"] if method_of(config).stores_positions else 0
    return bytes_per_number * counts["trained"] + positions
