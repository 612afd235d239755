"""The adapter folder's files: their names and versions, reading them, and refusing what is not whole.

adapter_config.json         settings, labels, fingerprint of the frozen base, checksums
adapter_model.safetensors   all that was trained and nothing else, by the model's own parameter names
README.md                   a model card

The folder of a method that peft knows is also one of peft: its adapter_config.json and tensor names are peft's, and
what would otherwise stand in adapter_config.json stands in tensorized_adapters.json.

Format 2 holds the factors of W = gain x product(factors). Format 1 held factors without a gain, and a learning rate
for each (upgrade.py).
"""

import hashlib
import json
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from ..config import AdapterConfig
from ..errors import UsageError
from ..methods.registry import method_of
from . import BESIDE_PEFT_FILE, CONFIG_FILE, WEIGHTS_FILE

FORMAT_VERSION = 2
READABLE_VERSIONS = (1, 2)


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
    method = method_of(AdapterConfig.from_dict(record["adapter"]))
    for name, tensor in tensors.items():
        numbers = tensor.dtype == torch.int32 if method.is_index(name) else tensor.is_floating_point()
        if not numbers or not torch.isfinite(tensor).all():
            raise UsageError(f"{folder / WEIGHTS_FILE}: {name} holds something else than finite numbers")
    return record, {method.name_of_file(name): tensor for name, tensor in tensors.items()}


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
    if record["format_version"] not in READABLE_VERSIONS:
        known = " and ".join(map(str, READABLE_VERSIONS))
        raise UsageError(f"{path} has format version {record['format_version']}, this program reads {known}")
    if record.get("config_sha256") != config_checksum(record):
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
    kinds |= {"notes": dict} | ({"learning_rate_scales": list} if record["format_version"] == 1 else {})
    for name, kind in kinds.items():
        if not isinstance(record.get(name), kind):
            raise UsageError(f"{path} is not an adapter of this program: {name!r} is missing or of another type")
    if not isinstance(record.get("problem_type", 0), (str, type(None))):
        raise UsageError(f"{path} is not an adapter of this program: 'problem_type' is missing or of another type")
    if not isinstance(record["adapter"].get("method"), str):
        raise UsageError(f"{path} is not an adapter of this program: it does not name its method")
    if set(record["id2label"]) != {str(i) for i in range(record["num_labels"])}:
        raise UsageError(f"{path} is not an adapter of this program: 'id2label' does not name the labels")
    scales = record.get("learning_rate_scales", [])
    if not all(isinstance(s, (int, float)) and 0 < s < float("inf") for s in scales):
        raise UsageError(f"{path} is not an adapter of this program: 'learning_rate_scales' must be positive numbers")
    if not isinstance(record.get("newly_initialized", []), list):
        raise UsageError(f"{path} is not an adapter of this program: 'newly_initialized' must be names")
    if not all(isinstance(record["base_model"].get(name), str) for name in ("fingerprint", "name")):
        raise UsageError(f"{path} is not an adapter of this program: it does not name its base model")


def config_checksum(record: dict[str, Any]) -> str:
    """sha256 of a config record without its own."""
    content = {key: value for key, value in record.items() if key != "config_sha256"}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
