"""How default learning rates shrink with the size of the pre-trained model.

The rates in config.TABLE were chosen on MiniLM (6 layers of width 384), and CP adapters on BERT-base (12 of 768)
collapse at them. Each step of Adam moves every parameter by about the rate, and the moves of all layers and hidden
units add up in the output. So the adapters' rate shrinks with the square root of layers x width, and the rate of
LayerNorms and head with layers x width itself. The exponents fit these two models; docs/results.md has the runs.
"""

import math
from typing import Optional

from transformers import PretrainedConfig

from ..config import LAYER_NORM_AND_HEAD_RATIO, PUBLISHED_LEARNING_RATE, TABLE, AdapterConfig

REFERENCE_SIZE = 6 * 384  # layers x width of the model on which the rates in config.TABLE were chosen


def rate_factor(config: PretrainedConfig) -> float:
    """Return the factor, at most 1, of the adapters' default rate for this model."""
    size = getattr(config, "num_hidden_layers", None), getattr(config, "hidden_size", None)
    if not all(isinstance(number, int) and number > 0 for number in size):
        return 1.0
    return min(1.0, math.sqrt(REFERENCE_SIZE / math.prod(size)))


def default_rates(
    adapter: AdapterConfig, config: PretrainedConfig, learning_rate: Optional[float] = None
) -> tuple[float, float]:
    """Return the adapters' rate, and its multiple for LayerNorms and head.

    Rates that were chosen at BERT-base's size do not shrink: those of the published start, and those of the methods
    that the table excepts.

    Args:
        config: the configuration of the pre-trained model.
        learning_rate: the adapters' rate if it was given. Then only the multiple depends on the model.
    """
    entry = TABLE[adapter.method]
    if not adapter.calibrated:
        return PUBLISHED_LEARNING_RATE if learning_rate is None else learning_rate, 1.0
    factor = 1.0 if entry.shrinks == "none" else rate_factor(config)
    if learning_rate is None:
        learning_rate = (factor if entry.shrinks == "all" else 1.0) * entry.learning_rate
    return learning_rate, LAYER_NORM_AND_HEAD_RATIO * factor
