"""Makes evaluation and prediction fail if an output or a metric is not finite.

Otherwise a score that was computed from NaN would look like any other score.
"""

from collections.abc import Callable
from typing import Optional

import numpy as np
from datasets import Dataset
from transformers import EvalPrediction, Trainer
from transformers.trainer_utils import EvalLoopOutput

from ..errors import RunFailed
from ..runtime.distributed import raised_by_all
from .batch_shares import cut, filled_up
from .losses import ADVICE
from .progress import LiveOutput

# The use of the examples, by the prefix of its metrics' names, for messages.
_MEASURED = {"eval": "evaluation", "train": "evaluation on the training set", "predict": "prediction"}


class FiniteOutputs(Trainer):
    """The part of :class:`AdapterTrainer` that evaluates and predicts."""

    # AdapterTrainer sets these:
    _live: LiveOutput  # names what is being measured
    _metrics_of: Callable[[EvalPrediction], dict[str, float]]  # computes the metrics of finite outputs

    _of_training: Optional[tuple[int, EvalLoopOutput]] = None  # step and output of the newest evaluation in training

    def evaluation_loop(self, dataloader, description, *args, metric_key_prefix="eval", **kwargs) -> EvalLoopOutput:
        """Run the Trainer's loop; raise RunFailed if an output of the model, its loss or a metric is not finite."""
        self._live.doing = metric_key_prefix
        output = super().evaluation_loop(dataloader, description, *args, metric_key_prefix=metric_key_prefix, **kwargs)
        # Outputs are checked here too, since no metrics are computed for a set without labels.
        for name, value in {"an output of the model": output.predictions, **output.metrics}.items():
            self._check_finite(value, name)
        if self.is_in_train and description == "Evaluation":  # a callback's predictions may be of other parameters
            self._of_training = self.state.global_step, output
        return output

    def evaluated(self, examples: Dataset) -> EvalLoopOutput:
        """Return predictions, labels and metrics of an evaluation set. If training ended with an evaluation of it, and
        the model has not changed since, they are taken from there, because a second pass would give the same bits."""
        args = self.args
        step, output = self._of_training or (None, None)
        changed = args.load_best_model_at_end or args.bf16_full_eval or args.fp16_full_eval
        if changed or step != self.state.global_step or examples is not self.eval_dataset:
            return self.predict(examples, metric_key_prefix="eval")
        return output._replace(metrics={n: value for n, value in output.metrics.items() if n.startswith("eval_")})

    def prediction_step(self, model, inputs, prediction_loss_only, ignore_keys=None) -> tuple:
        """Run the Trainer's step, and keep the logits alone of a model's outputs. In several processes the last batch
        is filled up, so its loss is taken over its own examples."""
        state, size = self.accelerator.gradient_state, len(next(iter(inputs.values())))
        if self.args.world_size > 1 and state.end_of_dataloader and state.remainder > 0:
            inputs = cut(inputs, min(state.remainder - self.args.process_index * size, size))
        loss, logits, labels = super().prediction_step(model, inputs, prediction_loss_only, ignore_keys)
        logits = logits[0] if isinstance(logits, tuple) else logits
        return loss, filled_up(logits, size), filled_up(labels, size)

    def _metrics_of_numbers(self, output: EvalPrediction) -> dict[str, float]:
        self._check_finite(output.predictions, "an output of the model")
        return self._metrics_of(output)

    def _check_finite(self, values: np.ndarray | float, name: str) -> None:
        if not np.isfinite(values).all():
            advice = ADVICE if self.args.do_train else "the model or its adapter cannot be used as it is"
            raise raised_by_all(RunFailed(f"{name} is NaN or infinite in {_MEASURED[self._live.doing]}; {advice}"))
