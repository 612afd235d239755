"""Chooses default learning rates and the default optimizer by the size of the pre-trained model.

The rates in method_table.TABLE were chosen on MiniLM (6 layers of width 384). On BERT-base (12 of 768) CP adapters
collapse at them. Each step of Adam or Adafactor moves every parameter by about the rate, and the moves of all layers
and hidden units add up in the output. So the rate of LayerNorms and head shrinks with layers x width, and the rate of
most methods with its square root. That of tensorized adapters grows by a quarter up to BERT-base's size, and no
further: they have so few parameters that a step follows only a small part of the gradient. Tensor-Train keeps 2e-3,
since at twice 2.5e-3 it collapses on CoLA with one of three seeds, and at twice 2e-3 with none. Beside dense adapters
LayerNorms must be trained more slowly, or the model collapses. The exponents, in method_table.TABLE too, fit these two
models; docs/experiments.md has the runs.
"""

import math
from typing import Optional

from transformers import PretrainedConfig

from ..config import LAYER_NORM_AND_HEAD_RATIO, PUBLISHED_LEARNING_RATE, TABLE, AdapterConfig

REFERENCE_SIZE = 6 * 384  # layers x width of the model on which the rates in method_table.TABLE were chosen
_BESIDE_ADAPTERS = ("layer_norm", "head")


def rate_factor(config: PretrainedConfig) -> float:
    """Return the root of the model's relative size, at most 1. Its powers multiply the default rates."""
    size = getattr(config, "num_hidden_layers", None), getattr(config, "hidden_size", None)
    if not all(isinstance(number, int) and number > 0 for number in size):
        return 1.0
    return min(1.0, math.sqrt(REFERENCE_SIZE / math.prod(size)))


def default_rates(
    adapter: AdapterConfig, config: PretrainedConfig, learning_rate: Optional[float] = None
) -> tuple[float, dict[str, float]]:
    """Return the adapters' rate, and its multiples for ``layer_norm`` and ``head``.

    Rates that were chosen at BERT-base's size do not change: the published one, and those with a power of 0.

    Args:
        config: the configuration of the pre-trained model.
        learning_rate: the adapters' rate if it was given. Then only the multiples depend on the model.
    """
    entry = TABLE[adapter.method]
    if not adapter.calibrated:
        rate = PUBLISHED_LEARNING_RATE if learning_rate is None else learning_rate
        return rate, dict.fromkeys(_BESIDE_ADAPTERS, 1.0)
    factor, (of_adapters, *others) = rate_factor(config), entry.rate_powers
    if adapter.adapter_projection_type == "tt":  # the only format that collapses at twice the larger rate
        of_adapters = 0
    # Nothing larger than BERT-base was measured, so a rate grows no further than to its size.
    adapters = (factor if of_adapters > 0 else max(factor, 0.5)) ** of_adapters
    if learning_rate is None:
        learning_rate = adapters * entry.learning_rate
    multiples = (factor**power / adapters * LAYER_NORM_AND_HEAD_RATIO for power in others)
    return learning_rate, dict(zip(_BESIDE_ADAPTERS, multiples))


def default_optimizer(adapter: AdapterConfig, config: PretrainedConfig) -> Optional[str]:
    """Return the default ``--optim``, or None if the default is the Trainer's, as for models up to MiniLM's size."""
    large = adapter.calibrated and rate_factor(config) < 1
    return TABLE[adapter.method].optimizer_of_large if large else None
