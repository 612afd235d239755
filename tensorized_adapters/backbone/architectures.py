"""The module names of each supported architecture, one complete entry for each.

A new architecture is an entry here under its ``config.model_type`` in ARCHITECTURES, or from Python an argument of
:func:`register_architecture`. No other code names a module.
"""

from dataclasses import dataclass, field, replace
from typing import Optional

from ..errors import UsageError, quoted

ARCHITECTURE_FREE_METHODS = ("head", "full", "bitfit", "diff_pruning")


@dataclass(frozen=True)
class Architecture:
    """Module names. Those of a layer's parts are relative to the layer. A ``*`` stands for the number of a layer.

    A site is the module whose output an adapter takes and replaces. It is the dropout between a sublayer's last linear
    layer and the residual sum, as in the paper, or that linear layer if no dropout follows it.
    """

    layers: str = "encoder.layer.*"  # relative to the base model
    attention: str = "attention.output.dropout"  # site
    ffn: str = "output.dropout"  # site
    layer_norm: tuple[str, ...] = ("LayerNorm",)  # class names
    query: str = "attention.self.query"  # linear layers; one layer may compute several of these
    key: str = "attention.self.key"
    value: str = "attention.self.value"
    intermediate: str = "intermediate.dense"  # first linear layer of the feed-forward network
    output: str = "output.dense"  # last linear layer of the feed-forward network
    query_bias: Optional[str] = None  # if it is not the bias of ``query``
    positions_after_padding: bool = False  # position ids start after pad_token_id
    returns_tuple: bool = False  # a layer returns (hidden states, ...) rather than hidden states
    pools_last_token: bool = False  # a decoder, whose head reads the last token that is not padding
    # Attention hides padding alone, no later tokens. Only the speed depends on this.
    masks_padding_alone: bool = field(default=False, compare=False)


_QKV = ("query", "key", "value")  # of an architecture that computes them in one layer
BERT = Architecture(masks_padding_alone=True)
ROBERTA = replace(BERT, positions_after_padding=True)
LLAMA = Architecture(
    layers="layers.*",
    attention="self_attn.o_proj",
    ffn="mlp.down_proj",
    layer_norm=("LlamaRMSNorm",),
    query="self_attn.q_proj",
    key="self_attn.k_proj",
    value="self_attn.v_proj",
    intermediate="mlp.up_proj",
    output="mlp.down_proj",
    pools_last_token=True,
)
ARCHITECTURES: dict[str, Architecture] = {
    "bert": BERT,
    "roberta": ROBERTA,
    "xlm-roberta": ROBERTA,
    "camembert": ROBERTA,
    "electra": BERT,
    "ernie": BERT,
    "deberta": Architecture(  # one layer for queries, keys and values, with separate biases
        layer_norm=("LayerNorm", "DebertaLayerNorm"),
        **dict.fromkeys(_QKV, "attention.self.in_proj"),
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
        masks_padding_alone=True,
    ),
    "albert": Architecture(  # all layers of a group share parameters and adapters
        layers="encoder.albert_layer_groups.*.albert_layers.*",
        attention="attention.output_dropout",
        ffn="ffn_output",
        query="attention.query",
        key="attention.key",
        value="attention.value",
        intermediate="ffn",
        output="ffn_output",
        masks_padding_alone=True,
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
        **dict.fromkeys(_QKV, "attn.Wqkv"),
        intermediate="mlp.Wi",
        output="mlp.Wo",
    ),
    "gpt2": Architecture(
        layers="h.*",
        attention="attn.resid_dropout",
        ffn="mlp.dropout",
        **dict.fromkeys(_QKV, "attn.c_attn"),
        intermediate="mlp.c_fc",
        output="mlp.c_proj",
        pools_last_token=True,
    ),
    "llama": LLAMA,
    "qwen2": replace(LLAMA, layer_norm=("Qwen2RMSNorm",)),
    "qwen3": replace(LLAMA, layer_norm=("Qwen3RMSNorm",)),  # also in attention, for queries and keys
}


def register_architecture(model_type: str, architecture: Architecture) -> None:
    """Let every method work on models of a ``config.model_type``; afterwards it is like any other in ARCHITECTURES.

    The names are looked up in the model when they are needed, so a wrong name is refused then.

    Raises:
        UsageError: if the architecture is registered already, with other module names.
    """
    if ARCHITECTURES.setdefault(model_type, architecture) != architecture:
        raise UsageError(f"{quoted(model_type)} is a supported architecture already, with other module names")


def architecture_of(model_type: str) -> Architecture:
    """Return the entry of a ``config.model_type``; raise UsageError, which lists what is supported, if it has none."""
    if model_type not in ARCHITECTURES:
        raise UsageError(
            f"--model_name_or_path is a {quoted(model_type)} model, which is not supported by this method; supported "
            f"architectures: {', '.join(sorted(ARCHITECTURES))} (DeBERTa-v3 is deberta-v2). On any other work "
            f"--method {', '.join(ARCHITECTURE_FREE_METHODS)}, and lora with --lora_targets"
        )
    return ARCHITECTURES[model_type]
