"""The Trainer's checkpoints, which hold the trained parameters alone. checkpoints.py names their files."""

import os
import time
from pathlib import Path
from typing import Any, Optional

from transformers import Trainer, TrainerState
from transformers.trainer import TRAINER_STATE_NAME

from ..errors import UsageError
from ..runtime.files import read_json, write_json
from ..saving.load import load_adapter
from ..saving.save import save_adapter
from .callbacks import CompleteCheckpoints
from .checkpoints import (
    ADAPTER_FOLDER,
    ARGUMENTS_FILE,
    GRADIENT_NORMS_FILE,
    SECONDS_FILE,
    STEP_LOSSES_FILE,
    begin_checkpoint,
    best_checkpoint,
)
from .losses import StepLosses


class AdapterCheckpoints(Trainer):
    """The part of :class:`AdapterTrainer` that saves, loads and checks checkpoints."""

    # AdapterTrainer sets these:
    notes: dict[str, Any]  # kept in every saved adapter
    arguments: dict[str, Any]  # of the run, kept in every checkpoint
    losses: StepLosses
    seconds_before: float  # of training in earlier starts of the run
    began: float  # the time at which this start began to train
    _checkpoints: CompleteCheckpoints

    def train_seconds(self) -> float:
        """Return the seconds of training in all starts of the run together."""
        return round(self.seconds_before + time.time() - self.began, 3)

    def save_model(self, *args, **kwargs) -> None:
        """Save, then wait, since no process may write into a checkpoint's folder before rank 0 has made it."""
        super().save_model(*args, **kwargs)
        self.accelerator.wait_for_everyone()

    def _save_checkpoint(self, *args, **kwargs) -> None:
        """Save, then wait until all processes have written their random states, since the checkpoint is sealed
        next."""
        super()._save_checkpoint(*args, **kwargs)
        self.accelerator.wait_for_everyone()

    def _save(self, output_dir: Optional[str] = None, state_dict=None) -> None:
        """Write the adapter and the losses. The Trainer calls this in every process, and rank 0 writes."""
        if not self.args.should_save:
            return
        folder = Path(output_dir)
        begin_checkpoint(folder)
        save_adapter(self.model, folder / ADAPTER_FOLDER, self.notes)
        write_json(folder / STEP_LOSSES_FILE, self.losses.values)
        write_json(folder / GRADIENT_NORMS_FILE, self.losses.norms)
        write_json(folder / ARGUMENTS_FILE, self.arguments)
        write_json(folder / SECONDS_FILE, self.train_seconds())

    def check_checkpoint(self, checkpoint: Path) -> None:
        """Refuse a checkpoint from which training could not go on. The model has its trained values afterwards.

        The manifest reveals damage, so the contents are not checked again. Nothing is unpickled, since the Trainer
        reads them with ``torch.load(weights_only=True)``. Raise UsageError if it does not fit this training, or its
        best checkpoint is missing.
        """
        *_, max_steps = self.set_initial_training_values(self.args, self.get_train_dataloader())
        state = TrainerState.load_from_json(str(checkpoint / TRAINER_STATE_NAME))
        if not 0 < state.global_step <= max_steps:
            raise UsageError(
                f"{checkpoint} is of step {state.global_step}, and this training ends at step {max_steps}; raise "
                "--num_train_epochs or --max_steps, or evaluate it with --adapter_path"
            )
        if state.best_global_step and self.args.load_best_model_at_end:
            best_checkpoint(checkpoint, state)
        self._load_from_checkpoint(str(checkpoint))

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model=None) -> None:
        checkpoint = Path(resume_from_checkpoint)
        load_adapter(self.model, checkpoint / ADAPTER_FOLDER)
        self.losses.values = read_json(checkpoint / STEP_LOSSES_FILE, list)
        self.losses.norms = read_json(checkpoint / GRADIENT_NORMS_FILE, list)
        self.seconds_before = read_json(checkpoint / SECONDS_FILE, float)
        self._checkpoints.resumed_from = checkpoint

    def _load_best_model(self) -> None:
        load_adapter(self.model, os.path.join(self.state.best_model_checkpoint, ADAPTER_FOLDER))
