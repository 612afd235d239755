"""Ends a run for numbers of an evaluation that are not finite, since a score of NaN would look like any other."""

import numpy as np

from ..errors import RunFailed
from ..runtime.distributed import raised_by_all
from .live_output import MEASURING

ADVICE = "try a lower --learning_rate; checkpoints that were saved before are kept"


def check_finite(values: np.ndarray | float, name: str, prefix: str, trained: bool) -> None:
    """Raise RunFailed if one of the values is NaN or infinite.

    Args:
        name: of the values, for the message.
        prefix: of the metrics' names: "eval", "train" or "predict".
        trained: whether this run trained the model, which decides the advice.
    """
    if not np.isfinite(values).all():
        advice = ADVICE if trained else "the model or its adapter cannot be used as it is"
        raise raised_by_all(RunFailed(f"{name} is NaN or infinite while {MEASURING[prefix]}; {advice}"))
