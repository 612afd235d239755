"""Compresses the adapter of one folder into another folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Optional

from ..errors import UsageError
from ..saving.manifest import read_config

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from .decompose import CompressedSite

# The notes that a compressed adapter keeps. The dense adapter's measurements are left out.
_KEPT_NOTES = ("task", "texts", "text_column_delimiter", "label", "label_separator", "max_seq_length", "tokenizer")


@dataclass(frozen=True)
class Compressed:
    """A model whose dense adapters were compressed, with the notes for its folder."""

    model: PreTrainedModel
    sites: list[CompressedSite]
    notes: dict[str, Any]
    before: str  # the dense method in words
    after: str


def check_dense(path: Path) -> dict[str, Any]:
    """Return the config record of a dense adapter's folder; raise UsageError for any other folder."""
    record = read_config(path)
    if (method := record["adapter"]["method"]) != "dense":
        raise UsageError(f"--adapter_path {path} is of --method {method}; only dense is compressed")
    return record


def compressed(
    path: Path,
    model_name_or_path: Optional[str],
    adapter_projection_type: str,
    rank: Optional[int] = None,
    target_error: Optional[float] = None,
) -> Compressed:
    """Return the compressed adapter of a folder; see :func:`compress_adapter`."""
    # Not above, so that a wrong folder is refused before Transformers' models are imported.
    from ..predicting.pipeline import load_pipeline
    from .decompose import compress_adapter

    notes = check_dense(path)["notes"]
    model = load_pipeline(path, model_name_or_path, device="cpu").model
    before = model.adaptation.config.describe()
    sites = compress_adapter(model, adapter_projection_type, rank, target_error)
    notes = {name: notes[name] for name in _KEPT_NOTES if name in notes} | {"compressed_from": before}
    return Compressed(model, sites, notes, before, model.adaptation.config.describe())
