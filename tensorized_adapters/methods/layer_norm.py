"""LayerNorms alone: the control that the paper lacks."""

from .base import Method


class LayerNorm(Method):
    """Trains the LayerNorms (of --adapter_layers), which every adapter method trains beside its adapters."""

    name = "layer_norm"
