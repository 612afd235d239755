"""Saves the trained parameters of a model as an adapter folder, perhaps among other files (see manifest.py)."""

import contextlib
import errno
import hashlib
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Optional

import safetensors.torch
import torch
from torch import Tensor
from transformers import PreTrainedModel
from transformers.utils import CONFIG_NAME

from ..adaptation.named import adapter_set
from ..adaptation.parameters import adaptation_of, not_merged, not_off, trained_parameters, unwrapped
from ..backbone.parts import base_prefix, check_not_offloaded
from ..errors import RunFailed, UsageError, quoted
from ..runtime.files import make_folder, read_json, write_to_disk, written_then_renamed
from . import ADAPTER_FILES, BESIDE_PEFT_FILE, CARD_FILE, CONFIG_FILE, WEIGHTS_FILE
from .fingerprint import base_identity, token_count
from .manifest import FORMAT_VERSION, config_checksum
from .model_card import CARD_MARK, Training, model_card

# Written as ``peft_type``: peft and Transformers do not know it and print it in their error.
POINTER = "not of peft: load it with tensorized_adapters.load_adapter(model, folder)"
_FOUND_NOTHING = (
    "only the head was trained, and the difference is zero; call model.train() before training, because in "
    "evaluation mode the difference gets no gradient"
)
_DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EFBIG)  # another folder would not help


def save_adapter(
    model: PreTrainedModel,
    folder: str | Path,
    notes: Optional[dict[str, Any]] = None,
    name: Optional[str] = None,
) -> None:
    """Write the trained parameters of ``model`` into ``folder``. Temporary files are written and then renamed, the
    config last. If writing fails, an adapter that was there before stays complete.

    Args:
        model: a model that went through :func:`add_adapters` or :func:`load_adapter`.
        folder: made if missing; other files in it stay.
        notes: shown in the card and kept in the config as JSON, for example the task and its metrics. By default
            those of the adapter that was loaded, so that ``predict`` reads texts as before.
        name: of the adapter to save; by default the active one.

    Raises:
        UsageError: if the model has no adapters, a weight of the base that is trained was resized, the notes or its
            labels cannot be kept, or the folder is a file, cannot be written, or holds files of these names that are
            not of an adapter of this program.
        RunFailed: if a trained tensor is not finite; nothing is written then.
        OSError: if the disk is full or fails.
    """
    model, folder = unwrapped(model), Path(folder)
    with contextlib.nullcontext() if name is None else adapter_set(model, name):
        write_adapters({folder: adapter_files(model, folder, notes)})


def adapter_files(model: PreTrainedModel, folder: Path, notes: Optional[dict[str, Any]] = None) -> dict[str, bytes]:
    """Return the active adapter's files as bytes, by file name. The folder is checked, and nothing is written."""
    adaptation = not_off(not_merged(model, "saving them"))
    check_not_offloaded(model)
    notes = adaptation.notes if notes is None else notes
    method, head = adaptation.method, adaptation.in_place["head"]
    tensors = method.tensors(trained_parameters(model))
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    for name, tensor in tensors.items():
        if not torch.isfinite(tensor).all():
            raise RunFailed(f"{name} holds NaN or infinity; nothing was written to {folder}")
        if name in adaptation.in_place["backbone"] and tensor.shape != adaptation.originals[name].shape:
            raise UsageError(
                f"{name} has another shape than before add_adapters, so no base model fits the adapter; "
                "model.save_pretrained(folder) saves the complete model"
            )
    _check_free(folder)
    weights_of_head = [name for name in head if not name.endswith("bias")]  # a run sets the bias before training
    if method.found_nothing and any(
        not torch.equal(tensors[name], adaptation.originals[name].to(tensors[name])) for name in weights_of_head
    ):
        print(f"note: {_FOUND_NOTHING}", file=sys.stderr)
    in_file = {method.file_name(name): tensor for name, tensor in tensors.items()}
    weights = safetensors.torch.save(in_file, metadata={"format": "pt"})
    peft_config = method.peft_config(model, head)
    pointer = {} if peft_config else {"base_model_name_or_path": str(model.config._name_or_path), "peft_type": POINTER}
    content = json.dumps(_record_of(model, tensors, weights, notes, pointer), indent=1).encode()
    files = {WEIGHTS_FILE: weights, CARD_FILE: model_card(model, notes)}
    if peft_config is not None:
        files |= {BESIDE_PEFT_FILE: content}
        content = json.dumps(peft_config, indent=1, sort_keys=True).encode()
    return files | {CONFIG_FILE: content}


def _record_of(
    model: PreTrainedModel, tensors: dict[str, Tensor], weights: bytes, notes: dict[str, Any], pointer: dict[str, str]
) -> dict[str, Any]:
    """Return the config record of an adapted model; raise UsageError if JSON cannot hold it, or labels share a name.
    ``pointer`` is for the loaders of Transformers and peft, which read a file of this name too."""
    adaptation, labels = adaptation_of(model), model.config.id2label
    if len(set(labels.values())) < len(labels) or not all(isinstance(name, str) for name in labels.values()):
        raise UsageError(f"config.id2label must give each label a text of its own, got {quoted(labels)}")
    head = adaptation.in_place["head"]
    record = {
        "format_version": FORMAT_VERSION,
        **pointer,
        "adapter": adaptation.config.to_dict(),
        "num_labels": model.config.num_labels,
        "id2label": {str(key): value for key, value in labels.items()},
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
        record = json.loads(json.dumps(record))  # JSON makes texts of numeric keys, which changes their order
    except (TypeError, ValueError, RecursionError) as error:
        raise UsageError(f"notes must be what JSON can hold: {error}") from None
    return record | {"config_sha256": config_checksum(record)}


def write_card(model: PreTrainedModel, folder: Path, notes: dict[str, Any], trained: Training) -> None:
    """Replace the model card of a saved adapter once its metrics are known. Raises as :func:`save_adapter`."""
    write_adapters({folder: {CARD_FILE: model_card(unwrapped(model), notes, trained)}})


def _check_free(folder: Path) -> None:
    """Refuse a folder in which the files of an adapter would replace something else; raise UsageError."""
    with _refusing(folder):
        if not folder.exists():
            return
        if not folder.is_dir():
            raise UsageError(f"{folder} is a file; name a folder for the adapter")
        if (folder / CONFIG_NAME).exists():  # Transformers would load the adapter in its place
            raise UsageError(f"{folder} holds a complete model; name another folder for the adapter")
        for name in sorted(ADAPTER_FILES):
            if os.path.isdir(folder / name):
                raise UsageError(f"{folder / name} is a folder, where the adapter has a file; name another folder")
        configs = (folder / BESIDE_PEFT_FILE, folder / CONFIG_FILE)
        ours = _is_our_card(folder / CARD_FILE) or any(map(_is_our_config, configs))
        for name in (CARD_FILE, CONFIG_FILE):
            if os.path.lexists(folder / name) and not ours:
                raise UsageError(f"{folder / name} is not of an adapter of this program; name another folder")


def write_adapters(folders: dict[Path, dict[str, bytes]]) -> None:
    """Write all files of all folders under temporary names, and then rename each, in the order given.

    Raises:
        UsageError: if a folder cannot be made or written.
        OSError: if the disk is full or fails.
    """
    with _refusing(Path(os.path.commonpath(folders))):
        with contextlib.ExitStack() as renames:  # it renames in reverse order, and nothing if anything raises
            for folder, files in reversed(folders.items()):
                make_folder(folder)
                for name, content in reversed(files.items()):
                    write_to_disk(renames.enter_context(written_then_renamed(folder / name)), content)
        for folder, files in folders.items():
            if CONFIG_FILE in files and BESIDE_PEFT_FILE not in files:
                (folder / BESIDE_PEFT_FILE).unlink(missing_ok=True)


@contextlib.contextmanager
def _refusing(folder: Path) -> Iterator[None]:
    """Turn an error of the operating system about the folder into one line."""
    try:
        yield
    except OSError as error:
        if error.errno in _DISK_ERRORS:
            raise
        raise UsageError(f"{folder} cannot be written: {error.strerror}; name another folder") from None
    except UsageError:
        raise
    except ValueError as error:  # no folder can have such a path
        raise UsageError(f"{quoted(str(folder))} cannot be written: {error}") from None


def _is_our_card(path: Path) -> bool:
    header = path.read_bytes()[: 2**12] if path.is_file() else b""
    return header.startswith(b"---\n") and CARD_MARK.encode() in header


def _is_our_config(path: Path) -> bool:
    """Return whether it is a config of this program, altered or not."""
    try:
        return {"format_version", "weights_sha256"} <= read_json(path).keys()
    except UsageError:
        return False
