"""The output folder of a run: who may start in it, what a second start does, which checkpoints are whole.

| folder holds               | same arguments                          | other arguments                |
|----------------------------|-----------------------------------------|--------------------------------|
| nothing                    | starts                                  | starts                         |
| an unfinished run          | goes on from the newest whole checkpoint | refused, naming the difference |
| a finished run             | its results again, nothing touched      | refused, likewise              |
| anything that is not a run | refused                                 | refused                        |
"""

import fcntl
import json
import os
import re
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Optional

from .checkpoint import CARD_FILE, CONFIG_FILE, WEIGHTS_FILE
from .errors import UsageError
from .files import sha256_of, write_json
from .tasks import TASKS

PROGRAM = "tensorized_adapters"
RECORD_FILE = "run.json"
RESULTS_FILE = "all_results.json"
ADAPTER_FOLDER = "adapter"
MANIFEST_FILE = "manifest.json"
STEP_LOSSES_FILE = "step_losses.json"
EVALUATION_FILE = "eval_predictions{suffix}.tsv"

# Every name that this program writes into a run folder and a checkpoint: what --overwrite_output_dir may remove.
_SUBMISSIONS = {f"{name}.tsv" for task in TASKS.values() for name, _ in task.prediction} | {"predictions.tsv"}
_EVALUATIONS = {EVALUATION_FILE.format(suffix=suffix) for suffix in ("", "_mm")}
_RESULTS = {RECORD_FILE, RESULTS_FILE} | _SUBMISSIONS | _EVALUATIONS
_ADAPTER = {CONFIG_FILE, WEIGHTS_FILE, CARD_FILE}
_CHECKPOINT = {"optimizer.pt", "scheduler.pt", "scaler.pt", "trainer_state.json", MANIFEST_FILE, STEP_LOSSES_FILE}
_CHECKPOINT_NAME = re.compile(r"checkpoint-(\d+)")
_RNG_STATE = re.compile(r"rng_state(_\d+)?\.pth")
_ASIDE = re.compile(r"\..+\.aside")

# Arguments that cannot change the result: a second start may differ in them. Prefixes end in "_".
_WITHOUT_EFFECT = (
    "output_dir overwrite_output_dir resume_from_checkpoint cache_dir token overwrite_cache report_to "
    "run_name project disable_tqdm debug skip_memory_metrics log_ logging_ trackio_ hub_ push_to_hub "
    "dataloader_num_workers dataloader_pin_memory dataloader_persistent_workers dataloader_prefetch_factor ddp_ "
    "save_on_each_node local_rank _n_gpu cpu_threads"
).split()


@dataclass
class Start:
    """What a start in a folder amounts to."""

    kind: Literal["new", "resume", "finished"]
    record: Optional[dict[str, Any]] = None  # of the run that is there


def inspect_folder(folder: Path, arguments: dict[str, Any], overwrite: bool, explicit_resume: bool) -> Start:
    """Decide, without touching anything, what starting with ``arguments`` in ``folder`` means (table above).

    Raises:
        UsageError: if the folder holds something else, or a run with other arguments.
    """
    if not folder.exists():
        return Start("new")
    if not folder.is_dir():
        raise UsageError(f"--output_dir {folder} is a file; name a folder")
    try:
        entries = {entry.name for entry in folder.iterdir() if not _ASIDE.fullmatch(entry.name)}
    except OSError as error:
        raise UsageError(f"--output_dir {folder} cannot be read: {error.strerror}") from None
    record = _read_record(folder)
    if record is None:
        taken = sorted(
            name for name in entries if name in _RESULTS | {ADAPTER_FOLDER} or _CHECKPOINT_NAME.fullmatch(name)
        )
        if taken and overwrite:
            raise UsageError(
                f"--output_dir {folder} holds {taken[0]}, which is not of a run of this program; move it away"
            )
        if entries and not overwrite:
            raise UsageError(
                f"--output_dir {folder} holds something that is not a run of this program ({sorted(entries)[0]}); "
                "name another folder"
            )
        return Start("new")
    if overwrite:
        return Start("new", record)
    if explicit_resume:
        return Start("resume", record)
    before, now = _effective(record["arguments"]), _effective(arguments)
    odd = sorted(name for name in before.keys() | now.keys() if before.get(name) != now.get(name))
    if odd:
        changes = ", ".join(f"--{name} {before.get(name)} there, {now.get(name)} now" for name in odd[:4])
        raise UsageError(
            f"--output_dir {folder} holds a run with other arguments ({changes}); name another folder, or add "
            "--overwrite_output_dir"
        )
    return Start("finished" if record["status"] == "finished" else "resume", record)


class RunFolder:
    """A folder that this process holds: locked, writable, with its record."""

    def __init__(self, path: Path):
        """Make the folder and lock it; to be used in a ``with`` statement, which unlocks it.

        Raises:
            UsageError: if it cannot be made or written, or another run holds it.
        """
        self.path = path
        self._made = [p for p in (path, *path.parents) if not p.exists()]
        try:
            path.mkdir(parents=True, exist_ok=True)
            tempfile.TemporaryFile(dir=path).close()  # root may write where mode bits say no, and the reverse
            self._lock = os.open(path, os.O_RDONLY)
        except OSError as error:
            self._remove_made()
            raise UsageError(f"--output_dir {path} cannot be written: {error.strerror}") from None
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(self._lock)
            raise UsageError(f"--output_dir {path} is in use by another run; wait for it or name another") from None

    def __enter__(self) -> "RunFolder":
        return self

    def __exit__(self, *_) -> None:
        """Unlock, and remove the folder again if this process made it and it is still empty: input was refused."""
        os.close(self._lock)
        self._remove_made()

    def _remove_made(self) -> None:
        for path in self._made:
            try:
                path.rmdir()
            except OSError:
                return

    def write_record(self, record: dict[str, Any]) -> None:
        write_json(self.path / RECORD_FILE, record)

    def clear(self) -> None:
        """Remove what this program wrote here before, by name; foreign files stay, inside checkpoints too."""
        for entry in list(self.path.iterdir()):
            if entry.name in _RESULTS or _ASIDE.fullmatch(entry.name):
                entry.unlink()
            elif entry.is_dir() and not entry.is_symlink() and _CHECKPOINT_NAME.fullmatch(entry.name):
                _clear_checkpoint(entry)
            elif entry.name == ADAPTER_FOLDER and entry.is_dir() and not entry.is_symlink():
                _clear_adapter(entry)

    def newest_whole_checkpoint(self) -> tuple[Optional[Path], list[str]]:
        """The checkpoint to go on from, or None, and a line about each newer one, which is removed: it is not whole.

        Left where it is, it would count as the most recent one when old checkpoints are removed.
        """
        found = [(int(m[1]), p) for p in self.path.iterdir() if (m := _CHECKPOINT_NAME.fullmatch(p.name))]
        notes = []
        for _, path in sorted(found, reverse=True):
            flaw = flaw_of_checkpoint(path)
            if flaw is None:
                return path, notes
            notes.append(f"{path} is not whole ({flaw}): removed; going on from the one before it")
            _clear_checkpoint(path)
        return None, notes


def seal_checkpoint(path: Path) -> None:
    """Write the manifest that makes a checkpoint whole: the sha256 of each of its files, last of all."""
    (path / MANIFEST_FILE).unlink(missing_ok=True)
    files = sorted(p for p in path.rglob("*") if p.is_file() and not _ASIDE.fullmatch(p.name))
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
    except FileNotFoundError as error:
        return f"{Path(error.filename).name} is missing"
    except (OSError, ValueError, AttributeError):
        return "its manifest cannot be read"
    return None if manifest else "its manifest is empty"


def _read_record(folder: Path) -> Optional[dict[str, Any]]:
    try:
        record = json.loads((folder / RECORD_FILE).read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValueError):
        raise UsageError(f"{folder / RECORD_FILE} cannot be read; it is not a record of this program") from None
    if not isinstance(record, dict) or record.get("program") != PROGRAM or "arguments" not in record:
        raise UsageError(f"{folder / RECORD_FILE} is not a record of this program; name another --output_dir")
    return record


def _effective(arguments: dict[str, Any]) -> dict[str, Any]:
    plain = json.loads(json.dumps(arguments, default=str))
    return {
        name: value
        for name, value in plain.items()
        if not any(name == skip or (skip.endswith("_") and name.startswith(skip)) for skip in _WITHOUT_EFFECT)
    }


def _clear_checkpoint(folder: Path) -> None:
    _clear_adapter(folder / ADAPTER_FOLDER)
    _remove_files(folder, lambda name: name in _CHECKPOINT or _RNG_STATE.fullmatch(name))


def _clear_adapter(folder: Path) -> None:
    if folder.is_dir():
        _remove_files(folder, lambda name: name in _ADAPTER)


def _remove_files(folder: Path, ours) -> None:
    """Remove our files from a folder, and the folder itself if that leaves it empty."""
    for file in list(folder.iterdir()):
        if file.is_file() and (ours(file.name) or _ASIDE.fullmatch(file.name)):
            file.unlink()
    if not any(folder.iterdir()):
        folder.rmdir()
