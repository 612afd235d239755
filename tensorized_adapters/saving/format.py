"""The adapter folder's files: their names and versions, reading them, and refusing what is not whole.

adapter_config.json         settings, labels, fingerprint of the frozen base, checksums (schema.py)
adapter_model.safetensors   all that was trained and nothing else, by the model's own parameter names
README.md                   a model card

The folder of a method that peft knows is also one of peft: its adapter_config.json and tensor names are peft's, and
what would otherwise stand in adapter_config.json stands in tensorized_adapters.json.

Format 3 holds the factors of W = gain x product(factors). In format 2 the gains of some ranks were larger, and the
factors narrower; format 1 held factors without a gain, and a learning rate for each (upgrade.py). Folders come from
anywhere: nothing is unpickled, and nothing is allocated, or waited for, because a file claims something.
"""

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor

from ..config import AdapterConfig
from ..errors import UsageError, quoted
from ..methods.registry import method_of
from ..runtime.files import content_of
from . import BESIDE_PEFT_FILE, CONFIG_FILE, WEIGHTS_FILE
from .hub import local_folder
from .schema import check_record

FORMAT_VERSION = 3
READABLE_VERSIONS = (1, 2, 3)
LARGEST_CONFIG = 2**24  # bytes: room for a hundred thousand labels
_FLOATS = (torch.float32, torch.float16, torch.bfloat16, torch.float64)


def read_adapter(folder: str | Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The verified config record and tensors of an adapter folder.

    Raises:
        UsageError: missing, truncated or altered files, an unknown format version, a record or tensors that are none
            of an adapter's.
    """
    folder = adapter_folder(folder)
    record = read_config(folder)
    path = folder / WEIGHTS_FILE
    weights = content_of(path)
    if hashlib.sha256(weights).hexdigest() != record["weights_sha256"]:
        raise UsageError(f"{path} is truncated or was altered: its sha256 is not the recorded one")
    try:
        tensors = safetensors.torch.load(weights)
    except Exception as error:  # of several types: no header, one that does not fit the rest, unknown kinds of numbers
        raise UsageError(f"{path} is not a safetensors file of ours: {quoted(str(error))}") from None
    method = method_of(AdapterConfig.from_dict(record["adapter"]))
    for name, tensor in tensors.items():
        known = tensor.dtype == torch.int32 if method.is_index(name) else tensor.dtype in _FLOATS
        if not known or not torch.isfinite(tensor.float()).all():
            raise UsageError(f"{path}: {quoted(name)} holds something else than finite numbers")
    named = {method.name_of_file(name): tensor for name, tensor in tensors.items()}
    if len(named) != len(tensors):
        raise UsageError(f"{path} holds a tensor twice, by two spellings of its name")
    return record, named


def read_config(folder: str | Path) -> dict[str, Any]:
    """The verified ``adapter_config.json`` (of LoRA ``tensorized_adapters.json``) alone.

    Raises:
        UsageError: as :func:`read_adapter`.
    """
    path = adapter_folder(folder) / BESIDE_PEFT_FILE
    path = path if os.path.lexists(path) else path.with_name(CONFIG_FILE)
    try:
        content = content_of(path, LARGEST_CONFIG)
    except UsageError as error:
        raise UsageError(f"{error}; an adapter is a folder with that file") from None
    try:
        record = json.loads(content)
        checksum = config_checksum(record) if isinstance(record, dict) else None
    except (ValueError, RecursionError):
        raise UsageError(f"{path} is truncated or was altered: it is not JSON of an adapter") from None
    if not isinstance(record, dict) or "format_version" not in record:
        if isinstance(record, dict) and isinstance(kind := record.get("peft_type"), str):
            ours = "import tensorized_adapters.integrations.peft, then " if kind == "TENSORIZED" else ""
            loader = f"{ours}PeftModel.from_pretrained(model, folder) loads it"
            raise UsageError(f"{path} is not an adapter of this program, but one of peft ({quoted(kind)}): {loader}")
        raise UsageError(f"{path} is not an adapter of this program")
    version = record["format_version"]
    if type(version) is not int or version not in READABLE_VERSIONS:
        known = " and ".join(map(str, READABLE_VERSIONS))
        raise UsageError(f"{path} has format version {quoted(version)}, this program reads {known}")
    if record.get("config_sha256") != checksum:
        raise UsageError(f"{path} was altered: its checksum is not the recorded one")
    try:
        check_record(record)
    except UsageError as error:
        raise UsageError(f"{path} is not an adapter of this program: {error}") from None
    return record


def adapter_folder(folder: str | Path) -> Path:
    """``folder`` itself, or its ``adapter/`` if that is where the config is (run folders and checkpoints); of a hub
    repository where its files lie here. Raises UsageError if it cannot be had."""
    folder = local_folder(folder)
    return folder / "adapter" if os.path.isfile(folder / "adapter" / CONFIG_FILE) else folder


def config_checksum(record: dict[str, Any]) -> str:
    """sha256 of a config record without its own."""
    content = {key: value for key, value in record.items() if key != "config_sha256"}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
