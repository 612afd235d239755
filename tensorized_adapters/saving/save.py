"""Saving what was trained of a model as an adapter folder (format.py)."""

import hashlib
import json
from pathlib import Path
from typing import Any, Optional

import safetensors.torch
import torch
from torch import Tensor
from transformers import PreTrainedModel

from ..adaptation.named import adapter_set
from ..adaptation.parameters import (
    adaptation_of,
    trained_parameters,
    unwrapped,
)
from ..backbone.parts import base_prefix
from ..errors import RunFailed, UsageError
from . import BESIDE_PEFT_FILE, CARD_FILE, CONFIG_FILE, WEIGHTS_FILE
from .fingerprint import base_identity, token_count
from .folder import check_free_for_adapter, replace_card, write_adapter
from .format import FORMAT_VERSION, config_checksum
from .model_card import Training, model_card
from .schema import check_record

# Where peft looks up a method by its name, and fails with that name as its message.
POINTER = "not of peft: load it with tensorized_adapters.load_adapter(model, folder)"


def save_adapter(
    model: PreTrainedModel,
    folder: str | Path,
    notes: Optional[dict[str, Any]] = None,
    name: Optional[str] = None,
) -> None:
    """Write what was trained of ``model`` into ``folder``: all files aside, then renamed, the config last.

    An adapter that is there stays whole if writing fails.

    Args:
        model: a model that went through :func:`add_adapters` or :func:`load_adapter`.
        folder: made if missing; other files in it stay.
        notes: shown in the card and kept in the config as JSON, for example the task and its metrics.
        name: which of several adapters (:func:`load_adapter`); by default the one that the model computes with.

    Raises:
        UsageError: if the model has no adapters, the notes or its labels cannot be kept, or the folder is none, cannot
            be written, or holds files of these names that are not of an adapter of this program.
        RunFailed: if a trained tensor is not finite; nothing is written then.
        OSError: if the disk is full or fails.
    """
    model, folder = unwrapped(model), Path(folder)
    if name is not None:
        with adapter_set(model, name):
            return save_adapter(model, folder, notes)
    adaptation = adaptation_of(model)
    if adaptation.merged is not None:
        raise UsageError("the adapters are merged into the weights; unmerge_adapters(model) before saving them")
    if adaptation.off:
        raise UsageError("within adapters_off(model) its trained values are put away; save the adapter outside of it")
    method, head = adaptation.method, adaptation.in_place["head"]
    tensors = method.tensors(model, trained_parameters(model))
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    for name, tensor in tensors.items():
        if not torch.isfinite(tensor).all():
            raise RunFailed(f"{name} holds NaN or infinity; nothing was written to {folder}")
    check_free_for_adapter(folder)
    in_file = {method.file_name(name): tensor for name, tensor in tensors.items()}
    weights = safetensors.torch.save(in_file, metadata={"format": "pt"})
    peft_config = method.peft_config(model, head)
    pointer = {} if peft_config else {"base_model_name_or_path": str(model.config._name_or_path), "peft_type": POINTER}
    content = json.dumps(_record_of(model, tensors, weights, notes or {}, pointer), indent=1).encode()
    files = {WEIGHTS_FILE: weights, CARD_FILE: model_card(model, notes or {}).encode()}
    if peft_config is not None:
        files |= {BESIDE_PEFT_FILE: content}
        content = json.dumps(peft_config, indent=1, sort_keys=True).encode()
    write_adapter(folder, files | {CONFIG_FILE: content})


def _record_of(
    model: PreTrainedModel, tensors: dict[str, Tensor], weights: bytes, notes: dict[str, Any], pointer: dict[str, str]
) -> dict[str, Any]:
    """The config record of an adapted model, as it will be read; raises UsageError if it would be refused then.

    ``pointer`` are fields for the loaders of Transformers and peft, which read a file of this name too.
    """
    adaptation = adaptation_of(model)
    head = adaptation.in_place["head"]
    record = {
        "format_version": FORMAT_VERSION,
        **pointer,
        "adapter": adaptation.config.to_dict(),
        "num_labels": model.config.num_labels,
        "id2label": {str(key): value for key, value in model.config.id2label.items()},
        "problem_type": model.config.problem_type,
        "base_model": {
            "name": str(model.config._name_or_path),
            "revision": getattr(model.config, "_commit_hash", None),
            "model_type": model.config.model_type,
            "tokens": token_count(model),
            **base_identity(model, tensors, head),
        },
        "newly_initialized": sorted(name for name in head if name.startswith(base_prefix(model))),
        "notes": notes,
        "weights_sha256": hashlib.sha256(weights).hexdigest(),
    }
    try:
        record = json.loads(json.dumps(record))  # keys that are numbers are texts there, and sorted as such
    except (TypeError, ValueError, RecursionError) as error:
        raise UsageError(f"notes must be what JSON can hold: {error}") from None
    try:
        check_record(record)
    except UsageError as error:
        raise UsageError(f"the adapter could not be loaded again: {error}") from None
    return record | {"config_sha256": config_checksum(record)}


def write_card(model: PreTrainedModel, folder: Path, notes: dict[str, Any], trained: Training) -> None:
    """Write the model card of a saved adapter anew, with what is known once it is measured. Raises as the above."""
    replace_card(folder, model_card(unwrapped(model), notes, trained).encode())
