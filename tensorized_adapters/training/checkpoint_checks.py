"""Checks of a checkpoint before a resumed run trains: the Trainer's state, losses, the best checkpoint.

The manifest reveals damage (checkpoints.flaw_of_checkpoint), so the contents are not checked again here. A state that
somebody changed and sealed again is refused where it is loaded. Nothing in it is unpickled, since the Trainer reads it
with ``torch.load(weights_only=True)``.
"""

from pathlib import Path

from transformers import TrainerState
from transformers.trainer import TRAINER_STATE_NAME

from ..errors import UsageError
from .checkpoints import checkpoint_at, flaw_of_checkpoint


def read_trainer_state(checkpoint: Path, max_steps: int) -> TrainerState:
    """Return the Trainer's own state.

    Raises:
        UsageError: if training would be over before that step, since it ends at ``max_steps``.
    """
    state = TrainerState.load_from_json(str(checkpoint / TRAINER_STATE_NAME))
    if not 0 < state.global_step <= max_steps:
        raise UsageError(
            f"{checkpoint} is of step {state.global_step}, and this training ends at step {max_steps}; raise "
            "--num_train_epochs or --max_steps, or evaluate it with --adapter_path"
        )
    return state


def best_checkpoint(checkpoint: Path, state: TrainerState) -> Path:
    """Return the checkpoint that was the best when ``checkpoint`` was saved. It is expected in the same folder.

    Raises:
        UsageError: if it is missing or incomplete.
    """
    if state.best_global_step == state.global_step:
        return checkpoint
    best = checkpoint_at(checkpoint.parent, state.best_global_step)
    if flaw := flaw_of_checkpoint(best):
        raise UsageError(
            f"the best checkpoint so far, {best}, is not complete ({flaw}); leave --load_best_model_at_end out, or "
            "start the run anew"
        )
    return best
