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

from .config import AdapterConfig
from .errors import RunFailed, UsageError
from .files import write_aside
from .fingerprint import base_fingerprint
from .lora import peft_file
from .methods import add_adapters, remove_adapters
from .model_card import model_card
from .storage import check_tensors, file_names, names_of_file, put_tensors, tensors_to_store
from .surgery import adapters_of, base_prefix, layer_norm_names

FORMAT_VERSION = 1
CONFIG_FILE = "adapter_config.json"
WEIGHTS_FILE = "adapter_model.safetensors"
CARD_FILE = "README.md"
BESIDE_PEFT_FILE = "tensorized_adapters.json"  # the config, where CONFIG_FILE is peft's


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
    record["config_sha256"] = _config_checksum(record)
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
    positions = record["adapter"].get("method") == "diff_pruning"
    for name, tensor in tensors.items():
        numbers = tensor.is_floating_point() or (positions and tensor.dtype == torch.int32)
        if not numbers or not torch.isfinite(tensor).all():
            raise UsageError(f"{folder / WEIGHTS_FILE}: {name} holds something else than finite numbers")
    return record, names_of_file(record["adapter"].get("method"), tensors)


def read_config(folder: str | Path) -> dict[str, Any]:
    """The verified ``adapter_config.json`` (of LoRA ``tensorized_adapters.json``) alone.

    Raises:
        UsageError: as :func:`read_adapter`.
    """
    path = adapter_folder(folder) / BESIDE_PEFT_FILE
    path = path if path.is_file() else path.with_name(CONFIG_FILE)
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
    if not isinstance(record.get("newly_initialized", []), list):
        raise UsageError(f"{path} is not an adapter of this program: 'newly_initialized' must be names")
    if not isinstance(record["base_model"].get("fingerprint"), str):
        raise UsageError(f"{path} is not an adapter of this program: it does not name its base model")


def _fingerprint(model: PreTrainedModel, config: AdapterConfig, tensors: Iterable[str], new: Iterable[str]) -> str:
    """Of what stays frozen; of the base as it was pre-trained, where nothing does."""
    if config.method != "full":
        return base_fingerprint(model, tensors)
    return getattr(model, "pretrained_fingerprint", None) or base_fingerprint(model, new)


def _config_checksum(record: dict[str, Any]) -> str:
    content = {key: value for key, value in record.items() if key != "config_sha256"}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _check_scales(model: PreTrainedModel, record: dict[str, Any], folder: str | Path) -> None:
    expected = sum(1 for _, adapter in adapters_of(model) for _ in adapter.parameters())
    if len(record["learning_rate_scales"]) != expected:
        raise UsageError(f"{folder} does not fit its own settings: {expected} learning-rate scales expected")
