"""Decides which run may start in an output folder, and what a second start does.

| folder holds               | same arguments                              | other arguments                |
|----------------------------|---------------------------------------------|--------------------------------|
| nothing                    | starts                                      | starts                         |
| an unfinished run          | goes on from the newest complete checkpoint | refused, naming the difference |
| a finished run             | shows its results, changes nothing          | refused, naming the difference |
| anything that is not a run | refused                                     | refused                        |
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Optional

from ..data.tasks import TASKS
from ..errors import UsageError
from ..runtime.exits import TRACEBACK_FILE
from ..runtime.files import write_json
from ..saving import ADAPTER_FILES
from ..training.checkpoints import (
    ADAPTER_FOLDER,
    CHECKPOINT_NAME,
    checkpoints_in,
    clear_checkpoint,
    clear_folder,
    is_temporary,
    remove_remains,
)
from .read_record import read_record
from .same_run import differences

RECORD_FILE = "run.json"
RESULTS_FILE = "all_results.json"
EVALUATION_FILE = "eval_predictions{suffix}.tsv"

# Every name that this program writes into a run folder. --overwrite_output_dir removes only these.
_RESULTS = {RECORD_FILE, RESULTS_FILE, TRACEBACK_FILE}
_PREDICTIONS = {f"{name}.tsv" for task in TASKS.values() for name, _ in task.prediction_sets} | {"predictions.tsv"}
_PREDICTIONS |= {EVALUATION_FILE.format(suffix=suffix) for suffix in ("", "_mm")}
_FILES = _RESULTS | _PREDICTIONS | ADAPTER_FILES
_SHARED = Path("/tmp").resolve()  # The published command's /tmp/$TASK_NAME/ is /tmp// if TASK_NAME is not set.


@dataclass
class Start:
    """How a run starts in a folder."""

    kind: Literal["new", "resume", "finished"]
    record: Optional[dict[str, Any]] = None  # of the run in the folder


def inspect_folder(
    folder: Path, arguments: dict[str, Any], *, overwrite: bool = False, explicit_resume: bool = False
) -> Start:
    """Return how a run starts in ``folder`` (table above); raise UsageError if it cannot. Nothing is written."""
    names = {entry.name for entry in entries_of(folder) if not is_temporary(entry, _FILES)}
    if RECORD_FILE not in names:
        if overwrite:
            _check_nothing_foreign(folder, names)
        elif names:
            raise UsageError(
                f"--output_dir {folder} holds something that is not a run of this program ({min(names)}); "
                "name another folder"
            )
        return Start("new")
    try:
        record = read_record(folder / RECORD_FILE)
    except UsageError as error:
        raise UsageError(f"{folder / RECORD_FILE} cannot be read: {error}; name another --output_dir") from None
    if overwrite:
        return Start("new", record)
    if explicit_resume:
        return Start("resume", record)
    if changed := differences(record["arguments"], arguments):
        raise UsageError(
            f"--output_dir {folder} holds a run with other arguments ({', '.join(changed[:4])}); give those "
            "arguments to go on with it, name another folder, or add --overwrite_output_dir"
        )
    return Start("finished" if record["status"] == "finished" else "resume", record)


def entries_of(folder: Path) -> list[Path]:
    """Return what is in the folder of ``--output_dir``, sorted. Raise UsageError if it is a file or unreadable."""
    try:
        if not folder.exists():
            return []
        if not folder.is_dir():
            raise UsageError(f"--output_dir {folder} is a file; name a folder")
        return sorted(folder.iterdir())
    except OSError as error:
        raise UsageError(f"--output_dir {folder} cannot be read: {error.strerror}") from None


def _check_nothing_foreign(folder: Path, names: set[str]) -> None:
    """Raise UsageError if a folder without a record holds files, since they may be the user's."""
    if taken := sorted(name for name in names if is_ours(name)):
        raise UsageError(f"--output_dir {folder} holds {taken[0]}, which no run of this program wrote; move it away")
    foreign = sorted(name for name in names if not name.startswith("."))
    if foreign and folder.resolve() != _SHARED:
        raise UsageError(
            f"--output_dir {folder} holds files that are not of this program ({foreign[0]}), also with "
            "--overwrite_output_dir; name a folder of the run's own"
        )


def clear_run(folder: Path, record: Optional[dict[str, Any]]) -> None:
    """Remove what the run of a record wrote, by name; foreign files stay, inside checkpoints too. The record stays and
    says "removed" first, so that the folder still counts as a run's after a kill in between."""
    if record is None:
        return
    write_json(folder / RECORD_FILE, record | {"status": "removed"})
    for checkpoint in checkpoints_in(folder):
        clear_checkpoint(checkpoint)
    clear_folder(folder / ADAPTER_FOLDER, ADAPTER_FILES)
    written = set(record.get("files", ())) & _PREDICTIONS
    for name in sorted(written | {RESULTS_FILE, TRACEBACK_FILE}):
        if (folder / name).is_file():
            (folder / name).unlink()


def clear_remains(folder: Path) -> None:
    """Remove files that a killed process left incomplete, and its traceback."""
    remove_remains(folder)
    for parent in (folder, folder / ADAPTER_FOLDER):
        for entry in list(parent.iterdir()) if parent.is_dir() else ():
            if is_temporary(entry, _FILES):
                entry.unlink()
    (folder / TRACEBACK_FILE).unlink(missing_ok=True)


def is_ours(name: str) -> bool:
    """Return whether a run writes a file or folder of this name."""
    return name in _RESULTS | _PREDICTIONS | {ADAPTER_FOLDER} or bool(CHECKPOINT_NAME.fullmatch(name))
