"""Attention masks that a model takes as they are, without a look at their values, for which the host would wait."""

from collections.abc import Callable
from typing import Any

from torch import Tensor
from transformers import PreTrainedModel

from .architectures import ARCHITECTURES

Collator = Callable[[list[dict[str, Any]]], dict[str, Tensor]]


def takes_ready_masks(model: PreTrainedModel) -> bool:
    """Whether :func:`ready_mask` is all that the model's attention is to be masked with: nothing but padding is, by
    PyTorch's ``scaled_dot_product_attention``."""
    row = ARCHITECTURES.get(model.config.model_type)
    return row is not None and row.masks_padding_alone and model.config._attn_implementation == "sdpa"


def ready_mask(padding: Tensor) -> Tensor:
    """The mask of attention (examples, 1, 1, keys), bool, of one of padding (examples, keys).

    Transformers would make the same one, once it has asked the device in each forward pass whether anything is masked
    at all: a step of a GPU would begin by waiting for the one before.
    """
    return padding.bool()[:, None, None, :]


def with_ready_masks(model: PreTrainedModel, collate: Collator) -> Collator:
    """``collate``, whose batches have ready masks where the model takes them."""
    if not takes_ready_masks(model):
        return collate

    def collated(examples: list[dict[str, Any]]) -> dict[str, Tensor]:
        batch = collate(examples)
        if (mask := batch.get("attention_mask")) is not None and mask.dim() == 2:
            batch["attention_mask"] = ready_mask(mask)
        return batch

    return collated
