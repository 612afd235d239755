"""Full fine-tuning."""

from transformers import PreTrainedModel

from ..architectures import base_prefix
from .base import Method


class Full(Method):
    """Trains every parameter of the base model."""

    name = "full"

    def backbone_names(self, model: PreTrainedModel) -> set[str]:
        prefix = base_prefix(model)
        return {name for name, _ in model.named_parameters() if name.startswith(prefix)}
