"""The README of an adapter folder. Its header gives the Hugging Face hub task, base model and metrics."""

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Optional

from huggingface_hub import EvalResult, ModelCard, ModelCardData
from transformers import PreTrainedModel

from ..adaptation.parameters import GROUPS, adaptation_of, count_trained

LIBRARY = "tensorized-adapters"
CARD_MARK = f"\nlibrary_name: {LIBRARY}\n"  # every card of this program has it in its header
FOLDER_PLACEHOLDER = "path/to/this/folder"
_TASK = "text-classification"
_HUB_ID = re.compile(r"([A-Za-z0-9][\w.-]*/)?[A-Za-z0-9][\w.-]*", re.ASCII)


@dataclass
class Training:
    """Facts about a run for its card, beside the notes."""

    data: str  # id of the data set, or the name of the file on which the metrics were measured
    config: Optional[str] = None  # the part of the data set, such as "mrpc"
    of_hub: bool = False  # whether it is a data set of the hub, to which the card then links
    # The metrics of the saved weights by split and name: {"validation": {"f1": 0.9}}
    metrics: dict[str, dict[str, float]] = field(default_factory=dict)
    command: Optional[str] = None  # that trained the adapter


def model_card(model: PreTrainedModel, notes: dict[str, Any], trained: Optional[Training] = None) -> bytes:
    """Return Markdown with the counts of trained parameters, the notes, and the code that loads the adapter. Bytes of
    a path that are not UTF-8 are shown as escapes."""
    trained = trained or Training(data="")
    method, counts = adaptation_of(model).method, count_trained(model)
    base = model.config._name_or_path or model.config.model_type
    names = {"backbone": method.backbone_called, "layer_norm": "LayerNorms"}
    parts = ", ".join(f"{names.get(group, group)} {counts[group]:,}" for group in GROUPS if counts[group])
    title = f"{method.config.describe()} for {Path(base).name}"
    facts = "".join(f"- {key}: {value}\n" for key, value in notes.items() if key != "trained_texts")
    commit = getattr(model.config, "_commit_hash", None)
    revision = f", revision={commit!r}" if commit else ""
    text = f"""# {title}

{counts["trained"]:,} trained parameters ({100 * counts["trained"] / counts["model"]:.4f} % of the model): {parts}.

{facts}{_measured(trained)}
```python
from transformers import AutoModelForSequenceClassification
from tensorized_adapters import load_adapter

model = AutoModelForSequenceClassification.from_pretrained({base!r}, num_labels={model.config.num_labels}{revision})
load_adapter(model, "{FOLDER_PLACEHOLDER}")
```
"""
    if trained.command:
        text += f"\nTrained by\n\n```bash\n{trained.command}\n```\n"
    card = ModelCard(f"---\n{_header(model, title, trained).to_yaml()}\n---\n{text}")
    return str(card).encode(errors="backslashreplace")


def _header(model: PreTrainedModel, title: str, trained: Training) -> ModelCardData:
    """Return the header. It names a base model or data set only if that is on the hub."""
    base, config = model.config._name_or_path, adaptation_of(model).config
    kinds = [config.method] if config.method != "tensorized" else ["tensorized", config.adapter_projection_type]
    dataset_name = " ".join(filter(None, (trained.data, trained.config)))
    results = [
        EvalResult(_TASK, trained.data, dataset_name, name, value, dataset_config=trained.config, dataset_split=split)
        for split, of_split in trained.metrics.items()
        for name, value in of_split.items()
    ]
    return ModelCardData(
        library_name=LIBRARY,
        base_model=base if _HUB_ID.fullmatch(base or "") and not Path(base).exists() else None,
        datasets=[trained.data] if trained.of_hub else None,
        pipeline_tag=_TASK,
        tags=[LIBRARY, "adapter", *map(str, kinds)],
        metrics=sorted({name for of_split in trained.metrics.values() for name in of_split}) or None,
        model_name=title if results else None,
        eval_results=results or None,
    )


def _measured(trained: Training) -> str:
    """Return a table of the metrics, or nothing if there are none."""
    if not trained.metrics:
        return ""
    rows = [f"| {split} | {n} | {v:.4f} |\n" for split, scores in trained.metrics.items() for n, v in scores.items()]
    data = ", ".join(filter(None, (trained.data, trained.config)))
    return f"\nMeasured on {data}:\n\n| split | metric | value |\n|---|---|---|\n{''.join(rows)}"
