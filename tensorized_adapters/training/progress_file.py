"""The file in a checkpoint about the progress of its training, beside the adapter and the Trainer's own files."""

from pathlib import Path
from typing import Any

from pydantic import BaseModel, FiniteFloat, ValidationError

from ..errors import UsageError
from ..runtime.files import content_of, write_json
from .losses import StepLosses

PROGRESS_FILE = "progress.json"


class Progress(BaseModel):
    """The arguments of the run, what each step measured, and the seconds of training in all starts of the run."""

    arguments: dict[str, Any]
    step_losses: list[FiniteFloat]
    gradient_norms: list[FiniteFloat]
    seconds: FiniteFloat


def write_progress(checkpoint: Path, arguments: dict[str, Any], losses: StepLosses, seconds: float) -> None:
    """Write the fields of :class:`Progress`."""
    measured = {"step_losses": losses.values, "gradient_norms": losses.norms, "seconds": seconds}
    write_json(checkpoint / PROGRESS_FILE, {"arguments": arguments} | measured)


def read_progress(checkpoint: Path) -> Progress:
    """Read the file of a checkpoint; raise UsageError if it cannot be read."""
    path = checkpoint / PROGRESS_FILE
    try:
        return Progress.model_validate_json(content_of(path))
    except ValidationError as error:
        flaw = error.errors()[0]
        raise UsageError(f"{path} is damaged: {'.'.join(map(str, flaw['loc']))}: {flaw['msg']}") from None
