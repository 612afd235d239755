"""What each supported transformer calls its parts: one complete row an architecture, and the names that follow.

A new architecture is a row here and its ``config.model_type`` in ARCHITECTURES; nothing else names a module.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Optional

import torch
from torch import nn
from transformers import AutoModelForSequenceClassification, PretrainedConfig, PreTrainedModel

from .config import AdapterConfig
from .errors import UsageError


@dataclass(frozen=True)
class Architecture:
    """Module names, those of a layer's parts relative to it; a ``*`` stands for the number of a layer.

    A site is the module whose output an adapter takes and replaces: the dropout between a sublayer's last linear layer
    and the residual sum, which is the paper's position, or that linear layer where no dropout follows it.
    """

    layers: str = "encoder.layer.*"  # relative to the base model
    attention: str = "attention.output.dropout"  # site
    ffn: str = "output.dropout"  # site
    layer_norm: tuple[str, ...] = ("LayerNorm",)  # class names
    query: str = "attention.self.query"  # linear layers; a layer that computes several of them stands for each
    key: str = "attention.self.key"
    value: str = "attention.self.value"
    intermediate: str = "intermediate.dense"  # of the feed-forward network, the first and
    output: str = "output.dense"  # the last
    query_bias: Optional[str] = None  # where it is not the bias of ``query``
    positions_after_padding: bool = False  # position ids start after pad_token_id, so that many are never used
    returns_tuple: bool = False  # a layer returns (hidden states, ...) rather than hidden states


BERT = Architecture()
ROBERTA = Architecture(positions_after_padding=True)
ARCHITECTURES: dict[str, Architecture] = {
    "bert": BERT,
    "roberta": ROBERTA,
    "xlm-roberta": ROBERTA,
    "camembert": ROBERTA,
    "electra": BERT,
    "ernie": BERT,
    "deberta": Architecture(  # queries, keys and values in one layer, whose biases stand beside it
        layer_norm=("LayerNorm", "DebertaLayerNorm"),
        query="attention.self.in_proj",
        key="attention.self.in_proj",
        value="attention.self.in_proj",
        query_bias="attention.self.q_bias",
        returns_tuple=True,
    ),
    "deberta-v2": Architecture(
        query="attention.self.query_proj",
        key="attention.self.key_proj",
        value="attention.self.value_proj",
        returns_tuple=True,
    ),
    "distilbert": Architecture(
        layers="transformer.layer.*",
        attention="attention.out_lin",
        ffn="ffn.dropout",
        query="attention.q_lin",
        key="attention.k_lin",
        value="attention.v_lin",
        intermediate="ffn.lin1",
        output="ffn.lin2",
    ),
    "albert": Architecture(  # all layers of a group are one and the same, and so are their adapters
        layers="encoder.albert_layer_groups.*.albert_layers.*",
        attention="attention.output_dropout",
        ffn="ffn_output",
        query="attention.query",
        key="attention.key",
        value="attention.value",
        intermediate="ffn",
        output="ffn_output",
    ),
    "mpnet": Architecture(
        attention="attention.dropout",
        query="attention.attn.q",
        key="attention.attn.k",
        value="attention.attn.v",
        positions_after_padding=True,
        returns_tuple=True,
    ),
    "modernbert": Architecture(
        layers="layers.*",
        attention="attn.out_drop",
        ffn="mlp.Wo",
        query="attn.Wqkv",
        key="attn.Wqkv",
        value="attn.Wqkv",
        intermediate="mlp.Wi",
        output="mlp.Wo",
    ),
}


def architecture_of(model_type: str) -> Architecture:
    """The row of a ``config.model_type``.

    Raises:
        UsageError: for an architecture outside the table, with the list of what is supported.
    """
    if model_type not in ARCHITECTURES:
        raise UsageError(
            f"--model_name_or_path is a {model_type!r} model, which is not supported; supported architectures: "
            f"{', '.join(sorted(ARCHITECTURES))} (DeBERTa-v3 is deberta-v2)"
        )
    return ARCHITECTURES[model_type]


def skeleton(model_config: PretrainedConfig) -> PreTrainedModel:
    """The model of a configuration without its weights: names and shapes alone, in no time and memory.

    Raises:
        UsageError: for an unsupported architecture, or a configuration that makes no model.
    """
    architecture_of(model_config.model_type)
    try:
        with torch.device("meta"):
            return AutoModelForSequenceClassification.from_config(model_config)
    except Exception as error:  # of a dozen types; each means numbers that do not go together
        raise UsageError(f"--model_name_or_path: its configuration makes no model: {error}") from None


def base_prefix(model: PreTrainedModel) -> str:
    """``"bert."`` for a BertForSequenceClassification; empty for a bare base model."""
    return "" if model.base_model is model else f"{model.base_model_prefix}."


def layer_names(model: PreTrainedModel) -> list[str]:
    """Names of the transformer's layers, relative to the base model, from the lowest up; a shared one stands once.

    Raises:
        UsageError: for an unsupported architecture, or one in which the row finds no layer.
    """
    row = architecture_of(model.config.model_type)
    pattern = re.compile(re.escape(row.layers).replace(r"\*", r"\d+"))
    names = [name for name, _ in model.base_model.named_modules() if pattern.fullmatch(name)]
    if not names:
        raise UsageError(f"{type(model).__name__} has no layers {row.layers}, where its architecture has them")
    return names


def layer_of(name: str, layers: list[str]) -> Optional[int]:
    """The number of the layer (of :func:`layer_names`) that a module or parameter is in; None outside of them all."""
    return next((i for i, layer in enumerate(layers) if f".{name}.".find(f".{layer}.") >= 0), None)


def check_layers(config: AdapterConfig, model: PreTrainedModel) -> None:
    """Refuse ``--adapter_layers`` that the model does not have; raises UsageError."""
    last = len(layer_names(model)) - 1
    if config.layers is not None and config.layers[-1] > last:
        raise UsageError(f"--adapter_layers {config.adapter_layers} is beyond the model's last layer, {last}")


def site_names(model: PreTrainedModel, config: AdapterConfig) -> list[str]:
    """Names, relative to the base model, of the modules after which adapters go, from the first layer to the last.

    Raises:
        UsageError: for an unsupported architecture, or one whose modules the row does not name.
    """
    row = architecture_of(model.config.model_type)
    return _in_chosen_layers(model, config, {"attention": row.attention, "ffn": row.ffn})


def site_inputs(model: PreTrainedModel, config: AdapterConfig) -> list[str]:
    """For each of :func:`site_names`, a linear layer that takes what its sublayer takes, and nothing else."""
    row = architecture_of(model.config.model_type)
    return _in_chosen_layers(model, config, {"attention": row.value, "ffn": row.intermediate})


def _in_chosen_layers(model: PreTrainedModel, config: AdapterConfig, of_sublayer: dict[str, str]) -> list[str]:
    return [
        _existing(model, f"{layer}.{part}")
        for i, layer in enumerate(layer_names(model))
        if config.layers is None or i in config.layers
        for sublayer, part in of_sublayer.items()
        if config.adapter_sites in ("both", sublayer)
    ]


def linear_names(model: PreTrainedModel, *parts: str) -> list[str]:
    """Names of linear layers, such as ``linear_names(model, "query", "value")``, with the base model's prefix.

    Raises:
        UsageError: as :func:`site_names`.
    """
    row, prefix = architecture_of(model.config.model_type), base_prefix(model)
    wanted = dict.fromkeys(getattr(row, part) for part in parts)  # without twins
    return [prefix + _existing(model, f"{layer}.{part}") for layer in layer_names(model) for part in wanted]


def is_layer_norm(model: PreTrainedModel, module: nn.Module) -> bool:
    """Whether a module of the model, head included, is a LayerNorm by its architecture's rule."""
    return type(module).__name__ in architecture_of(model.config.model_type).layer_norm


def layer_norm_names(model: PreTrainedModel, layers: Optional[Iterable[int]] = None) -> list[str]:
    """Names of the parameters of all LayerNorms of the base model, or of those in some of its layers.

    Raises:
        UsageError: if there are none, which would silently train less than the method says.
    """
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
    """Names of the base model's biases: "all", or those of queries and first FFN layers ("query_and_intermediate").

    Raises:
        UsageError: if there are none.
    """
    row, prefix = architecture_of(model.config.model_type), base_prefix(model)
    names = [name for name, _ in model.base_model.named_parameters() if name.endswith("bias")]
    if terms != "all":
        ends = tuple(f".{name}" for name in (row.query_bias or f"{row.query}.bias", f"{row.intermediate}.bias"))
        names = [name for name in names if name.endswith(ends)]
    if not names:
        raise UsageError(f"--method bitfit: {type(model).__name__} has no such biases to train")
    return [f"{prefix}{name}" for name in names]


def usable_positions(model_config: PretrainedConfig) -> int:
    """How many tokens the position embeddings have room for."""
    unused = model_config.pad_token_id + 1 if architecture_of(model_config.model_type).positions_after_padding else 0
    return model_config.max_position_embeddings - unused


def _existing(model: PreTrainedModel, name: str) -> str:
    try:
        module = model.base_model.get_submodule(name)
    except AttributeError:
        module = None
    if not isinstance(module, nn.Module):
        raise UsageError(f"{type(model).__name__} has no module {name}, where its architecture has one")
    return name
