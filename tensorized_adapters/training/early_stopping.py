"""Early stopping that goes on counting after a resume."""

from transformers import EarlyStoppingCallback


class EarlyStopping(EarlyStoppingCallback):
    """transformers' callback, whose counter is taken from the checkpoint that a training goes on from.

    The Trainer restores the state of callbacks only together with its own control flow, which would save and evaluate
    once more.
    """

    @property
    def stopped(self) -> bool:
        """Return whether the metric has not improved for the allowed number of evaluations."""
        return self.early_stopping_patience_counter >= self.early_stopping_patience

    def on_train_begin(self, args, state, control, **kwargs) -> None:
        """Stop a training again before its next step if it had stopped when its checkpoint was saved."""
        name = type(self).__name__
        if kept := state.stateful_callbacks.get(name):
            self.early_stopping_patience_counter = kept["attributes"]["early_stopping_patience_counter"]
        state.stateful_callbacks[name] = self.state()  # the Trainer writes into it, and the checkpoint may lack it
        control.should_training_stop = self.stopped
