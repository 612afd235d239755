"""BitFit (Ben Zaken et al., 2022): biases alone."""

from transformers import PreTrainedModel

from ..architectures import bias_names
from .base import Method


class BitFit(Method):
    """All biases of the base model, or the two terms that its authors single out: queries and first FFN layers."""

    name = "bitfit"
    backbone_called = "biases"

    def check(self, model: PreTrainedModel) -> None:
        super().check(model)
        bias_names(model, self.config.bitfit_terms)

    def backbone_names(self, model: PreTrainedModel) -> set[str]:
        return set(bias_names(model, self.config.bitfit_terms))
