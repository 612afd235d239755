"""Attention masks that a model takes as they are, without a look at their values, for which the host would wait."""

from collections.abc import Mapping

from torch import Tensor
from transformers import PreTrainedModel

from .parts import ARCHITECTURES


def with_ready_mask(model: PreTrainedModel, batch: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """A batch whose mask of padding (examples, keys) is that of attention (examples, 1, queries, keys), a view, bool.

    Transformers would make the same one, once it has asked the device in each forward pass whether anything is masked
    at all: a step of a GPU would begin by waiting for the one before. Models whose attention hides more than padding,
    or is not PyTorch's ``scaled_dot_product_attention``, keep their masks.
    """
    row, mask = ARCHITECTURES.get(model.config.model_type), batch.get("attention_mask")
    if row is None or not row.masks_padding_alone or model.config._attn_implementation != "sdpa":
        return batch
    if mask is None or mask.dim() != 2:
        return batch
    return {**batch, "attention_mask": mask.bool()[:, None, None, :].expand(-1, -1, mask.shape[1], -1)}
