"""``--attn_implementation``: how a model computes attention. Transformers has the implementations."""

import torch
from transformers import AutoModelForSequenceClassification, PretrainedConfig
from transformers.utils import is_flash_attn_2_available

from ..errors import UsageError, one_line
from .parts import skeleton

FLASH = "flash_attention_2"


def use_attention(config: PretrainedConfig, implementation: str) -> None:
    """Make the model of a configuration compute attention with ``implementation``. The configuration is changed.

    Raises:
        UsageError: if the machine, the installed packages or the architecture do not have it.
    """
    flag = f"--attn_implementation {implementation}"
    if implementation == FLASH and not torch.cuda.is_available():
        raise UsageError(f"{flag} needs a GPU, and there is none here; take sdpa, or leave the flag out")
    if implementation == FLASH and not is_flash_attn_2_available():
        raise UsageError(f"{flag} needs the package flash-attn; install it, take sdpa, or leave the flag out")
    skeleton(config)  # errors here do not depend on the implementation
    try:
        with torch.device("meta"):
            AutoModelForSequenceClassification.from_config(config, attn_implementation=implementation)
    except (ValueError, ImportError) as error:
        reason = one_line(error).split(". ")[0].split(" Please ")[0].rstrip(".")[:200]
        raise UsageError(f"{flag} does not suit a {config.model_type} model: {reason}; leave the flag out") from None
    config._attn_implementation = implementation
