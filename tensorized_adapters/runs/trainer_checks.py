"""Checks that the Trainer makes without naming a flag, or only after an epoch."""

import contextlib
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Optional

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from ..arguments.flags import Arguments
from ..data.loading import Data
from ..data.metric_names import OF_PROBABILITIES, suiting
from ..data.tasks import Task
from ..errors import UsageError

# Words in the Trainer's messages, and the flags that they are about.
_ABOUT = (
    ("_schedule|num_decay_steps|lr_lambda", "--lr_scheduler_type and --lr_scheduler_kwargs"),
    ("[Oo]ptim|[Aa]dam|install", "--optim and --optim_args"),
)


def check_training(
    arguments: Arguments, data: Data, task: Task, tokenizer: PreTrainedTokenizerBase, model: PreTrainedModel
) -> None:
    """Refuse training arguments that do not suit the data, the task, its metrics, the tokenizer or the model (which
    may be without weights).

    Raises:
        UsageError: naming the flag.
    """
    training, kind = arguments.training, model.config.model_type
    _check_metric(training.metric_for_best_model, data, task)
    step = training.train_batch_size * training.gradient_accumulation_steps * training.world_size
    refused = (
        (
            task.labels is None and training.label_smoothing_factor,
            "--label_smoothing_factor is for classes, and these labels are scores; leave it out",
        ),
        (
            task.multi_label and training.label_smoothing_factor,
            "--label_smoothing_factor is for one class a text, and a text has several; leave it out",
        ),
        (
            task.multi_label and arguments.run.class_weights is not None,
            "--class_weights is for one class a text, and a text has several; leave it out",
        ),
        (
            training.dataloader_drop_last and data.train and len(data.train) < step,
            "--dataloader_drop_last leaves no step: the training set is smaller than the batch of one",
        ),
        (
            training.activation_checkpointing and not model.supports_gradient_checkpointing,
            f"--activation_checkpointing does not work with a {kind} model; leave it out",
        ),
        (
            # DeBERTa masks 16-bit scores with the lowest 32-bit number, which overflows.
            (training.bf16 or training.fp16) and kind == "deberta",
            "--bf16 and --fp16 do not work with a deberta model; leave them out",
        ),
        (
            # With padding on the left, positions, and so the hidden states, would depend on the batch.
            arguments.run.cache_frozen_prefix and tokenizer.padding_side != "right",
            "--cache_frozen_prefix needs a tokenizer that pads on the right",
        ),
    )
    for holds, message in refused:
        if holds:
            raise UsageError(message)


def _check_metric(name: Optional[str], data: Data, task: Task) -> None:
    known = {"loss", *task.measured, *(() if task.multi_label else suiting(task.labels))}
    if name is not None and name.removeprefix("eval_") not in known:
        raise UsageError(f"--metric_for_best_model {name} is unknown here; known: {', '.join(sorted(known))}")
    examples = next(iter(data.evaluation.values()), None)
    if name is not None and name.removeprefix("eval_") in OF_PROBABILITIES and examples is not None:
        if len(set(examples["label"])) < 2:
            raise UsageError(f"--metric_for_best_model {name} needs evaluated examples of two classes; name another")


def usable_cache_folder(folder: str) -> Path:
    """Return the folder of ``--prefix_cache_dir``, which is made if it is missing. A test file is written and removed.

    Raises:
        UsageError: if it cannot be made or written.
    """
    path = Path(folder).expanduser()
    try:
        path.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=path).close()
    except (OSError, RuntimeError) as error:  # RuntimeError if the home is not known
        reason = getattr(error, "strerror", None) or error
        raise UsageError(f"--prefix_cache_dir {path} cannot be written: {reason}; name another folder") from None
    return path


@contextlib.contextmanager
def refused_by_the_trainer() -> Iterator[None]:
    """Turn an error of the Trainer, the optimizer or the schedule, while it is built, into one line."""
    try:
        yield
    except (ValueError, TypeError, KeyError, ImportError, AttributeError, OSError) as error:
        text = str(error) or type(error).__name__
        hint = next((f"; see {flags}" for word, flags in _ABOUT if re.search(word, text)), "")
        raise UsageError(f"refused by the Trainer: {text}{hint}") from None
