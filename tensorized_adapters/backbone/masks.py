"""Builds the 4-D attention mask here: Transformers would call mask.all(), which waits for the GPU in every step."""

from collections.abc import Mapping

from torch import Tensor
from transformers import PreTrainedModel

from .parts import ARCHITECTURES


def with_ready_mask(model: PreTrainedModel, batch: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """Return the batch with its padding mask (examples, keys) as a bool attention mask (examples, 1, queries, keys).

    Transformers would make the same mask. Models whose attention hides more than padding keep the batch's own mask:
    decoders, and encoders with ``is_decoder=True`` in their config, which hide later tokens. So do models whose
    attention is not PyTorch's ``scaled_dot_product_attention``.
    """
    config, mask = model.config, batch.get("attention_mask")
    architecture = ARCHITECTURES.get(config.model_type)
    if architecture is None or not architecture.masks_padding_alone or config._attn_implementation != "sdpa":
        return batch
    if getattr(config, "is_decoder", False) or mask is None or mask.dim() != 2:
        return batch
    return {**batch, "attention_mask": mask.bool()[:, None, None, :].expand(-1, -1, mask.shape[1], -1)}
