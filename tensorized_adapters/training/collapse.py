"""Detects during training that the model has collapsed to a constant prediction."""

import math
import statistics
from collections.abc import Callable, Sequence
from typing import Optional

import numpy as np
from scipy.special import entr, xlogy
from transformers import TrainerCallback

from .losses import StepLosses

TOLERANCE = 0.02  # how far the loss may be below the best constant prediction's, relative to it
FALL = 0.1  # the median gradient norm must be below this share of the largest one so far
SHORTEST_WINDOW = 10  # steps
HELPFUL_EPSILON = 1e-3  # of Adam: the steps of a vanishing gradient stay short, so the model can recover
CHECKS = 3  # checks in a row that must agree. They are half a window apart, so the first and the last share no step


def loss_of_best_constant(
    labels: Sequence[float],
    classes: Optional[int],
    smoothing: float = 0.0,
    weights: Optional[Sequence[float]] = None,
) -> float:
    """Return the least mean loss of a prediction that is the same for every example.

    For classes that is the cross-entropy of the label frequencies, for scores the squared error of their mean,
    and for several labels a text the mean binary cross-entropy of each label's frequency.

    Args:
        labels: class ids or scores of the training set, or 0 and 1 for each label.
        classes: their number; None for scores.
        smoothing: ``--label_smoothing_factor``, under which a label is partly every class.
        weights: of the classes, with ``--class_weights``; all the same if not given.
    """
    if classes is None:
        return float(np.var(labels))
    if np.ndim(labels) == 2:
        shares = np.mean(labels, axis=0)
        return float(np.mean(entr(shares) + entr(1 - shares)))
    frequencies, weights = np.bincount(labels, minlength=classes) / len(labels), np.asarray(weights or [1.0] * classes)
    shares = weights * ((1 - smoothing) * frequencies + smoothing / classes) / (weights @ frequencies)
    # The shares add up to one only if all classes weigh the same, or without smoothing.
    return float(-xlogy(shares, shares / shares.sum()).sum())


class CollapseGuard(TrainerCallback):
    """Prints once that the training has collapsed, and at which step.

    A collapsed training has, in the last tenth of the steps, a mean loss no better than a constant prediction's, and
    almost no gradient, at three checks in a row. A training that has not begun to learn still has a gradient. The
    checks are at fixed steps, from a third of the training on, so that a resumed run finds the same step. They read
    no number from the device. With ``--fp16`` there are no checks, because there are no gradient norms.

    ``losses`` must be added to the Trainer first; ``constant`` is the loss of the best constant prediction, and
    ``step`` the step at which the training was found to have collapsed, or None.
    """

    def __init__(self, losses: StepLosses, constant: float, say: Callable[[str], None]):
        self.step: Optional[int] = None
        self._losses, self._constant, self._say = losses, constant, say
        self._looked = self._in_a_row = 0

    def on_step_end(self, args, state, control, **kwargs) -> None:
        losses, norms = self._losses.values, self._losses.norms
        if self.step is not None or len(losses) == self._looked or len(norms) != len(losses):
            return
        window = max(SHORTEST_WINDOW, state.max_steps // 10)
        distance = max(1, state.max_steps // 20)
        for step in range(max(window, math.ceil(state.max_steps / 3), self._looked + 1), len(losses) + 1):
            if step % distance and step != state.max_steps:
                continue
            loss, norm = statistics.fmean(losses[step - window : step]), statistics.median(norms[step - window : step])
            largest = max(norms[:step])
            vanished = loss >= (1 - TOLERANCE) * self._constant and norm < FALL * largest
            self._in_a_row = self._in_a_row + 1 if vanished else 0
            if self._in_a_row == CHECKS:
                self.step = step
                where = f"by step {step:,} of {state.max_steps:,}"
                advice = f"try a lower --learning_rate than {args.learning_rate:g}"
                if "adam" in args.optim:
                    advice += ", or --optim adafactor"
                    if args.adam_epsilon < HELPFUL_EPSILON:
                        advice += f", or --adam_epsilon {HELPFUL_EPSILON:g}"
                self._say(
                    f"note: the training has collapsed to a constant prediction {where}: the loss is {loss:.3g}, a "
                    f"constant's {self._constant:.3g}, and the gradient norm fell from {largest:.2g} to {norm:.2g}; "
                    f"{advice}"
                )
                return
        self._looked = len(losses)

    on_epoch_end = on_step_end
