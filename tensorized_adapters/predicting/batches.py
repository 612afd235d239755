"""Computes predictions for a stream of rows: in batches of similar lengths, with the results in order."""

import itertools
from collections.abc import Callable, Iterable, Iterator

import numpy as np
import torch
from torch.nn.utils import parametrize
from transformers import DataCollatorWithPadding, TextClassificationPipeline

from ..backbone.parts import with_ready_mask
from ..config import MULTI_LABEL, REGRESSION
from ..data.metrics import probabilities_of
from ..errors import RunFailed
from .rows import Texts

WINDOW = 50  # batches, as in training


def predicted(
    pipeline: TextClassificationPipeline,
    rows: Iterable[Texts],
    batch_size: int,
    progress: Callable[[int], object] = lambda count: None,
) -> Iterator[np.ndarray]:
    """Yield for each window of rows the labels' probabilities or the score, in order (rows x labels, float64).

    A window of WINDOW batches is computed and yielded before the next one is read, so that memory stays flat. After
    each batch ``progress`` is called with its number of rows. Raise RunFailed if an output is not finite.
    """
    done, rows = 0, iter(rows)
    while window := list(itertools.islice(rows, WINDOW * batch_size)):
        logits = _logits(pipeline, window, batch_size, progress)
        if not np.isfinite(logits).all():
            row = done + int(np.argmin(np.isfinite(logits).all(axis=1))) + 1
            advice = "the model or its adapter cannot be used as it is"
            raise RunFailed(f"an output of the model is NaN or infinite in row {row}; {advice}")
        done += len(window)
        config = pipeline.model.config
        if config.problem_type == REGRESSION:
            yield logits.astype(np.float64)
        else:  # as Transformers' pipeline does
            yield probabilities_of(logits, config.problem_type == MULTI_LABEL or config.num_labels == 1)


@torch.inference_mode()
@parametrize.cached()  # diff pruning adds its difference to the weights once a window, not in each pass
def _logits(
    pipeline: TextClassificationPipeline, window: list[Texts], batch_size: int, progress: Callable[[int], object]
) -> np.ndarray:
    """Return the logits of a window. The longest texts come first, so that memory runs out at once or never."""
    tokenizer, model = pipeline.tokenizer, pipeline.model
    encoded = tokenizer(*map(list, zip(*window)), truncation=True)
    order = np.argsort([-len(ids) for ids in encoded["input_ids"]], kind="stable")
    collate, outputs = DataCollatorWithPadding(tokenizer), []
    for indices in np.split(order, range(batch_size, len(order), batch_size)):
        batch = collate([{name: values[i] for name, values in encoded.items()} for i in indices])
        if pipeline.device.type == "cuda":
            batch = {name: values.pin_memory() for name, values in batch.items()}
        batch = {name: values.to(pipeline.device, non_blocking=True) for name, values in batch.items()}
        outputs.append(model(**with_ready_mask(model, batch)).logits)
        progress(len(indices))
    logits = torch.cat(outputs).float().cpu().numpy()  # once a window, so that each batch does not wait for the GPU
    return logits[np.argsort(order)]
