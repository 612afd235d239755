"""Attention masks that a model takes as they are, without a look at their values, for which the host would wait."""

from collections.abc import Callable
from typing import Any

from torch import Tensor
from transformers import PreTrainedModel

from ..architectures import ARCHITECTURES

Collator = Callable[[list[dict[str, Any]]], dict[str, Tensor]]


def with_ready_masks(model: PreTrainedModel, collate: Collator) -> Collator:
    """``collate``, whose masks of padding (examples, tokens) become those of attention (examples, 1, 1, keys), bool.

    Transformers would make the same ones, once it has asked the device in each forward pass whether anything is masked
    at all: a step of a GPU would begin by waiting for the one before. Models whose attention is masked in other ways
    too, or is not PyTorch's ``scaled_dot_product_attention``, keep their masks.
    """
    row = ARCHITECTURES.get(model.config.model_type)
    if row is None or not row.masks_padding_alone or model.config._attn_implementation != "sdpa":
        return collate

    def collated(examples: list[dict[str, Any]]) -> dict[str, Tensor]:
        batch = collate(examples)
        mask = batch.get("attention_mask")
        if mask is not None and mask.dim() == 2:
            batch["attention_mask"] = mask.bool()[:, None, None, :]
        return batch

    return collated
