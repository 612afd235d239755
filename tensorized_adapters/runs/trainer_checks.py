"""Checks that the Trainer makes without naming a flag, or only after an epoch."""

import contextlib
import os
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from ..arguments.flags import Arguments
from ..data.loading import Data
from ..data.metric_names import PROBABILITY_METRICS, metrics_for
from ..data.tasks import Task
from ..errors import UsageError, reason_of
from ..runtime.files import make_folder, refusing_unwritable

# Words in the Trainer's messages, and the flags that they are about.
_ABOUT = (
    ("_schedule|num_decay_steps|lr_lambda", "--lr_scheduler_type and --lr_scheduler_kwargs"),
    ("[Oo]ptim|[Aa]dam|install", "--optim and --optim_args"),
)


def flaws_of_training(
    arguments: Arguments, data: Data, task: Task, tokenizer: PreTrainedTokenizerBase, model: PreTrainedModel
) -> Iterator[str]:
    """Yield a message, which names the flag, for each training argument that does not suit the data, the task, the
    tokenizer or the model, which may be without weights."""
    training, model_type = arguments.training, model.config.model_type
    if best := training.metric_for_best_model:
        name = best.removeprefix("eval_")
        known = {"loss", *task.measured, *(() if task.multi_label else metrics_for(task.labels))}
        if name not in known:
            yield f"--metric_for_best_model {best} is unknown here; known: {', '.join(sorted(known))}"
        examples = next(iter(data.evaluation.values()), None)
        if name in PROBABILITY_METRICS and examples is not None and len(set(examples["label"])) < 2:
            yield f"--metric_for_best_model {name} needs evaluated examples of two classes; name another"
    if training.label_smoothing_factor and (task.labels is None or task.multi_label):
        yield "--label_smoothing_factor is for one class a text, not for scores or several labels; leave it out"
    if task.multi_label and arguments.run.class_weights is not None:
        yield "--class_weights is for one class a text, and a text has several; leave it out"
    step = training.train_batch_size * training.gradient_accumulation_steps * training.world_size
    if training.dataloader_drop_last and data.train and len(data.train) < step:
        yield "--dataloader_drop_last leaves no step: the training set is smaller than the batch of one"
    if training.activation_checkpointing and not model.supports_gradient_checkpointing:
        yield f"--activation_checkpointing does not work with a {model_type} model; leave it out"
    if (training.bf16 or training.fp16) and model_type == "deberta":
        # It masks 16-bit scores with the lowest 32-bit number, which overflows.
        yield "--bf16 and --fp16 do not work with a deberta model; leave them out"
    if arguments.run.cache_frozen_prefix and tokenizer.padding_side != "right":
        # With padding on the left, positions and hidden states depend on the lengths of the batch's other texts.
        yield "--cache_frozen_prefix needs a tokenizer that pads on the right"


def usable_cache_folder(folder: str) -> Path:
    """Return the folder of ``--prefix_cache_dir``, after it was made; raise UsageError if it cannot be written."""
    path = Path(os.path.expanduser(folder))
    with refusing_unwritable(f"--prefix_cache_dir {folder}", "; name another folder"):
        if str(path).startswith("~"):
            raise ValueError("the home of this user is not known")
        make_folder(path)
        tempfile.TemporaryFile(dir=path).close()
    return path


@contextlib.contextmanager
def refused_by_the_trainer() -> Iterator[None]:
    """Turn an error of the Trainer, the optimizer or the schedule, while it is built, into one line."""
    try:
        yield
    except (ValueError, TypeError, KeyError, ImportError, AttributeError, OSError) as error:
        text = reason_of(error)
        hint = next((f"; see {flags}" for word, flags in _ABOUT if re.search(word, text)), "")
        raise UsageError(f"refused by the Trainer: {text}{hint}") from None
