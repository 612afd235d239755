"""Callbacks that stop training early, decide when the Trainer saves, and seal and remove checkpoints."""

import math
from pathlib import Path
from typing import Optional

from tqdm.auto import tqdm
from transformers import EarlyStoppingCallback, TrainerCallback

from .checkpoints import best_checkpoint, checkpoint_at, copy_checkpoint, rotate_checkpoints, seal_checkpoint


class EarlyStopping(EarlyStoppingCallback):
    """Takes the counter of transformers' callback from the checkpoint when training resumes.

    The Trainer restores the state of callbacks only together with its own control flow, which would save and evaluate
    once more. ``stopped_at`` is the step after which it ended the training, or None.
    """

    stopped_at: Optional[int] = None

    @property
    def stopped(self) -> bool:
        """Return whether the metric has not improved for the allowed number of evaluations."""
        return self.early_stopping_patience_counter >= self.early_stopping_patience

    def on_train_begin(self, args, state, control, **kwargs) -> None:
        """Stop a training again before its next step if it had stopped when its checkpoint was saved."""
        name = type(self).__name__
        if kept := state.stateful_callbacks.get(name):
            self.early_stopping_patience_counter = kept["attributes"]["early_stopping_patience_counter"]
        state.stateful_callbacks[name] = self.state()  # the Trainer updates it; an old checkpoint may lack it
        control.should_training_stop = self.stopped

    def on_train_end(self, args, state, control, **kwargs) -> None:
        if self.stopped and state.global_step < state.max_steps:
            self.stopped_at = state.global_step
            step = f"step {self.stopped_at:,} of {state.max_steps:,}"
            tqdm.write(f"stopped early at {step}: the metric no longer improves")  # above the progress bar


class SaveAfterEvaluation(TrainerCallback):
    """Delays a save at an epoch's last step until after the evaluation, which a run resumed from it would skip."""

    waiting = False

    def on_step_end(self, args, state, control, train_dataloader=None, **kwargs) -> None:
        steps = math.ceil(len(train_dataloader) / args.gradient_accumulation_steps)
        if control.should_save and (state.global_step % steps == 0 or state.global_step >= state.max_steps):
            control.should_save, self.waiting = False, True

    def on_epoch_end(self, args, state, control, **kwargs) -> None:
        control.should_save = control.should_save or self.waiting
        self.waiting = False


class CompleteCheckpoints(TrainerCallback):
    """Seals each checkpoint, and only then removes old ones, so that one complete checkpoint always exists. ``limit``
    are kept; None keeps all. The Trainer's own rotation would remove foreign files too."""

    def __init__(self, limit: Optional[int]):
        self.limit = limit
        self.resumed_from: Optional[Path] = None  # set by the Trainer

    def on_train_begin(self, args, state, control, **kwargs) -> None:
        """Copy a resumed run's best checkpoint into this run's folder if training goes on from the checkpoint of
        another run, since that run may be removed before this one ends."""
        if state.best_global_step and args.load_best_model_at_end:
            best = best_checkpoint(self.resumed_from, state)
            here = checkpoint_at(Path(args.output_dir), state.best_global_step)
            if best.resolve() != here.resolve() and state.is_world_process_zero:
                copy_checkpoint(best, here)
            state.best_model_checkpoint = str(here)

    def on_save(self, args, state, control, **kwargs) -> None:
        if state.is_world_process_zero:
            seal_checkpoint(checkpoint_at(Path(args.output_dir), state.global_step))
            self._rotate(args, state)

    def on_train_end(self, args, state, control, **kwargs) -> None:
        """Remove old checkpoints once more, since a start that was killed after its last save may have left some."""
        if state.is_world_process_zero:
            self._rotate(args, state)

    def _rotate(self, args, state) -> None:
        rotate_checkpoints(Path(args.output_dir), self.limit, state.best_model_checkpoint)
