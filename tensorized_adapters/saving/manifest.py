"""Reading an adapter folder: its files, and the checksums that show whether they are complete and unaltered.

adapter_config.json         settings, labels, fingerprint of the frozen base model, checksums (written by save.py)
adapter_model.safetensors   everything that was trained and nothing else, by the model's own parameter names
README.md                   a model card

The folder of a method that peft knows can also be read by peft: adapter_config.json and the tensors' names are peft's,
and our own record is in tensorized_adapters.json.

The checksums reveal damage. They do not reveal a folder that somebody changed and signed again: its values are refused
where they are used and do not fit. Nothing in a folder is unpickled or executed.
"""

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import safetensors.torch
from torch import Tensor

from ..config import AdapterConfig
from ..errors import UsageError, quoted
from ..methods.registry import method_of
from ..runtime.files import content_of, read_json
from . import BESIDE_PEFT_FILE, CONFIG_FILE, WEIGHTS_FILE
from .hub import adapter_folder

FORMAT_VERSION = 1


def read_adapter(folder: str | Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Return the config record and the tensors of an adapter folder, both verified by their checksums. Raise
    UsageError if a file is missing, truncated or altered, or the format version is unknown."""
    folder = adapter_folder(folder)
    record = read_config(folder)
    weights = content_of(folder / WEIGHTS_FILE)
    if hashlib.sha256(weights).hexdigest() != record["weights_sha256"]:
        raise UsageError(f"{folder / WEIGHTS_FILE} is truncated or was altered: its sha256 is not the recorded one")
    method = method_of(AdapterConfig.from_dict(record["adapter"]))
    tensors = safetensors.torch.load(weights)
    return record, {method.name_of_file(name): tensor for name, tensor in tensors.items()}


def read_config(folder: str | Path) -> dict[str, Any]:
    """Return the verified record in ``adapter_config.json`` (in ``tensorized_adapters.json`` beside a config of peft).
    Raises as :func:`read_adapter`."""
    path = adapter_folder(folder) / BESIDE_PEFT_FILE
    path = path if os.path.lexists(path) else path.with_name(CONFIG_FILE)
    try:
        record = read_json(path)
    except UsageError as error:
        hint = "" if os.path.lexists(path) else "; an adapter is a folder with that file"
        raise UsageError(f"{error}{hint}") from None
    if "format_version" not in record:
        if isinstance(kind := record.get("peft_type"), str):
            ours = "import tensorized_adapters.integrations.peft, then " if kind == "TENSORIZED" else ""
            loader = f"{ours}PeftModel.from_pretrained(model, folder) loads it"
            raise UsageError(f"{path} is not an adapter of this program, but one of peft ({quoted(kind)}): {loader}")
        raise UsageError(f"{path} is not an adapter of this program")
    if (version := record["format_version"]) != FORMAT_VERSION:
        raise UsageError(f"{path} has format version {quoted(version)}, this program reads {FORMAT_VERSION}")
    if record.get("config_sha256") != config_checksum(record):
        raise UsageError(f"{path} was altered: its checksum is not the recorded one")
    return record


def kept_note(record: dict[str, Any], name: str, expected: type) -> Any:
    """Return a note of a saved adapter if it has this type and is not empty, else None. From Python any notes may be
    saved."""
    value = record["notes"].get(name)
    return value if type(value) is expected and value else None


def config_checksum(record: dict[str, Any]) -> str:
    """Return the sha256 of a config record without its own checksum."""
    content = {key: value for key, value in record.items() if key != "config_sha256"}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
