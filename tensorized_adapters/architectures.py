"""What each supported transformer calls its parts: one row an architecture, and the names that follow from it."""

import re
from dataclasses import dataclass
from typing import Optional

import torch
from transformers import AutoModelForSequenceClassification, PretrainedConfig, PreTrainedModel

from .config import AdapterConfig
from .errors import UsageError


@dataclass(frozen=True)
class Architecture:
    """Module-name patterns, relative to the base model, of what the method touches.

    Each site is the dropout that stands between ``dense`` and the residual sum; it is replaced by (dropout, adapter),
    which is the paper's position without a copied forward, and leaves the backbone's parameter names alone.
    """

    attention: str = r"encoder\.layer\.\d+\.attention\.output\.dropout"
    ffn: str = r"encoder\.layer\.\d+\.output\.dropout"
    layer_norm: tuple[str, ...] = ("LayerNorm",)  # class names
    query_and_intermediate_bias: str = r".*\.attention\.self\.query\.bias|.*\.intermediate\.dense\.bias"
    query_and_value: tuple[str, ...] = ("query", "value")  # linear layers, by the ends of their names


BERT = Architecture()
ARCHITECTURES: dict[str, Architecture] = {
    "bert": BERT,
    "roberta": BERT,
    "xlm-roberta": BERT,
    "camembert": BERT,
    "electra": BERT,
    "ernie": BERT,
    "deberta": Architecture(  # queries, keys and values in one layer, whose biases stand beside it
        layer_norm=("LayerNorm", "DebertaLayerNorm"),
        query_and_intermediate_bias=r".*\.attention\.self\.q_bias|.*\.intermediate\.dense\.bias",
        query_and_value=("in_proj",),
    ),
    "deberta-v2": Architecture(
        query_and_intermediate_bias=r".*\.attention\.self\.query_proj\.bias|.*\.intermediate\.dense\.bias",
        query_and_value=("query_proj", "value_proj"),
    ),
}


def architecture_of(model_type: str) -> Architecture:
    """The table's row for a ``config.model_type``.

    Raises:
        UsageError: for an architecture outside the table, with the list of what is supported.
    """
    if model_type not in ARCHITECTURES:
        raise UsageError(
            f"--model_name_or_path is a {model_type!r} model, which is not supported; supported architectures: "
            f"{', '.join(sorted(ARCHITECTURES))} (DeBERTa-v3 is deberta-v2)"
        )
    return ARCHITECTURES[model_type]


def check_layers(config: AdapterConfig, model_config: PretrainedConfig) -> None:
    """Refuse ``--adapter_layers`` that the model does not have; raises UsageError."""
    if config.layers is not None and config.layers[-1] >= model_config.num_hidden_layers:
        raise UsageError(
            f"--adapter_layers {config.adapter_layers} is beyond the model's last layer, "
            f"{model_config.num_hidden_layers - 1}"
        )


def site_names(model: PreTrainedModel, config: AdapterConfig) -> list[str]:
    """Names, relative to the base model, of the modules after which adapters go.

    Raises:
        UsageError: for an unsupported architecture, or one whose modules the table does not find.
    """
    architecture, sites = architecture_of(model.config.model_type), config.adapter_sites
    patterns = [getattr(architecture, site) for site in (("attention", "ffn") if sites == "both" else (sites,))]
    names = [
        name
        for name, _ in model.base_model.named_modules()
        if any(re.fullmatch(pattern, name) for pattern in patterns)
    ]
    if len(names) != len(patterns) * model.config.num_hidden_layers:
        raise UsageError(
            f"{type(model).__name__} has {len(names)} adapter sites where {len(patterns)} in each of its "
            f"{model.config.num_hidden_layers} layers were expected"
        )
    return [name for name in names if config.layers is None or layer_of(name) in config.layers]


def layer_norm_names(model: PreTrainedModel, layers: Optional[tuple[int, ...]] = None) -> list[str]:
    """Names of the parameters of all LayerNorms of the base model, or of those in some of its layers.

    Raises:
        UsageError: if there are none, which would silently train less than the method says.
    """
    classes = architecture_of(model.config.model_type).layer_norm
    prefix = base_prefix(model)
    names = [
        f"{prefix}{module_name}.{name}"
        for module_name, module in model.base_model.named_modules()
        if type(module).__name__ in classes
        for name, _ in module.named_parameters(recurse=False)
    ]
    if not names:
        raise UsageError(f"no LayerNorm found in {type(model).__name__}")
    return [name for name in names if layers is None or layer_of(name) in layers]


def skeleton(model_config: PretrainedConfig) -> PreTrainedModel:
    """The model of a configuration without its weights: names and shapes alone, in no time and memory.

    Raises:
        UsageError: for an unsupported architecture, or a configuration that makes no model.
    """
    architecture_of(model_config.model_type)
    try:
        with torch.device("meta"):
            return AutoModelForSequenceClassification.from_config(model_config)
    except (ValueError, TypeError, KeyError, RuntimeError, ZeroDivisionError) as error:
        raise UsageError(f"--model_name_or_path: its configuration makes no model: {error}") from None


def base_prefix(model: PreTrainedModel) -> str:
    """``"bert."`` for a BertForSequenceClassification; empty for a bare base model."""
    return "" if model.base_model is model else f"{model.base_model_prefix}."


def bias_names(model: PreTrainedModel, terms: str) -> list[str]:
    """Names of the base model's biases: "all", or those of queries and first FFN layers ("query_and_intermediate")."""
    architecture, prefix = architecture_of(model.config.model_type), base_prefix(model)
    pattern = r".*bias" if terms == "all" else architecture.query_and_intermediate_bias
    return [f"{prefix}{name}" for name, _ in model.base_model.named_parameters() if re.fullmatch(pattern, name)]


def layer_of(name: str) -> Optional[int]:
    """The index of the encoder layer that a module or parameter belongs to; None outside of the layers."""
    match = re.match(r"(?:.*\.)?encoder\.layer\.(\d+)\.", f"{name}.")
    return int(match[1]) if match else None
