"""The Trainer's checkpoint folders: sealed when whole, checked before use, rotated without touching foreign files."""

import json
import os
import re
import shutil
from pathlib import Path
from typing import Optional

from ..files import sha256_of, write_json
from ..saving import ADAPTER_FILES, CONFIG_FILE, WEIGHTS_FILE

ADAPTER_FOLDER = "adapter"
MANIFEST_FILE = "manifest.json"
STEP_LOSSES_FILE = "step_losses.json"
SEARCH_STATE_FILE = "difference_search.safetensors"  # of diff pruning, until it has pruned
CHECKPOINT_NAME = re.compile(r"checkpoint-(\d+)")

_ESSENTIAL = {"optimizer.pt", "scheduler.pt", "rng_state.pth", "trainer_state.json", STEP_LOSSES_FILE}
_OURS = _ESSENTIAL | ADAPTER_FILES | {"scaler.pt", SEARCH_STATE_FILE, MANIFEST_FILE}
_ASIDE = re.compile(r"\.(.+)\.[0-9a-f]+\.aside")


def checkpoints_in(folder: Path) -> list[Path]:
    """Checkpoint folders, the one of the latest step first; links are not followed."""
    found = [(int(m[1]), p) for p in folder.iterdir() if (m := CHECKPOINT_NAME.fullmatch(p.name))]
    return [path for _, path in sorted(found, reverse=True) if path.is_dir() and not path.is_symlink()]


def seal_checkpoint(path: Path) -> None:
    """Write the manifest that makes a checkpoint whole: the sha256 of each of its files, last of all."""
    (path / MANIFEST_FILE).unlink(missing_ok=True)
    files = sorted(p for p in path.rglob("*") if p.is_file() and not is_aside(p, _OURS))
    for file in files:
        with open(file, "rb") as opened:
            os.fsync(opened.fileno())
    write_json(path / MANIFEST_FILE, {str(p.relative_to(path)): sha256_of(p) for p in files})


def flaw_of_checkpoint(path: Path) -> Optional[str]:
    """Why a checkpoint must not be resumed from, or None if it is whole."""
    try:
        manifest = json.loads((path / MANIFEST_FILE).read_bytes())
        for name, digest in manifest.items():
            if sha256_of(path / name) != digest:
                return f"{name} was altered"
    except (FileNotFoundError, NotADirectoryError) as error:
        return f"{Path(error.filename).name} is missing"
    except (OSError, ValueError, AttributeError, TypeError):
        return "its manifest cannot be read"
    essential = _ESSENTIAL | {f"{ADAPTER_FOLDER}/{name}" for name in (CONFIG_FILE, WEIGHTS_FILE)}
    lacking = essential - set(manifest)
    return f"{min(lacking)} is not in its manifest" if lacking else None


def newest_whole_checkpoint(folder: Path) -> tuple[Optional[Path], list[str]]:
    """The checkpoint to go on from, or None, and a line about each newer one that is not whole.

    Such a one is removed as far as it is ours, so that it does not stand where the next is written.
    """
    notes = []
    for path in checkpoints_in(folder):
        flaw = flaw_of_checkpoint(path)
        if flaw is None:
            return path, notes
        clear_checkpoint(path)
        notes.append(f"{path} is not whole ({flaw}) and is passed over")
    return None, notes


def rotate_checkpoints(folder: Path, limit: Optional[int], best: Optional[str]) -> None:
    """Remove the oldest sealed checkpoints until ``limit`` are left; the latest and the ``best`` one always stay."""
    sealed = [path for path in checkpoints_in(folder) if (path / MANIFEST_FILE).is_file()]
    if not limit or not sealed:
        return
    sealed.sort(key=lambda path: (path / MANIFEST_FILE).stat().st_mtime_ns)
    protected = {sealed[-1].name} | ({Path(best).name} if best else set())
    removable = [path for path in sealed if path.name not in protected]
    for path in removable[: max(0, len(sealed) - max(limit, len(protected)))]:
        clear_checkpoint(path)


def copy_checkpoint(path: Path, to: Path) -> None:
    """Copy a whole checkpoint's files; ours that are there already are removed."""
    if to.is_dir():
        clear_checkpoint(to)
    (to / ADAPTER_FOLDER).mkdir(parents=True, exist_ok=True)
    for name in sorted(_OURS - ADAPTER_FILES - {MANIFEST_FILE} | {f"{ADAPTER_FOLDER}/{n}" for n in ADAPTER_FILES}):
        if (path / name).is_file():
            shutil.copyfile(path / name, to / name)
    seal_checkpoint(to)


def clear_checkpoint(folder: Path) -> None:
    """Remove our files from a checkpoint of ours: one that we sealed, or that holds nothing but files of our names.

    The manifest goes first, so that what a kill leaves on the way is not whole.
    """
    files = [p for p in folder.rglob("*") if p.is_symlink() or not p.is_dir()]
    ours = all((p.name in _OURS or is_aside(p, _OURS)) and not p.is_symlink() for p in files)
    if not ours and not (folder / MANIFEST_FILE).is_file():
        return
    (folder / MANIFEST_FILE).unlink(missing_ok=True)
    clear_folder(folder / ADAPTER_FOLDER, ADAPTER_FILES)
    clear_folder(folder, _OURS)


def clear_folder(folder: Path, ours: set[str]) -> None:
    """Remove files of our names from a folder, and the folder itself if that leaves it empty; no links followed."""
    if not folder.is_dir() or folder.is_symlink():
        return
    for file in list(folder.iterdir()):
        if file.is_file() and (file.name in ours or is_aside(file, ours)):
            file.unlink()
    if not any(folder.iterdir()):
        folder.rmdir()


def is_aside(path: Path, ours: set[str]) -> bool:
    """Whether this is a file of ours that was being written (files.write_aside) when its process died."""
    match = _ASIDE.fullmatch(path.name)
    return bool(match) and match[1] in ours and path.is_file() and not path.is_symlink()
