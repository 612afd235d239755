"""A model's layers, sites, LayerNorms, biases and attention mask.

They are found by the module names of the model's architecture (architectures.py). What needs none of these names, such
as all biases, is found in any architecture.
"""

import re
import sys
from collections.abc import Iterable, Mapping
from typing import Optional

import torch
from torch import Tensor, nn
from transformers import (
    MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING,
    AutoModelForSequenceClassification,
    PretrainedConfig,
    PreTrainedModel,
)
from transformers.initialization import no_init_weights
from transformers.pytorch_utils import Conv1D

from ..config import AdapterConfig
from ..errors import UsageError, quoted, reason_of
from .architectures import ARCHITECTURES, architecture_of

_TOKENS = ("embed_tokens.weight", "wte.weight", "wpe.weight")  # embeddings outside a module named "embeddings"


def skeleton(model_config: PretrainedConfig) -> PreTrainedModel:
    """Return the model of a configuration without its weights. It has names and shapes, and takes almost no time or
    memory. Raise UsageError if Transformers does not classify with it, or the configuration makes no model."""
    if (
        model_config.model_type not in ARCHITECTURES
        and type(model_config) not in MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING
    ):
        raise UsageError(
            f"--model_name_or_path is a {quoted(model_config.model_type)} model, with which Transformers does not "
            "classify sequences; choose another"
        )
    try:
        with torch.device("meta"), no_init_weights():
            return AutoModelForSequenceClassification.from_config(model_config)
    except Exception as error:  # any of a dozen types means that numbers do not match
        raise UsageError(f"--model_name_or_path: its configuration makes no model: {reason_of(error)}") from None


def holder_of(model_config: PretrainedConfig, name: str) -> PretrainedConfig:
    """Return the configuration that has a setting. A model for images and text may have it in the configuration of its
    text part, which is returned even if that lacks the setting too."""
    return model_config if hasattr(model_config, name) else model_config.get_text_config()


def base_prefix(model: PreTrainedModel) -> str:
    """Return ``"bert."`` for a BertForSequenceClassification; empty for a bare base model."""
    return "" if model.base_model is model else f"{model.base_model_prefix}."


def check_not_offloaded(model: PreTrainedModel) -> None:
    """Refuse a model with offloaded weights, whose parameters hold no values to read or to save; raise UsageError."""
    empty = [name for name, parameter in model.named_parameters() if parameter.is_meta]
    if empty:
        raise UsageError(
            f"device_map left {len(empty)} weights of the model offloaded, {empty[0]} first, and an adapter needs "
            "them in memory; load the model without device_map, or with one that offloads nothing to disk or CPU"
        )


def head_names(model: PreTrainedModel) -> set[str]:
    """Return the names of the parameters outside of the base model, for a model that is not adapted."""
    prefix = base_prefix(model)
    return {name for name, _ in model.named_parameters() if not name.startswith(prefix)}


def layer_names(model: PreTrainedModel) -> list[str]:
    """Return the names of the transformer's layers, relative to the base model, from the lowest up. A shared layer is
    listed once. Raise UsageError if the architecture is not supported, or the model has no such layer."""
    architecture = architecture_of(model.config.model_type)
    pattern = re.compile(re.escape(architecture.layers).replace(r"\*", r"\d+"))
    names = [name for name, _ in model.base_model.named_modules() if pattern.fullmatch(name)]
    if not names:
        raise UsageError(f"{type(model).__name__} has no layers {architecture.layers}, as its architecture names them")
    return names


def layer_of(name: str, layers: list[str]) -> Optional[int]:
    """Return the number (in :func:`layer_names`) of the layer of a module or parameter, or None outside of layers."""
    return next((i for i, layer in enumerate(layers) if f".{layer}." in f".{name}."), None)


def site_names(model: PreTrainedModel, config: AdapterConfig, inputs: bool = False) -> list[str]:
    """Return the names, relative to the base model, of the modules after which adapters go, from the first layer to
    the last. With ``inputs``, return for each of them a linear layer that has the same input as its sublayer.

    Raise UsageError if the architecture is not supported, or the model lacks a module that it names.
    """
    names = architecture_of(model.config.model_type)
    attention, ffn = (names.value, names.intermediate) if inputs else (names.attention, names.ffn)
    return [
        _existing(model, f"{layer}.{part}")
        for i, layer in enumerate(layer_names(model))
        if config.layers is None or i in config.layers
        for sublayer, part in (("attention", attention), ("ffn", ffn))
        if config.adapter_sites in ("both", sublayer)
    ]


def linear_names(model: PreTrainedModel, *parts: str) -> list[str]:
    """Return the names of linear layers, such as ``linear_names(model, "query", "value")``, with the base model's
    prefix. Raise UsageError as :func:`site_names`."""
    architecture, prefix = architecture_of(model.config.model_type), base_prefix(model)
    wanted = dict.fromkeys(getattr(architecture, part) for part in parts)  # without duplicates
    return [prefix + _existing(model, f"{layer}.{part}") for layer in layer_names(model) for part in wanted]


def ia3_names(model: PreTrainedModel, flag: str) -> tuple[list[str], list[str]]:
    """Return the names of the linear layers whose outputs (IA)3 rescales, and of those whose inputs it rescales. Raise
    UsageError, which names the ``flag``, if one layer computes the keys or values with others."""
    architecture = architecture_of(model.config.model_type)
    if architecture.key in (architecture.query, architecture.value):
        raise UsageError(
            f"{flag} rescales keys and values, which a {model.config.model_type} model computes in one layer with "
            "others; choose another method"
        )
    return linear_names(model, "key", "value"), linear_names(model, "output")


def is_layer_norm(model: PreTrainedModel, module: nn.Module) -> bool:
    """Return whether a module of the model, head included, is a LayerNorm in its architecture. RMSNorm counts as one.
    An unregistered architecture is judged by the name of the class; only the weight decay needs that."""
    class_name, architecture = type(module).__name__, ARCHITECTURES.get(model.config.model_type)
    if architecture is None:
        return class_name.endswith(("LayerNorm", "RMSNorm"))
    return class_name in architecture.layer_norm


def layer_norm_names(model: PreTrainedModel, layers: Optional[Iterable[int]] = None) -> list[str]:
    """Return the names of the parameters of all LayerNorms of the base model, or of those in some of its layers. Raise
    UsageError if there are none, since the method would train less than it says."""
    prefix, every_layer = base_prefix(model), layer_names(model)
    names = [
        f"{prefix}{module_name}.{name}"
        for module_name, module in model.base_model.named_modules()
        if is_layer_norm(model, module) and (layers is None or layer_of(module_name, every_layer) in layers)
        for name, _ in module.named_parameters(recurse=False)
    ]
    if not names:
        raise UsageError(f"no LayerNorm found in {type(model).__name__}")
    return names


def bias_names(model: PreTrainedModel, terms: str) -> list[str]:
    """Return the names of the base model's biases: "all", or those of queries and first FFN layers
    ("query_and_intermediate"). Raise UsageError if there are none, or the architecture is not supported."""
    prefix = base_prefix(model)
    names = [name for name, _ in model.base_model.named_parameters() if name.endswith("bias")]
    if terms != "all":
        modules = architecture_of(model.config.model_type)
        ends = (f".{modules.query_bias or modules.query + '.bias'}", f".{modules.intermediate}.bias")
        names = [name for name in names if name.endswith(ends)]
    if not names:
        raise UsageError(f"--method bitfit: {type(model).__name__} has no such biases to train")
    return [f"{prefix}{name}" for name in names]


def usable_positions(model_config: PretrainedConfig) -> int:
    """Return how many tokens the position embeddings have room for, or ``sys.maxsize`` without a limit."""
    holder = holder_of(model_config, "max_position_embeddings")
    limit = getattr(holder, "max_position_embeddings", None) or sys.maxsize
    if limit < 0:  # some configurations mean no limit by this
        return sys.maxsize
    if architecture := ARCHITECTURES.get(model_config.model_type):
        after_padding = architecture.positions_after_padding
    else:
        modules = skeleton(model_config).named_modules()
        after_padding = any("position" in n and getattr(m, "padding_idx", None) is not None for n, m in modules)
    return limit - (holder_of(model_config, "pad_token_id").pad_token_id + 1 if after_padding else 0)


def is_encoder_parameter(model: PreTrainedModel, name: str) -> bool:
    """Return whether a parameter belongs to embeddings or layers, which every checkpoint of the base must have."""
    if model.config.model_type in ARCHITECTURES:
        return layer_of(name, layer_names(model)) is not None or ".embeddings." in name or name.endswith(_TOKENS)
    # In an unregistered architecture every numbered module of the base model counts as a layer.
    return name.startswith(base_prefix(model)) and ("embed" in name or re.search(r"\.\d+\.", name) is not None)


def _existing(model: PreTrainedModel, name: str) -> str:
    try:
        model.base_model.get_submodule(name)
    except AttributeError:
        raise UsageError(f"{type(model).__name__} has no module {name}, where its architecture has one") from None
    return name


def target_names(model: PreTrainedModel, config: AdapterConfig) -> list[str]:
    """Return the names of the linear layers, with the base model's prefix, that end in the given names, else of
    queries and values. Raise UsageError for a name that no linear layer ends in."""
    names = [name.strip() for name in (config.lora_targets or "").split(",") if name.strip()]
    if not names:
        return linear_names(model, "query", "value")
    prefix = base_prefix(model)
    linear = [n for n, part in model.named_modules() if isinstance(part, (nn.Linear, Conv1D)) and n.startswith(prefix)]
    for name in names:
        if not any(f".{layer}".endswith(f".{name}") for layer in linear):
            known = sorted({".".join(layer.split(".")[-2:]) for layer in linear})
            raise UsageError(f"--lora_targets {name}: no linear layer is called so; known: {', '.join(known)}")
    return [layer for layer in linear if f".{layer}".endswith(tuple(f".{name}" for name in names))]


def sizes_of(layer: nn.Linear | Conv1D) -> tuple[int, int]:
    """Return (in, out) of a linear layer. GPT-2's Conv1D counts as one; its weight is stored as in x out."""
    return (layer.nx, layer.nf) if isinstance(layer, Conv1D) else (layer.in_features, layer.out_features)


def with_ready_mask(model: PreTrainedModel, batch: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """Return the batch with its padding mask (examples, keys) as a bool attention mask (examples, 1, queries, keys).

    Transformers would make the same mask, but calls mask.all(), which waits for the GPU in every step. Models whose
    attention hides more than padding keep the batch's own mask: decoders, and encoders with ``is_decoder=True`` in
    their config. So do models whose attention is not PyTorch's ``scaled_dot_product_attention``.
    """
    config, mask = model.config, batch.get("attention_mask")
    architecture = ARCHITECTURES.get(config.model_type)
    if architecture is None or not architecture.masks_padding_alone or config._attn_implementation != "sdpa":
        return batch
    if getattr(config, "is_decoder", False) or mask is None or mask.dim() != 2:
        return batch
    return {**batch, "attention_mask": mask.bool()[:, None, None, :].expand(-1, -1, mask.shape[1], -1)}
