"""The files about the progress of a training that are in its checkpoints, beside the adapter: ours, and the Trainer's
state, which is checked before a training goes on from it."""

from pathlib import Path
from typing import Any

from transformers import TrainerState
from transformers.trainer import TRAINER_STATE_NAME

from ..errors import UsageError
from ..runtime.files import read_json, write_json
from .checkpoints import ARGUMENTS_FILE, GRADIENT_NORMS_FILE, SECONDS_FILE, STEP_LOSSES_FILE, best_checkpoint
from .losses import StepLosses


def write_progress(checkpoint: Path, arguments: dict[str, Any], losses: StepLosses, seconds: float) -> None:
    """Write the arguments of the run, its losses and gradient norms by step, and its ``seconds`` of training."""
    write_json(checkpoint / STEP_LOSSES_FILE, losses.values)
    write_json(checkpoint / GRADIENT_NORMS_FILE, losses.norms)
    write_json(checkpoint / ARGUMENTS_FILE, arguments)
    write_json(checkpoint / SECONDS_FILE, seconds)


def read_progress(checkpoint: Path, losses: StepLosses) -> float:
    """Fill the losses and gradient norms, and return the seconds of training."""
    losses.values = read_json(checkpoint / STEP_LOSSES_FILE, list)
    losses.norms = read_json(checkpoint / GRADIENT_NORMS_FILE, list)
    return read_json(checkpoint / SECONDS_FILE, float)


def check_state(checkpoint: Path, max_steps: int, needs_best: bool) -> None:
    """Raise UsageError if the checkpoint is of a later step than the last one, or if the best checkpoint so far is
    needed and missing."""
    state = TrainerState.load_from_json(str(checkpoint / TRAINER_STATE_NAME))
    if not 0 < state.global_step <= max_steps:
        raise UsageError(
            f"{checkpoint} is of step {state.global_step}, and this training ends at step {max_steps}; raise "
            "--num_train_epochs or --max_steps, or evaluate it with --adapter_path"
        )
    if state.best_global_step and needs_best:
        best_checkpoint(checkpoint, state)
