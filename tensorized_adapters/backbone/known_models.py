"""Configurations of well-known models, so that counting parameters needs no hub."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PretrainedConfig

    from .arguments import ModelArguments

_LARGE = {"hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16, "intermediate_size": 4096}

# Shapes of Google's four BERTs, so that the paper's table needs no hub.
KNOWN = {
    "bert-base-cased": {"vocab_size": 28996},
    "bert-base-uncased": {"vocab_size": 30522},
    "bert-large-cased": {"vocab_size": 28996} | _LARGE,
    "bert-large-uncased": {"vocab_size": 30522} | _LARGE,
}


def model_config(arguments: ModelArguments, num_labels: int) -> PretrainedConfig:
    """Return the configuration of a model folder or hub id. The hub is not asked for those in KNOWN."""
    # Imported here, because `tensorized-adapters count --help` only reads KNOWN and must be quick.
    from transformers import BertConfig

    from .loading import load_config

    name = arguments.model_name_or_path
    known = name in KNOWN and not arguments.config_name and not Path(name).exists()
    config = BertConfig(**KNOWN[name]) if known else load_config(arguments)
    config.num_labels = num_labels
    return config
