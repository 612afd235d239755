"""What each method trains: adapters, parts of the backbone, LayerNorms, head; everything else is frozen."""

from collections.abc import Callable, Iterable

from torch import nn
from transformers import PreTrainedModel

from ..adapters.compacter import check_phm_dim
from ..adapters.insertion import adapters_of, insert_adapters, take_out_adapters
from ..architectures import architecture_of, bias_names, check_layers, layer_norm_names, skeleton
from ..config import AdapterConfig
from ..errors import UsageError
from ..tensors.shapes import check_rank
from .backbone import added_parameters, backbone_parameters, pretrained_parameters
from .diff_pruning import insert_difference, take_out_difference
from .fingerprint import base_fingerprint
from .lora import check_lora, insert_lora, take_out_lora

# adapters: parameters that the method adds. backbone: pre-trained ones that it trains in place, or their difference.
GROUPS = ("adapters", "backbone", "layer_norm", "head")

_INSERT: dict[str, Callable[[PreTrainedModel, AdapterConfig, set[str]], None]] = {
    "tensorized": lambda model, config, head: insert_adapters(model, config),
    "dense": lambda model, config, head: insert_adapters(model, config),
    "compacter": lambda model, config, head: insert_adapters(model, config),
    "lora": insert_lora,
    "diff_pruning": insert_difference,
}


def check_model_config(config: AdapterConfig, model_config) -> None:
    """Refuse, from the model's configuration alone, what could not be built: before any weight is downloaded.

    Raises:
        UsageError: unsupported architecture, hidden size without a split, rank above what the format can use, a
            ``--phm_dim`` that does not divide, a ``--lora_targets`` that names nothing.
    """
    architecture_of(model_config.model_type)
    check_layers(config, model_config)
    if config.method == "tensorized":
        kind, rank = config.adapter_projection_type, config.tensorized_layer_rank
        check_rank(kind, rank, model_config.hidden_size, config.bottleneck)
    elif config.method == "compacter":
        check_phm_dim(config.phm_dim, model_config.hidden_size, config.adapter_size)
    elif config.method == "lora":
        check_lora(config, skeleton(model_config))


def add_adapters(
    model: PreTrainedModel, config: AdapterConfig, newly_initialized: Iterable[str] = ()
) -> PreTrainedModel:
    """Freeze ``model``, insert what ``config`` describes and mark as trainable what the method trains. In place.

    Trained is also everything outside the base model (the head) and ``newly_initialized``: parameters of the base that
    ``from_pretrained`` did not find in the checkpoint (for some models the pooler) and no saved base could give back.

    Args:
        model: a model for sequence classification of a supported architecture, not adapted yet.
        config: the method and its settings.
        newly_initialized: parameter names, as in ``output_loading_info["missing_keys"]``.

    Returns:
        The same model.

    Raises:
        UsageError: if the model is adapted already or :func:`check_model_config` refuses it.
    """
    check_model_config(config, model.config)
    adapted = getattr(model, "adapter_config", None) is not None or hasattr(model, "peft_config")
    if adapted or any(True for _ in adapters_of(model)):
        raise UsageError("the model is adapted already; remove_adapters(model) first, or load a fresh one")
    plain, backbone = pretrained_parameters(model), set(backbone_parameters(model))
    head = (set(plain) - backbone) | (set(newly_initialized) & backbone)
    in_place = {
        "backbone": _trained_in_place(model, config) - head,
        "layer_norm": (set(layer_norm_names(model, config.layers)) if config.trains_layer_norm else set()) - head,
        "head": head,
    }
    # Full fine-tuning leaves nothing frozen by which the base could be told later.
    model.pretrained_fingerprint = base_fingerprint(model, head) if config.method == "full" else None
    if config.method in _INSERT:
        _INSERT[config.method](model, config, head)
    trained = set().union(*in_place.values())
    for name, parameter in plain.items():
        parameter.requires_grad = name in trained
    for parameter in added_parameters(model).values():
        parameter.requires_grad = True
    model.adapter_config, model.trained_in_place = config, in_place
    return model


def remove_adapters(model: PreTrainedModel) -> None:
    """Take out what a method added. What it trained in place (LayerNorms, biases, head) keeps its values."""
    take_out_adapters(model)
    take_out_lora(model)
    take_out_difference(model)
    model.adapter_config = model.trained_in_place = model.pretrained_fingerprint = None


def trained_groups(model: PreTrainedModel) -> dict[str, dict[str, nn.Parameter]]:
    """Every trained parameter by its group and its name, in the model's order."""
    plain = pretrained_parameters(model)
    groups = {
        group: {name: p for name, p in plain.items() if name in names}
        for group, names in model.trained_in_place.items()
    }
    added = "backbone" if model.adapter_config.method == "diff_pruning" else "adapters"
    groups[added] = added_parameters(model)
    return {group: groups.get(group, {}) for group in GROUPS}


def trained_parameters(model: PreTrainedModel) -> dict[str, nn.Parameter]:
    """Every trained parameter by its name, in the model's order."""
    trained = {name: p for group in trained_groups(model).values() for name, p in group.items()}
    return {name: p for name, p in model.named_parameters() if name in trained}


def parameter_groups(model: PreTrainedModel) -> dict[str, int]:
    """Counts: adapters, backbone, layer_norm, head, trained, frozen, and ``model``: the backbone with its head.

    ``trained / model`` is the percentage that the paper's tables give (108.31 M for bert-base-cased). Diff pruning
    counts its budget, which is what it ends with.
    """
    counts = {group: sum(p.numel() for p in ps.values()) for group, ps in trained_groups(model).items()}
    if model.adapter_config.method == "diff_pruning":
        counts["backbone"] = model.difference.budget
    total = sum(p.numel() for p in pretrained_parameters(model).values())
    return with_totals(counts, total)


def with_totals(counts: dict[str, int], model: int) -> dict[str, int]:
    """The groups' counts with their sum, what stays as it was pre-trained, and the size of the model."""
    trained = sum(counts.values())
    return counts | {"trained": trained, "frozen": model - (trained - counts["adapters"]), "model": model}


def _trained_in_place(model: PreTrainedModel, config: AdapterConfig) -> set[str]:
    if config.method == "bitfit":
        return set(bias_names(model, config.bitfit_terms))
    return set(backbone_parameters(model)) if config.method == "full" else set()
