"""When the Trainer saves."""

import math

from transformers import TrainerCallback


class SaveAfterEvaluation(TrainerCallback):
    """Moves a save at the last step of an epoch behind the evaluation that follows it, as a resumed run skips both."""

    waiting = False

    def on_step_end(self, args, state, control, train_dataloader=None, **kwargs) -> None:
        steps = math.ceil(len(train_dataloader) / args.gradient_accumulation_steps)
        if control.should_save and (state.global_step % steps == 0 or state.global_step >= state.max_steps):
            control.should_save, self.waiting = False, True

    def on_epoch_end(self, args, state, control, **kwargs) -> None:
        control.should_save = control.should_save or self.waiting
        self.waiting = False
