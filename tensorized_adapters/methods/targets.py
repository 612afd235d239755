"""Which linear layers are updated, by --lora_targets."""

from torch import nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from ..architectures import base_prefix, linear_names
from ..config import AdapterConfig
from ..errors import UsageError


def target_names(model: PreTrainedModel, config: AdapterConfig) -> list[str]:
    """Names of the linear layers, with the base model's prefix: those that end so, else queries and values.

    Raises:
        UsageError: for a name that no linear layer ends in.
    """
    names = config.lora_target_names
    if not names:
        return linear_names(model, "query", "value")
    prefix = base_prefix(model)
    linear = [n for n, part in model.named_modules() if isinstance(part, (nn.Linear, Conv1D)) and n.startswith(prefix)]
    for name in names:
        if not any(_ends_in(layer, name) for layer in linear):
            known = sorted({".".join(layer.split(".")[-2:]) for layer in linear})
            raise UsageError(f"--lora_targets {name}: no linear layer is called so; known: {', '.join(known)}")
    return [layer for layer in linear if any(_ends_in(layer, name) for name in names)]


def _ends_in(layer: str, name: str) -> bool:
    return layer == name or layer.endswith(f".{name}")


def sizes_of(layer: nn.Linear | Conv1D) -> tuple[int, int]:
    """(in, out) of a linear layer; GPT-2's Conv1D is one whose weight is stored as in x out."""
    if isinstance(layer, Conv1D):
        return layer.nx, layer.nf
    return layer.in_features, layer.out_features
