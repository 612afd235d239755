"""Methods that train parameters of the pre-trained model in place: the head, LayerNorms, biases, or everything."""

from transformers import PreTrainedModel

from ..backbone.parts import base_prefix, bias_names
from .base import Method


class Head(Method):
    """Trains nothing of the base model."""

    name = "head"


class LayerNorm(Method):
    """Trains the LayerNorms (of --adapter_layers), which every adapter method trains beside its adapters."""

    name = "layer_norm"


class BitFit(Method):
    """Trains all biases of the base model, or those that its authors single out: of queries and first FFN layers."""

    name = "bitfit"
    backbone_called = "biases"

    def check(self, model: PreTrainedModel) -> None:
        super().check(model)
        bias_names(model, self.config.bitfit_terms)

    def backbone_names(self, model: PreTrainedModel) -> set[str]:
        return set(bias_names(model, self.config.bitfit_terms))


class Full(Method):
    """Trains every parameter of the base model."""

    name = "full"

    def backbone_names(self, model: PreTrainedModel) -> set[str]:
        prefix = base_prefix(model)
        return {name for name, _ in model.named_parameters() if name.startswith(prefix)}
