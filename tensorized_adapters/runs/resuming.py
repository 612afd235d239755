"""Chooses the checkpoint that a run goes on from."""

import sys
from pathlib import Path
from typing import Any, Optional

from ..arguments.flags import Arguments
from ..errors import UsageError
from ..runtime.files import sha256_of
from ..saving.load import check_adapter_fits
from ..saving.manifest import read_adapter
from ..training.checkpoints import (
    ADAPTER_FOLDER,
    MANIFEST_FILE,
    flaw_of_checkpoint,
    newest_complete_checkpoint,
    step_of,
)
from ..training.progress_file import read_progress
from ..training.trainer import AdapterTrainer
from .folder import Start
from .same_run import contradictions, differences


def _named_checkpoint(arguments: Arguments) -> Optional[Path]:
    """Return the checkpoint that ``--resume_from_checkpoint`` names, or None if it names none ("true": the newest)."""
    value = arguments.training.resume_from_checkpoint
    return Path(value) if value and value.lower() != "true" else None


def check_named_checkpoint(arguments: Arguments) -> None:
    """Refuse ``--resume_from_checkpoint`` if it names an incomplete checkpoint; raise UsageError."""
    named = _named_checkpoint(arguments)
    if named and (flaw := flaw_of_checkpoint(named)):
        raise UsageError(f"--resume_from_checkpoint {named} is not a complete checkpoint: {flaw}")


def resumes_in(folder: Path, arguments: Arguments) -> bool:
    """Return whether ``--resume_from_checkpoint`` means a checkpoint of this folder, whose run then goes on, under
    other arguments too. A checkpoint of another folder does not permit replacing the run in this one."""
    named = _named_checkpoint(arguments)
    if named is None:
        return arguments.training.resume_from_checkpoint is not None
    return named.resolve().parent == folder.resolve()


def choose_checkpoint(
    arguments: Arguments, resolved: dict[str, Any], start: Start
) -> tuple[Optional[Path], list[str], Optional[dict[str, str]]]:
    """Choose the checkpoint to resume from.

    Without ``--resume_from_checkpoint`` it is this folder's newest complete one that was trained under this run's
    arguments; lines say which newer ones are skipped. If the flag names a checkpoint of another folder, a later one of
    this folder is taken instead, since it shows that the same command was interrupted before.

    Returns:
        The checkpoint or None, notes on how its training differs from this run, and ``started_from``: path and sha256
        of a checkpoint that was trained under other arguments, if this run began from one.

    Raises:
        UsageError: if the checkpoint cannot be read, or cannot go on under this run's arguments.
    """
    named, folder = _named_checkpoint(arguments), Path(arguments.training.output_dir)
    checkpoint, in_this_folder = named, resumes_in(folder, arguments)
    if start.kind == "resume" and arguments.training.do_train and not (named and in_this_folder):
        newest, skipped = newest_complete_checkpoint(
            folder, lambda before: in_this_folder or not differences(before, resolved)
        )
        for note in skipped:
            print(f"note: {note}", file=sys.stderr)
        if named is None or (newest and step_of(newest) > step_of(named)):
            print(f"going on from {newest}" if newest else "no complete checkpoint yet: starting from zero")
            checkpoint = newest
    if checkpoint is None:
        return None, [], None
    return checkpoint, *_differences(checkpoint, resolved, folder)


def check_checkpoint(trainer: AdapterTrainer, checkpoint: Path) -> None:
    """Refuse a checkpoint whose adapter or training state does not fit the Trainer's model; raise UsageError."""
    adapter = read_adapter(checkpoint / ADAPTER_FOLDER)
    check_adapter_fits(trainer.model, *adapter, checkpoint, labels="same names")
    if trainer.args.do_train:
        trainer.check_checkpoint(checkpoint)


def _differences(
    checkpoint: Path, resolved: dict[str, Any], folder: Path
) -> tuple[list[str], Optional[dict[str, str]]]:
    """Return notes on arguments that differ, and ``started_from``, which later checkpoints of the run keep. Refuse a
    difference that the state of the optimizer would override."""
    advice = f"start from its adapter with --adapter_path {checkpoint / ADAPTER_FOLDER} and another --output_dir"
    arguments = read_progress(checkpoint).arguments
    if fixed := contradictions(arguments, resolved):
        raise UsageError(
            f"{checkpoint} restores the optimizer's state, which overrides these arguments ({', '.join(fixed[:4])}); "
            f"give them as they are there to go on, or {advice}"
        )
    notes, started_from = [], arguments.get("started_from")
    if found := differences(arguments, resolved):
        manifest, changed = checkpoint.resolve() / MANIFEST_FILE, ", ".join(found[:4])
        started_from = {"checkpoint": str(manifest.parent), "sha256": sha256_of(manifest)}
        if manifest.parent.parent == folder.resolve():  # a report averages seeds that went on in the same way
            started_from = {"checkpoint": f"{checkpoint.name} ({changed})"}
        notes.append(f"{checkpoint} was trained under other arguments ({changed})")
    if (there := arguments.get("processes", 1)) != (here := resolved["processes"]):
        notes.append(
            f"{checkpoint} was trained in {there} process(es), this run has {here}: sums are rounded otherwise, and "
            "dropout is drawn anew"
        )
    return notes, started_from
