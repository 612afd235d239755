"""The output folder of a run: who may start in it, what a second start does, which checkpoints are whole.

| folder holds               | same arguments                          | other arguments                |
|----------------------------|-----------------------------------------|--------------------------------|
| nothing                    | starts                                  | starts                         |
| an unfinished run          | goes on from the newest whole checkpoint | refused, naming the difference |
| a finished run             | its results again, nothing touched      | refused, likewise              |
| anything that is not a run | refused                                 | refused                        |
"""

import fcntl
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Optional

from ..data.tasks import TASKS
from ..errors import UsageError
from ..runtime.exits import TRACEBACK_FILE
from ..runtime.files import remove_empty, write_json
from ..saving import ADAPTER_FILES
from ..training.checkpoints import (
    ADAPTER_FOLDER,
    CHECKPOINT_NAME,
    checkpoints_in,
    clear_checkpoint,
    clear_folder,
    is_aside,
    remove_remains,
)
from .read_record import read_record
from .same_run import differences

RECORD_FILE = "run.json"
RESULTS_FILE = "all_results.json"
EVALUATION_FILE = "eval_predictions{suffix}.tsv"

# Every name that this program writes into a run folder: what --overwrite_output_dir may remove.
_RESULTS = {RECORD_FILE, RESULTS_FILE, TRACEBACK_FILE}
_PREDICTIONS = {f"{name}.tsv" for task in TASKS.values() for name, _ in task.prediction_sets} | {"predictions.tsv"}
_PREDICTIONS |= {EVALUATION_FILE.format(suffix=suffix) for suffix in ("", "_mm")}
_SHARED = Path("/tmp").resolve()  # where the published command writes, whose /tmp/$TASK_NAME/ is /tmp// as it stands
_FILES = _RESULTS | _PREDICTIONS | ADAPTER_FILES


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
    try:
        if not folder.exists():
            return Start("new")
        if not folder.is_dir():
            raise UsageError(f"--output_dir {folder} is a file; name a folder")
        entries = {entry.name for entry in folder.iterdir() if not is_aside(entry, _FILES)}
    except OSError as error:
        raise UsageError(f"--output_dir {folder} cannot be read: {error.strerror}") from None
    record = _read_record(folder)
    if record is None:
        taken = sorted(name for name in entries if is_ours(name))
        if taken and overwrite:
            raise UsageError(
                f"--output_dir {folder} holds {taken[0]}, which is not of a run of this program; move it away"
            )
        if entries and not overwrite:
            raise UsageError(
                f"--output_dir {folder} holds something that is not a run of this program ({sorted(entries)[0]}); "
                "name another folder"
            )
        foreign = sorted(name for name in entries if not name.startswith("."))
        if foreign and folder.resolve() != _SHARED:
            raise UsageError(
                f"--output_dir {folder} holds files that are not of this program ({foreign[0]}), also with "
                "--overwrite_output_dir; name a folder of the run's own"
            )
        return Start("new")
    if overwrite:
        return Start("new", record)
    if explicit_resume:
        return Start("resume", record)
    try:
        odd = differences(record["arguments"], arguments)
    except UsageError as error:
        raise UsageError(f"{folder / RECORD_FILE}: {error}; name another --output_dir") from None
    if odd:
        raise UsageError(
            f"--output_dir {folder} holds a run with other arguments ({', '.join(odd[:4])}); name another folder, or "
            "add --overwrite_output_dir"
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
        self._made: list[Path] = []
        try:
            self._made = [p for p in (path, *path.parents) if not p.exists()]
            path.mkdir(parents=True, exist_ok=True)
            tempfile.TemporaryFile(dir=path).close()  # root may write where mode bits say no, and the reverse
            self._lock: Optional[int] = os.open(path, os.O_RDONLY)
        except OSError as error:
            remove_empty(self._made)
            raise UsageError(f"--output_dir {path} cannot be written: {error.strerror}") from None
        # A data-loading worker that outlives a killed run must not keep its lock.
        os.register_at_fork(after_in_child=self._forget_lock)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self._forget_lock()
            raise UsageError(f"--output_dir {path} is in use by another run; wait for it or name another") from None

    def __enter__(self) -> "RunFolder":
        return self

    def __exit__(self, *_) -> None:
        """Unlock, and remove the folder again if this process made it and it is still empty: input was refused."""
        self._forget_lock()
        remove_empty(self._made)

    def _forget_lock(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def write_record(self, record: dict[str, Any]) -> None:
        write_json(self.path / RECORD_FILE, record)

    def clear(self, record: Optional[dict[str, Any]]) -> None:
        """Remove what a run wrote here, by name; foreign files stay, inside checkpoints too.

        Args:
            record: that run's, which lists the predictions it wrote. Its file stays, and says from the first moment
                that nothing of the run is left: a kill on the way leaves a folder that is still known as a run's.
        """
        if record is None:
            return
        self.write_record(record | {"status": "removed"})
        for checkpoint in checkpoints_in(self.path):
            clear_checkpoint(checkpoint)
        clear_folder(self.path / ADAPTER_FOLDER, ADAPTER_FILES)
        written = set(record.get("files", ())) & _PREDICTIONS
        for name in sorted(written | {RESULTS_FILE, TRACEBACK_FILE}):
            if (self.path / name).is_file():
                (self.path / name).unlink()

    def remove_remains(self) -> None:
        """Remove what a kill left half written or half removed."""
        remove_remains(self.path)
        for folder in (self.path, self.path / ADAPTER_FOLDER):
            for entry in list(folder.iterdir()) if folder.is_dir() else ():
                if is_aside(entry, _FILES):
                    entry.unlink()


def is_ours(name: str) -> bool:
    """Whether a run folder's entry of this name is one that a run writes."""
    return name in _RESULTS | _PREDICTIONS | {ADAPTER_FOLDER} or bool(CHECKPOINT_NAME.fullmatch(name))


def _read_record(folder: Path) -> Optional[dict[str, Any]]:
    path = folder / RECORD_FILE
    if not os.path.lexists(path):
        return None
    try:
        return read_record(path)
    except UsageError as error:
        raise UsageError(f"{path} cannot be read: {error}; name another --output_dir") from None
