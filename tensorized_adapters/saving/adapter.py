"""The adapter folder: every trained tensor and nothing else, with what is needed to refuse the wrong base model.

adapter_config.json         settings, labels, fingerprint of the frozen base, checksums
adapter_model.safetensors   all that was trained, by the model's own parameter names (storage.py)
README.md                   a model card

A LoRA adapter's folder is also one of peft: its adapter_config.json and tensor names are peft's, and what would
otherwise stand in adapter_config.json stands in tensorized_adapters.json.
"""

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Optional

import safetensors
import safetensors.torch
import torch
from torch import Tensor
from transformers import PreTrainedModel

from ..adapters.insertion import adapters_of
from ..architectures import base_prefix, layer_norm_names
from ..config import AdapterConfig
from ..errors import RunFailed, UsageError
from ..files import write_aside
from ..methods.adapting import add_adapters, remove_adapters
from ..methods.fingerprint import base_fingerprint
from ..methods.lora import peft_file
from .format import (
    BESIDE_PEFT_FILE,
    CARD_FILE,
    CONFIG_FILE,
    FORMAT_VERSION,
    WEIGHTS_FILE,
    config_checksum,
    read_adapter,
)
from .model_card import model_card
from .storage import check_tensors, file_names, put_tensors, tensors_to_store


def save_adapter(model: PreTrainedModel, folder: str | Path, notes: Optional[dict[str, Any]] = None) -> None:
    """Write what was trained of ``model`` into ``folder``, file by file aside and renamed, the config last.

    Args:
        model: a model that went through :func:`add_adapters` or :func:`load_adapter`.
        folder: made if missing; other files in it stay.
        notes: shown in the card and kept in the config, for example the task and its metrics.

    Raises:
        UsageError: if the model has no adapters.
        RunFailed: if a trained tensor is not finite; nothing is written then.
    """
    config: Optional[AdapterConfig] = getattr(model, "adapter_config", None)
    if config is None:
        raise UsageError("the model is not adapted; add_adapters(model, config) first")
    tensors = tensors_to_store(model)
    for name, tensor in tensors.items():
        if not torch.isfinite(tensor).all():
            raise RunFailed(f"{name} holds NaN or infinity; nothing was written to {folder}")
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    weights = safetensors.torch.save(file_names(config.method, tensors), metadata={"format": "pt"})
    head = model.trained_in_place["head"]
    prefix = base_prefix(model)
    record = {
        "format_version": FORMAT_VERSION,
        "adapter": config.to_dict(),
        "num_labels": model.config.num_labels,
        "id2label": {str(key): value for key, value in model.config.id2label.items()},
        "problem_type": model.config.problem_type,
        "base_model": {
            "name": model.config._name_or_path,
            "revision": getattr(model.config, "_commit_hash", None),
            "model_type": model.config.model_type,
            "fingerprint": _fingerprint(model, config, tensors, head),
        },
        "newly_initialized": sorted(name for name in head if name.startswith(prefix)),
        "learning_rate_scales": [s for _, adapter in adapters_of(model) for _, s in adapter.learning_rate_scales()],
        "notes": notes or {},
        "weights_sha256": hashlib.sha256(weights).hexdigest(),
    }
    record["config_sha256"] = config_checksum(record)
    write_aside(folder / WEIGHTS_FILE, weights)
    write_aside(folder / CARD_FILE, model_card(model, config, notes or {}).encode())
    content = json.dumps(record, indent=1).encode()
    if config.method == "lora":
        write_aside(folder / BESIDE_PEFT_FILE, content)
        write_aside(folder / CONFIG_FILE, peft_file(model, head))
    else:
        (folder / BESIDE_PEFT_FILE).unlink(missing_ok=True)
        write_aside(folder / CONFIG_FILE, content)


def load_adapter(model: PreTrainedModel, folder: str | Path) -> PreTrainedModel:
    """Adapt ``model`` as the folder says and load every trained tensor. In place; strict.

    Args:
        model: the base model with a head for the same number of labels; adapted already with equal settings, or not.
        folder: what :func:`save_adapter` wrote, or a checkpoint folder that holds one as ``adapter/``.

    Returns:
        The same model, with ``config.id2label``, ``label2id`` and ``problem_type`` of the adapter.

    Raises:
        UsageError: missing, truncated or altered files, another base model, other labels, tensors that do not fit.
    """
    record, tensors = read_adapter(folder)
    config = check_adapter_fits(model, record, tensors, folder)
    before = {name: p.requires_grad for name, p in model.named_parameters()}
    fresh = getattr(model, "adapter_config", None) is None
    if fresh:
        new = record.get("newly_initialized")
        if new is None:  # by a version whose methods trained nothing else of the base in place than LayerNorms
            new = set(tensors) - (set(layer_norm_names(model)) if config.trains_layer_norm else set())
        add_adapters(model, config, newly_initialized=new)
    try:
        check_tensors(model, tensors, folder)
        _check_scales(model, record, folder)
    except UsageError:
        if fresh:  # leave the model as it was
            remove_adapters(model)
            for name, parameter in model.named_parameters():
                parameter.requires_grad = before[name]
        raise
    put_tensors(model, tensors)
    scales = iter(record["learning_rate_scales"])
    for _, adapter in adapters_of(model):
        adapter.set_learning_rate_scales(scales)
    model.config.id2label = {int(key): value for key, value in record["id2label"].items()}
    model.config.label2id = {value: key for key, value in model.config.id2label.items()}
    model.config.problem_type = record["problem_type"]
    return model


def check_adapter_fits(
    model: PreTrainedModel,
    record: dict[str, Any],
    tensors: dict[str, Tensor],
    folder: str | Path,
    same_labels: bool = False,
) -> AdapterConfig:
    """Compare a read adapter with a model, adapted or not, without touching the model.

    With ``same_labels``, the label map must be the model's too: a checkpoint to go on from is of the same task.

    Returns:
        The adapter's settings.

    Raises:
        UsageError: another number of labels, another base model, other settings than the model was adapted with.
    """
    config = AdapterConfig.from_dict(record["adapter"])
    if model.config.num_labels != record["num_labels"]:
        raise UsageError(
            f"{folder} was trained for {record['num_labels']} labels, the model's head has {model.config.num_labels}"
        )
    new = record.get("newly_initialized", [])
    if _fingerprint(model, config, tensors, new) != record["base_model"]["fingerprint"]:
        raise UsageError(
            f"{folder} was trained on another base model: the frozen weights of "
            f"{model.config._name_or_path or 'this model'!r} are not those of {record['base_model']['name']!r}"
        )
    labels = {str(key): value for key, value in model.config.id2label.items()}
    if same_labels and (record["id2label"], record["problem_type"]) != (labels, model.config.problem_type):
        raise UsageError(f"{folder} is of another task: its labels are {list(record['id2label'].values())}")
    adapted = getattr(model, "adapter_config", None)
    if adapted is not None and adapted.to_dict() != config.to_dict():
        theirs, ours = config.to_dict(), adapted.to_dict()
        odd = sorted(name for name in theirs.keys() & ours.keys() if theirs[name] != ours[name])
        changes = ", ".join(f"{name} {theirs[name]} there, {ours[name]} here" for name in odd)
        raise UsageError(
            f"{folder} holds {config.describe()}, the model was adapted with {adapted.describe()} ({changes})"
        )
    return config


def _fingerprint(model: PreTrainedModel, config: AdapterConfig, tensors: Iterable[str], new: Iterable[str]) -> str:
    """Of what stays frozen; of the base as it was pre-trained, where nothing does."""
    if config.method != "full":
        return base_fingerprint(model, tensors)
    return getattr(model, "pretrained_fingerprint", None) or base_fingerprint(model, new)


def _check_scales(model: PreTrainedModel, record: dict[str, Any], folder: str | Path) -> None:
    expected = sum(1 for _, adapter in adapters_of(model) for _ in adapter.parameters())
    if len(record["learning_rate_scales"]) != expected:
        raise UsageError(f"{folder} does not fit its own settings: {expected} learning-rate scales expected")
