"""Callbacks that decide when the Trainer saves, and that seal and remove checkpoints."""

import math
from pathlib import Path
from typing import Optional

import torch
from transformers import TrainerCallback
from transformers.trainer_pt_utils import safe_globals

from .checkpoint_checks import best_checkpoint
from .checkpoints import checkpoint_at, copy_checkpoint, random_states_in, rotate_checkpoints, seal_checkpoint


class SaveAfterEvaluation(TrainerCallback):
    """Moves a save at the last step of an epoch behind the evaluation, because a run resumed in between would skip
    it."""

    waiting = False

    def on_step_end(self, args, state, control, train_dataloader=None, **kwargs) -> None:
        steps = math.ceil(len(train_dataloader) / args.gradient_accumulation_steps)
        if control.should_save and (state.global_step % steps == 0 or state.global_step >= state.max_steps):
            control.should_save, self.waiting = False, True

    def on_epoch_end(self, args, state, control, **kwargs) -> None:
        control.should_save = control.should_save or self.waiting
        self.waiting = False


class CompleteCheckpoints(TrainerCallback):
    """Seals each checkpoint, and only then removes old ones, so that one complete checkpoint always exists.

    Args:
        limit: how many are kept; None keeps all. The Trainer's own rotation would remove foreign files too.
    """

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
        if not state.is_world_process_zero:
            return
        checkpoint = checkpoint_at(Path(args.output_dir), state.global_step)
        for path in random_states_in(checkpoint):
            _rewrite_rng_state(path)
        seal_checkpoint(checkpoint)
        rotate_checkpoints(Path(args.output_dir), self.limit, state.best_model_checkpoint)


def _rewrite_rng_state(path: Path) -> None:
    """Store NumPy's array as plain numbers, so that ``torch.load(weights_only=True)`` can read it."""
    with safe_globals():
        states = torch.load(path, weights_only=True)
    name, keys, *rest = states["numpy"]
    torch.save(states | {"numpy": (name, [int(key) for key in keys], *rest)}, path)
