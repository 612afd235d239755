"""What each method trains: adapters, LayerNorms, head; everything else is frozen."""

from collections.abc import Iterable

from torch import nn
from transformers import PreTrainedModel

from .config import AdapterConfig
from .errors import UsageError
from .factorizations import check_rank
from .surgery import adapters_of, architecture_of, base_prefix, insert_adapters, layer_norm_names

GROUPS = ("adapters", "layer_norm", "head")


def check_model_config(config: AdapterConfig, model_config) -> None:
    """Refuse, from the model's configuration alone, what could not be built: before any weight is downloaded.

    Raises:
        UsageError: unsupported architecture, hidden size without a split, rank above what the format can use.
    """
    architecture_of(model_config.model_type)
    if config.method == "tensorized":
        bottleneck = config.adapter_size if config.if_adapter_like else None
        check_rank(config.adapter_projection_type, config.tensorized_layer_rank, model_config.hidden_size, bottleneck)


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
    if getattr(model, "adapter_config", None) is not None:
        raise UsageError(f"the model is adapted already ({model.adapter_config.describe()}); load a fresh one")
    prefix = base_prefix(model)
    new = set(newly_initialized)
    head = {name for name, _ in model.named_parameters() if not name.startswith(prefix) or name in new}
    layer_norm = set(layer_norm_names(model)) - head if config.trains_layer_norm else set()
    if config.method == "tensorized":
        insert_adapters(model, config)
    adapters = {f"{name}.{p}" for name, adapter in adapters_of(model) for p, _ in adapter.named_parameters()}
    for name, parameter in model.named_parameters():
        parameter.requires_grad = name in head or name in layer_norm or name in adapters
    model.adapter_config = config
    model.trained_groups = {"adapters": adapters, "layer_norm": layer_norm, "head": head}
    return model


def trained_parameters(model: PreTrainedModel) -> dict[str, nn.Parameter]:
    """Every trained parameter by its name, in the model's order."""
    names = set().union(*model.trained_groups.values())
    return {name: p for name, p in model.named_parameters() if name in names}


def parameter_groups(model: PreTrainedModel) -> dict[str, int]:
    """Counts: adapters, layer_norm, head, trained, frozen, and ``model``: the backbone with its head, no adapters.

    ``trained / model`` is the percentage that the paper's tables give (108.31 M for bert-base-cased).
    """
    sizes = {name: p.numel() for name, p in model.named_parameters()}
    counts = {group: sum(sizes[name] for name in model.trained_groups[group]) for group in GROUPS}
    trained, total = sum(counts.values()), sum(sizes.values())
    return counts | {"trained": trained, "frozen": total - trained, "model": total - counts["adapters"]}
