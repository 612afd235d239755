"""The Trainer's checkpoint folders: how they are written, verified, copied and removed.

A complete checkpoint has a manifest with the sha256 of each file. While one is written or removed, it has an empty
marker file instead. A folder with either is ours; foreign files in it are never removed. An unreadable checkpoint is
an error, since it may be readable later. An incomplete one is skipped, never deleted.
"""

import contextlib
import itertools
import json
import os
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Optional

from torch.optim import Optimizer
from transformers import TrainerState
from transformers.trainer import TRAINER_STATE_NAME
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

from ..errors import UsageError
from ..runtime.files import open_regular, read_json, sha256_of, write_json
from ..saving import ADAPTER_FILES
from .adafactor import UnfactoredAdafactor
from .progress_file import PROGRESS_FILE, read_progress

ADAPTER_FOLDER = "adapter"
MANIFEST_FILE = "manifest.json"
INCOMPLETE_FILE = "manifest.incomplete"  # the marker
SEARCH_STATE_FILE = "difference_search.safetensors"  # diff pruning writes it until it has pruned
CHECKPOINT_NAME = re.compile(r"checkpoint-(\d+)")

_RANDOM = re.compile(r"rng_state(_\d+)?\.pth")  # with a number if there are several processes
_OURS = ADAPTER_FILES | {"optimizer.pt", "scheduler.pt", "scaler.pt", TRAINER_STATE_NAME, PROGRESS_FILE}
_OURS |= {SEARCH_STATE_FILE, MANIFEST_FILE, INCOMPLETE_FILE}
_IN_ADAPTER_FOLDER = {f"{ADAPTER_FOLDER}/{name}" for name in ADAPTER_FILES}
_OF_PARAMETERS_SHAPE = {"exp_avg", "exp_avg_sq", "max_exp_avg_sq", "momentum_buffer"}  # in an optimizer's state
_TEMPORARY = re.compile(r"\.(.+)\.[0-9a-f]+\.tmp")


def checkpoints_in(folder: Path) -> list[Path]:
    """Return the checkpoint folders, latest step first. Links are not followed."""
    found = sorted(filter(step_of, folder.iterdir()), key=step_of, reverse=True)
    return [path for path in found if path.is_dir() and not path.is_symlink()]


def step_of(path: Path) -> int:
    """Return the step in the name of a checkpoint's folder, or 0 if it has another name."""
    match = CHECKPOINT_NAME.fullmatch(path.name)
    return int(match[1]) if match else 0


def checkpoint_at(folder: Path, step: int) -> Path:
    """Return the folder in which the Trainer saves the checkpoint of a step."""
    return folder / f"{PREFIX_CHECKPOINT_DIR}-{step}"


def begin_checkpoint(path: Path) -> None:
    """Make the folder of a checkpoint, with the marker in it.

    An earlier checkpoint of ours at this path is removed. Anything else is renamed, and a line says so.
    """
    if not path.is_symlink():
        clear_checkpoint(path)
    if path.is_symlink() or path.is_file() or _holds_our_names(path):
        number = itertools.count()
        while os.path.lexists(moved := path.with_name(f"{path.name}.moved-{next(number)}")):
            pass
        path.rename(moved)
        print(f"note: {path} has no manifest of this program; moved to {moved.name}", file=sys.stderr)
    path.mkdir(parents=True, exist_ok=True)
    (path / INCOMPLETE_FILE).touch()


def seal_checkpoint(path: Path) -> None:
    """Write the manifest with the sha256 of each file. It is written last, and makes the checkpoint complete."""
    (path / MANIFEST_FILE).unlink(missing_ok=True)
    present = (p for p in path.rglob("*") if p.is_file() and p.name != INCOMPLETE_FILE)
    files = sorted(p for p in present if not is_temporary(p, _OURS))
    for file in files:
        with open(file, "rb") as opened:
            os.fsync(opened.fileno())
    write_json(path / MANIFEST_FILE, {str(p.relative_to(path)): sha256_of(p) for p in files})
    (path / INCOMPLETE_FILE).unlink(missing_ok=True)


def flaw_of_checkpoint(path: Path) -> Optional[str]:
    """Return why a checkpoint is not complete or was altered, or None. Raise UsageError if a file cannot be read: it
    may be readable later, so the checkpoint is not skipped."""
    try:
        with open_regular(path / MANIFEST_FILE) as file:
            manifest = json.load(file)
        for name, digest in manifest.items():
            if sha256_of(path / name) != digest:
                return f"{name} was altered"
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError) as error:
        return f"{Path(error.filename).name} is missing"
    except OSError as error:
        raise UsageError(f"{error.filename or path} cannot be read ({error.strerror}); nothing was changed") from None
    except ValueError:
        return "its manifest cannot be read"
    return None


def newest_complete_checkpoint(
    folder: Path, suits: Callable[[dict[str, Any]], bool]
) -> tuple[Optional[Path], list[str]]:
    """Return the newest complete checkpoint whose arguments ``suits`` accepts, or None, and lines about skipped ones.
    Raise UsageError if one cannot be read."""
    notes = []
    for path in checkpoints_in(folder):
        if not _is_ours(path) and not _holds_our_names(path):
            continue
        flaw = flaw_of_checkpoint(path)
        if flaw is None and suits(read_progress(path).arguments):
            return path, notes
        reason = f"is not complete ({flaw})" if flaw else "was trained under other arguments"
        notes.append(f"{path} {reason} and is skipped")
    return None, notes


def remove_remains(folder: Path) -> None:
    """Remove checkpoints that were being written or removed when a run was killed."""
    for path in checkpoints_in(folder):
        if not (path / MANIFEST_FILE).exists():
            clear_checkpoint(path)


def best_checkpoint(checkpoint: Path, state: TrainerState) -> Path:
    """Return the checkpoint, in the same folder, that was the best when ``checkpoint`` was saved. Raise UsageError if
    it is not complete."""
    if state.best_global_step == state.global_step:
        return checkpoint
    best = checkpoint_at(checkpoint.parent, state.best_global_step)
    if flaw := flaw_of_checkpoint(best):
        raise UsageError(
            f"the best checkpoint so far, {best}, is not complete ({flaw}); leave --load_best_model_at_end out, or "
            "start the run anew"
        )
    return best


def check_state(checkpoint: Path, max_steps: int, needs_best: bool) -> None:
    """Raise UsageError if the checkpoint is of a step after the last one, or lacks the best one that is needed."""
    state = TrainerState.load_from_json(str(checkpoint / TRAINER_STATE_NAME))
    if not 0 < state.global_step <= max_steps:
        raise UsageError(
            f"{checkpoint} is of step {state.global_step}, and this training ends at step {max_steps}; raise "
            "--num_train_epochs or --max_steps, or evaluate it with --adapter_path"
        )
    if state.best_global_step and needs_best:
        best_checkpoint(checkpoint, state)


def rotate_checkpoints(folder: Path, limit: Optional[int], best: Optional[str]) -> None:
    """Remove the oldest complete checkpoints until ``limit`` are left. The latest and the ``best`` one always stay."""
    sealed = [path for path in checkpoints_in(folder) if (path / MANIFEST_FILE).is_file()]
    if not limit or not sealed:
        return
    sealed.sort(key=lambda path: (path / MANIFEST_FILE).stat().st_mtime_ns)
    protected = {sealed[-1].name} | ({Path(best).name} if best else set())
    removable = [path for path in sealed if path.name not in protected]
    for path in removable[: max(0, len(sealed) - max(limit, len(protected)))]:
        clear_checkpoint(path)


def copy_checkpoint(path: Path, to: Path) -> None:
    """Copy the files of a complete checkpoint."""
    begin_checkpoint(to)
    for name in read_json(path / MANIFEST_FILE):
        (to / name).parent.mkdir(exist_ok=True)
        shutil.copyfile(path / name, to / name)
    seal_checkpoint(to)


def clear_checkpoint(folder: Path) -> None:
    """Remove our files from a checkpoint of ours, and its folder if it is empty then. Other folders are not touched.

    The marker replaces the manifest first and is removed last: if the process is killed in between, the rest is
    incomplete and still ours.
    """
    if _is_ours(folder):
        if (folder / MANIFEST_FILE).is_file():
            os.replace(folder / MANIFEST_FILE, folder / INCOMPLETE_FILE)
        clear_folder(folder / ADAPTER_FOLDER, ADAPTER_FILES)
        clear_folder(folder, _ours_in(folder) - {INCOMPLETE_FILE})
        (folder / INCOMPLETE_FILE).unlink(missing_ok=True)
    with contextlib.suppress(OSError):  # missing, or not empty
        folder.rmdir()


def _ours_in(folder: Path) -> set[str]:
    """Return the names that our files may have in a checkpoint's folder."""
    return _OURS | {path.name for path in folder.glob("rng_state*.pth") if _RANDOM.fullmatch(path.name)}


def _is_ours(folder: Path) -> bool:
    return (folder / MANIFEST_FILE).is_file() or (folder / INCOMPLETE_FILE).is_file()


def _holds_our_names(folder: Path) -> bool:
    """Return whether files of our names exist. Without a manifest or marker somebody else may have made them."""
    return any(os.path.lexists(folder / name) for name in _ours_in(folder) | _IN_ADAPTER_FOLDER)


def clear_folder(folder: Path, own_names: set[str]) -> None:
    """Remove files of our names from a folder, and the folder if it is empty then. Links are not followed."""
    if not folder.is_dir() or folder.is_symlink():
        return
    for file in list(folder.iterdir()):
        if file.is_file() and (file.name in own_names or is_temporary(file, own_names)):
            file.unlink()
    if not any(folder.iterdir()):
        folder.rmdir()


def is_temporary(path: Path, own_names: set[str]) -> bool:
    """Return whether this is a temporary file of ours (files.write_atomically), left by a killed process."""
    match = _TEMPORARY.fullmatch(path.name)
    return bool(match) and match[1] in own_names and path.is_file() and not path.is_symlink()


def check_optimizer_state(optimizer: Optimizer, checkpoint: Optional[str]) -> None:
    """Raise UsageError unless moments have the shapes of their parameters. Fused AdamW would read beyond a shorter
    one, and the process would end with a segmentation fault. Our Adafactor does not go on from Transformers'."""
    adafactor = isinstance(getattr(optimizer, "optimizer", optimizer), UnfactoredAdafactor)
    if adafactor and not all("step" in group for group in optimizer.param_groups):
        raise UsageError(f"{checkpoint}/optimizer.pt is of another Adafactor; start anew with --overwrite_output_dir")
    for parameter, state in optimizer.state.items():
        for name in _OF_PARAMETERS_SHAPE & state.keys():
            if getattr(state[name], "shape", None) != parameter.shape:
                flaw = f"{name} is no tensor of the parameter's shape {tuple(parameter.shape)}"
                raise UsageError(f"{checkpoint}/optimizer.pt does not fit the model: {flaw}; start from another one")
