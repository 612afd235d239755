"""The README of an adapter folder."""

from pathlib import Path
from typing import Any

from transformers import PreTrainedModel

from ..methods.parameters import GROUPS, adaptation_of, count_trained

CARD_START = "---\nlibrary_name: tensorized-adapters"  # by which a card of ours is known


def model_card(model: PreTrainedModel, notes: dict[str, Any]) -> str:
    """Markdown with what was trained of an adapted model, the notes, and the code that loads it."""
    method, counts = adaptation_of(model).method, count_trained(model)
    base = model.config._name_or_path or model.config.model_type
    names = {
        "adapters": "adapters",
        "backbone": method.backbone_called,
        "layer_norm": "LayerNorms",
        "head": "head",
    }
    parts = ", ".join(f"{names[group]} {counts[group]:,}" for group in GROUPS if counts[group])
    facts = "".join(f"- {key}: {value}\n" for key, value in notes.items())
    return f"""{CARD_START}
tags: [tensorized-adapters, text-classification]
---
# {method.config.describe()} for {Path(base).name}

{counts["trained"]:,} trained parameters ({100 * counts["trained"] / counts["model"]:.4f} % of the model): {parts}.

{facts}
```python
from transformers import AutoModelForSequenceClassification
from tensorized_adapters import load_adapter

model = AutoModelForSequenceClassification.from_pretrained({base!r}, num_labels={model.config.num_labels})
load_adapter(model, "path/to/this/folder")
```
"""
