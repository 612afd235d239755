"""How many parameters each method trains, in closed form: from a model's shapes, without weights and without building.

What a method adds is a formula of its settings and the model's sizes; what it trains in place is summed over shapes.
"""

from dataclasses import replace

from transformers import PretrainedConfig, PreTrainedModel

from ..adapters.compacter import CompacterAdapter
from ..adapters.dense import DenseAdapter
from ..architectures import base_prefix, bias_names, layer_norm_names, site_names, skeleton
from ..config import AdapterConfig
from ..errors import UsageError
from ..tensors.formats import FORMATS
from ..tensors.shapes import largest_rank, weight_shapes
from .adapting import check_model_config, with_totals
from .diff_pruning import budget_of
from .lora import lora_layers, parameter_count


def count_parameters(config: AdapterConfig, model: PreTrainedModel) -> dict[str, int]:
    """What :func:`methods.parameter_groups` will say of ``model`` once it is adapted, if its checkpoint is whole.

    What a checkpoint lacks of the base (some have no pooler) is drawn anew and counts as head.

    Args:
        config: the method and its settings.
        model: any model of the right shapes, not adapted; ``architectures.skeleton`` gives one without weights.

    Returns:
        adapters, backbone, layer_norm, head, trained, frozen, model.

    Raises:
        UsageError: what :func:`methods.check_model_config` refuses.
    """
    check_model_config(config, model.config)
    sizes = {name: p.numel() for name, p in model.named_parameters()}
    base = [name for name in sizes if name.startswith(base_prefix(model))]
    backbone = 0
    if config.method == "bitfit":
        backbone = sum(sizes[name] for name in bias_names(model, config.bitfit_terms))
    elif config.method == "diff_pruning":
        backbone = budget_of(config, sum(sizes[name] for name in base))
    elif config.method == "full":
        backbone = sum(sizes[name] for name in base)
    counts = {
        "adapters": added_count(config, model),
        "backbone": backbone,
        "layer_norm": sum(sizes[name] for name in layer_norm_names(model, config.layers))
        if config.trains_layer_norm
        else 0,
        "head": sum(sizes.values()) - sum(sizes[name] for name in base),
    }
    return with_totals(counts, sum(sizes.values()))


def added_count(config: AdapterConfig, model: PreTrainedModel) -> int:
    """The parameters that the method adds to the model: its adapters, or LoRA's matrices."""
    hidden = model.config.hidden_size
    if config.method == "lora":
        return parameter_count(lora_layers(model, config), config.lora_r)
    if config.method not in ("tensorized", "dense", "compacter"):
        return 0
    sites = len(site_names(model, config))
    if config.method == "dense":
        return sites * DenseAdapter.parameter_count(hidden, config.adapter_size)
    if config.method == "compacter":
        return config.phm_dim**3 + sites * CompacterAdapter.parameter_count(hidden, config.adapter_size)
    return sites * tensorized_count(config, hidden, config.tensorized_layer_rank)


def tensorized_count(config: AdapterConfig, hidden_size: int, rank: int) -> int:
    """The parameters of one tensorized adapter at a rank."""
    kind = config.adapter_projection_type
    shapes = weight_shapes(kind, hidden_size, config.bottleneck)
    return sum(FORMATS[kind].parameter_count(shape, rank) for shape, _ in shapes)


def stored_bytes(config: AdapterConfig, counts: dict[str, int], bytes_per_number: int) -> int:
    """Size of what a method stores, in bytes: its tensors alone, without names, metadata and model card.

    Diff pruning also stores a four-byte position of each changed number.
    """
    positions = 4 * counts["backbone"] if config.method == "diff_pruning" else 0
    return bytes_per_number * counts["trained"] + positions


def rank_within(config: AdapterConfig, model_config: PretrainedConfig, target: int) -> tuple[int, str]:
    """The largest rank whose adapters have at most ``target`` parameters, and a line about it and its neighbours.

    Raises:
        UsageError: if rank 1 has more.
    """
    model, hidden = skeleton(model_config), model_config.hidden_size
    check_model_config(replace(config, tensorized_layer_rank=1), model_config)
    sites, kind = len(site_names(model, config)), config.adapter_projection_type
    largest = largest_rank(kind, hidden, config.bottleneck)
    costs = {rank: sites * tensorized_count(config, hidden, rank) for rank in range(1, largest + 1)}
    within = [rank for rank, cost in costs.items() if cost <= target]
    if not within:
        raise UsageError(f"--target_params {target} is too few: {kind} at rank 1 has {costs[1]:,} adapter parameters")
    rank = max(within)
    neighbours = [f"rank {near} would have {costs[near]:,}" for near in (rank - 1, rank + 1) if near in costs]
    if rank == largest:
        neighbours.append("no larger rank is of use")
    if rank == 1:
        neighbours.insert(0, "there is no smaller one")
    return rank, f"--target_params {target}: {kind} at rank {rank} has {costs[rank]:,} ({'; '.join(neighbours)})"
