"""The adapter folder: every trained tensor and nothing else, with what is needed to refuse the wrong base model.

adapter_config.json         settings, labels, fingerprint of the frozen base, checksums
adapter_model.safetensors   adapters, LayerNorms, head, by the model's own parameter names
README.md                   a model card
"""

import hashlib
import json
from pathlib import Path
from typing import Any, Optional

import safetensors
import safetensors.torch
import torch
from torch import Tensor
from transformers import PreTrainedModel

from .config import AdapterConfig
from .errors import RunFailed, UsageError
from .files import write_aside
from .fingerprint import base_fingerprint
from .methods import add_adapters, trained_parameters
from .model_card import model_card
from .surgery import adapters_of, layer_norm_names, remove_adapters

FORMAT_VERSION = 1
CONFIG_FILE = "adapter_config.json"
WEIGHTS_FILE = "adapter_model.safetensors"
CARD_FILE = "README.md"


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
    tensors = {name: p.detach().cpu().contiguous() for name, p in trained_parameters(model).items()}
    for name, tensor in tensors.items():
        if not torch.isfinite(tensor).all():
            raise RunFailed(f"{name} holds NaN or infinity; nothing was written to {folder}")
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    weights = safetensors.torch.save(tensors, metadata={"format": "pt"})
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
            "fingerprint": base_fingerprint(model, tensors),
        },
        "learning_rate_scales": [s for _, adapter in adapters_of(model) for _, s in adapter.learning_rate_scales()],
        "notes": notes or {},
        "weights_sha256": hashlib.sha256(weights).hexdigest(),
    }
    record["config_sha256"] = _config_checksum(record)
    write_aside(folder / WEIGHTS_FILE, weights)
    write_aside(folder / CARD_FILE, model_card(model, config, notes or {}).encode())
    write_aside(folder / CONFIG_FILE, json.dumps(record, indent=1).encode())


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
        layer_norms = set(layer_norm_names(model)) if config.trains_layer_norm else set()
        add_adapters(model, config, newly_initialized=set(tensors) - layer_norms)
    try:
        _check_tensors(model, tensors, folder)
        _check_scales(model, record, folder)
    except UsageError:
        if fresh:  # leave the model as it was
            remove_adapters(model)
            for name, parameter in model.named_parameters():
                parameter.requires_grad = before[name]
        raise
    with torch.no_grad():
        for name, parameter in trained_parameters(model).items():
            parameter.copy_(tensors[name])
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
    if base_fingerprint(model, tensors) != record["base_model"]["fingerprint"]:
        raise UsageError(
            f"{folder} was trained on another base model: the frozen weights of "
            f"{model.config._name_or_path or 'this model'!r} are not those of {record['base_model']['name']!r}"
        )
    labels = {str(key): value for key, value in model.config.id2label.items()}
    if same_labels and (record["id2label"], record["problem_type"]) != (labels, model.config.problem_type):
        raise UsageError(f"{folder} is of another task: its labels are {list(record['id2label'].values())}")
    adapted = getattr(model, "adapter_config", None)
    if adapted is not None and adapted.to_dict() != config.to_dict():
        raise UsageError(f"{folder} holds {config.describe()}, the model was adapted with {adapted.describe()}")
    return config


def read_adapter(folder: str | Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The verified config record and tensors of an adapter folder; nothing is unpickled.

    Raises:
        UsageError: missing, truncated or altered files, an unknown format version.
    """
    folder = adapter_folder(folder)
    record = read_config(folder)
    try:
        weights = (folder / WEIGHTS_FILE).read_bytes()
    except OSError as error:
        raise UsageError(f"{folder / WEIGHTS_FILE} cannot be read: {error.strerror}") from None
    if hashlib.sha256(weights).hexdigest() != record["weights_sha256"]:
        raise UsageError(f"{folder / WEIGHTS_FILE} is truncated or was altered: its sha256 is not the recorded one")
    try:
        tensors = safetensors.torch.load(weights)
    except safetensors.SafetensorError as error:
        raise UsageError(f"{folder / WEIGHTS_FILE} is not a safetensors file: {error}") from None
    for name, tensor in tensors.items():
        if not tensor.is_floating_point() or not torch.isfinite(tensor).all():
            raise UsageError(f"{folder / WEIGHTS_FILE}: {name} holds something else than finite numbers")
    return record, tensors


def read_config(folder: str | Path) -> dict[str, Any]:
    """The verified ``adapter_config.json`` alone.

    Raises:
        UsageError: as :func:`read_adapter`.
    """
    path = adapter_folder(folder) / CONFIG_FILE
    try:
        record = json.loads(path.read_bytes())
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}; an adapter is a folder with that file") from None
    except ValueError:
        raise UsageError(f"{path} is truncated or was altered: it is not JSON") from None
    if not isinstance(record, dict) or "format_version" not in record:
        raise UsageError(f"{path} is not an adapter of this program")
    if record["format_version"] != FORMAT_VERSION:
        raise UsageError(f"{path} has format version {record['format_version']}, this program reads {FORMAT_VERSION}")
    if record.get("config_sha256") != _config_checksum(record):
        raise UsageError(f"{path} was altered: its checksum is not the recorded one")
    _check_schema(record, path)
    return record


def adapter_folder(folder: str | Path) -> Path:
    """``folder`` itself, or its ``adapter/`` if that is where the config is (run folders and checkpoints)."""
    folder = Path(folder)
    return folder / "adapter" if (folder / "adapter" / CONFIG_FILE).is_file() else folder


def _check_schema(record: dict[str, Any], path: Path) -> None:
    """What a checksum cannot tell: a record that was written by hand."""
    kinds = {"adapter": dict, "num_labels": int, "id2label": dict, "base_model": dict, "weights_sha256": str}
    kinds |= {"learning_rate_scales": list, "notes": dict}
    for name, kind in kinds.items():
        if not isinstance(record.get(name), kind):
            raise UsageError(f"{path} is not an adapter of this program: {name!r} is missing or of another type")
    if set(record["id2label"]) != {str(i) for i in range(record["num_labels"])}:
        raise UsageError(f"{path} is not an adapter of this program: 'id2label' does not name the labels")
    if not all(isinstance(s, (int, float)) and 0 < s < float("inf") for s in record["learning_rate_scales"]):
        raise UsageError(f"{path} is not an adapter of this program: 'learning_rate_scales' must be positive numbers")
    if not isinstance(record["base_model"].get("fingerprint"), str):
        raise UsageError(f"{path} is not an adapter of this program: it does not name its base model")


def _check_tensors(model: PreTrainedModel, tensors: dict[str, Tensor], folder: str | Path) -> None:
    parameters = trained_parameters(model)
    odd = sorted(set(parameters) ^ set(tensors))
    if odd:
        raise UsageError(
            f"{folder} does not fit its own settings: {len(odd)} tensors missing or foreign, {odd[0]} first"
        )
    for name, tensor in tensors.items():
        if tensor.shape != parameters[name].shape:
            raise UsageError(
                f"{folder} does not fit: {name} is {tuple(tensor.shape)}, expected {tuple(parameters[name].shape)}"
            )


def _config_checksum(record: dict[str, Any]) -> str:
    content = {key: value for key, value in record.items() if key != "config_sha256"}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _check_scales(model: PreTrainedModel, record: dict[str, Any], folder: str | Path) -> None:
    expected = sum(1 for _, adapter in adapters_of(model) for _ in adapter.parameters())
    if len(record["learning_rate_scales"]) != expected:
        raise UsageError(f"{folder} does not fit its own settings: {expected} learning-rate scales expected")
