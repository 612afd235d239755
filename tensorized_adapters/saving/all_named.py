"""Saves and loads all named adapters of a model. The folder has one adapter folder for each name, and
``adapters.json`` with the names in their order and the active one."""

import itertools
import json
import os
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel

from ..adaptation.named import active_adapter, adapter_names, adapter_set, delete_adapter, set_adapter
from ..adaptation.parameters import unwrapped
from ..errors import UsageError, quoted
from ..runtime.files import read_json
from . import CONFIG_FILE
from .load import load_adapter
from .save import adapter_files, write_adapters

INDEX_FILE = "adapters.json"


def save_adapters(model: PreTrainedModel, folder: str | Path) -> None:
    """Write every named adapter of ``model`` into ``folder/NAME``, as ``save_adapter`` does.

    All files are written under temporary names before the first is renamed. If writing fails, the adapters that were
    there before stay complete.

    Args:
        model: a model with named adapters, from ``add_adapters(..., name=)`` or ``load_adapter(..., name=)``.
        folder: made if missing. Adapters of the same names in it are replaced.

    Raises:
        UsageError: if the model has no named adapters, a name cannot be a folder's name, two names differ in case
            alone, the folder holds adapters of other names or another program's ``adapters.json``, or
            ``save_adapter`` would refuse one of the adapters. Nothing is written then.
        RunFailed, OSError: as ``save_adapter``.
    """
    model, folder = unwrapped(model), Path(folder)
    names, index = adapter_names(model), folder / INDEX_FILE
    if not names:
        raise UsageError("the model has no adapters with names; save_adapter(model, folder) saves the one without")
    if unusable := [quoted(name) for name in names if not _is_folder_name(name)]:
        raise UsageError(
            f"the adapter {unusable[0]} cannot give a folder its name; save it alone with save_adapter(model, folder, "
            f"name={unusable[0]})"
        )
    for name, other in itertools.combinations(names, 2):
        if name.casefold() == other.casefold():
            alike = f"the adapters {quoted(name)} and {quoted(other)} would share a folder where case does not count"
            raise UsageError(f"{alike}; save one of them alone with save_adapter(model, folder, name={quoted(other)})")
    if others := {path.parent.name for path in folder.glob(f"*/{CONFIG_FILE}")} - set(names):
        raise UsageError(f"{folder} holds adapters of other names, {quoted(sorted(others))}; name another folder")
    if os.path.lexists(index):
        try:
            _read_index(index)
        except UsageError:
            raise UsageError(f"{index} is not of save_adapters; name another folder") from None
    files = {}
    for name in names:
        with adapter_set(model, name):
            files[folder / name] = adapter_files(model, folder / name)
    content = json.dumps({"adapters": names, "active": active_adapter(model)}, indent=1)
    write_adapters(files | {folder: {INDEX_FILE: content.encode()}})


def load_adapters(model: PreTrainedModel, folder: str | Path) -> list[str]:
    """Load every adapter that :func:`save_adapters` wrote, under its name. Named adapters of the model stay.

    Args:
        model: the base model, plain or with named adapters.
        folder: a folder that :func:`save_adapters` wrote.

    Returns:
        The names. The adapter that was active when they were saved is active again, if there was one.

    Raises:
        UsageError: if the folder is not complete, or ``load_adapter`` refuses an adapter, for example because its name
            is taken. The model is as before then.
    """
    folder, before, loaded = Path(folder), active_adapter(model), []
    index = _read_index(folder / INDEX_FILE)
    try:
        for name in index["adapters"]:
            load_adapter(model, folder / name, name=name)
            loaded.append(name)
        set_adapter(model, index["active"])
    except BaseException:
        for name in loaded:
            delete_adapter(model, name)
        if loaded:
            set_adapter(model, before)
        raise
    return loaded


def _read_index(path: Path) -> dict[str, Any]:
    """Return the content of ``adapters.json``; raise UsageError if it is missing or damaged."""
    try:
        index = read_json(path)
    except UsageError as error:
        raise UsageError(f"{error}; save_adapters(model, folder) writes it, load_adapter loads a single one") from None
    names = index.get("adapters")
    listed = isinstance(names, list) and names and all(map(_is_folder_name, names))
    if not listed or index.get("active", "") not in (None, *names):
        raise UsageError(f"{path} does not list the names of adapters; it may be damaged")
    return index


def _is_folder_name(name: Any) -> bool:
    """Return whether a folder can have this name, one level deep and not hidden."""
    if not isinstance(name, str) or not name.isprintable() or name.startswith(".") or name == INDEX_FILE:
        return False
    return 0 < len(os.fsencode(name)) <= 255 and not {"/", "\\"} & set(name)
