"""What the Trainer would refuse in its own words, or find out only after an epoch."""

import contextlib
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from ..arguments.flags import Arguments
from ..data.loading import Data
from ..data.metric_names import OF_PROBABILITIES, suiting
from ..data.tasks import Task
from ..errors import UsageError

# What the Trainer's messages speak of, and the flags that it comes from.
_ABOUT = (
    ("_schedule|num_decay_steps|lr_lambda", "--lr_scheduler_type and --lr_scheduler_kwargs"),
    ("[Oo]ptim|[Aa]dam|install", "--optim and --optim_args"),
)


def check_training(
    arguments: Arguments, data: Data, task: Task, tokenizer: PreTrainedTokenizerBase, model: PreTrainedModel
) -> None:
    """Refuse training arguments that do not suit the data, the task as it is measured, the tokenizer or the model
    (which may be without weights).

    Raises:
        UsageError: naming the flag.
    """
    training = arguments.training
    metrics = {"loss", *task.measured, *suiting(task.labels)}
    metric = training.metric_for_best_model
    if metric is not None and metric.removeprefix("eval_") not in metrics:
        raise UsageError(f"--metric_for_best_model {metric} is unknown here; known: {', '.join(sorted(metrics))}")
    examples = next(iter(data.evaluation.values()), None)
    if metric is not None and metric.removeprefix("eval_") in OF_PROBABILITIES and examples is not None:
        if len(set(examples["label"])) < 2:
            raise UsageError(f"--metric_for_best_model {metric} needs evaluated examples of two classes; name another")
    if task.labels is None and training.label_smoothing_factor:
        raise UsageError("--label_smoothing_factor is for classes, and these labels are scores; leave it out")
    step = training.train_batch_size * training.gradient_accumulation_steps * training.world_size
    if training.dataloader_drop_last and data.train and len(data.train) < step:
        raise UsageError("--dataloader_drop_last leaves no step: the training set is smaller than the batch of one")
    if training.activation_checkpointing and not model.supports_gradient_checkpointing:
        raise UsageError(
            f"--activation_checkpointing is not to be had with a {model.config.model_type} model; leave it out"
        )
    if (training.bf16 or training.fp16) and model.config.model_type == "deberta":
        # It masks scores of 16 bits with the least number of 32, which they cannot hold.
        raise UsageError("--bf16 and --fp16 are not to be had with a deberta model; leave them out")
    if arguments.run.cache_frozen_prefix and tokenizer.padding_side != "right":
        # Positions, and so the states, would depend on the batch.
        raise UsageError("--cache_frozen_prefix needs a tokenizer that pads on the right")


def usable_cache_folder(folder: str) -> Path:
    """The folder of ``--prefix_cache_dir``, made if need be, with a file written in it and removed again.

    Raises:
        UsageError: if it cannot be made or written.
    """
    path = Path(folder).expanduser()
    try:
        path.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=path).close()
    except (OSError, RuntimeError) as error:  # RuntimeError of a home that is not known
        reason = getattr(error, "strerror", None) or error
        raise UsageError(f"--prefix_cache_dir {path} cannot be written: {reason}; name another folder") from None
    return path


@contextlib.contextmanager
def refused_by_the_trainer() -> Iterator[None]:
    """Make one line of what the Trainer, the optimizer or the schedule raises as it is built."""
    try:
        yield
    except (ValueError, TypeError, KeyError, ImportError, AttributeError, OSError) as error:
        text = str(error) or type(error).__name__
        hint = next((f"; see {flags}" for word, flags in _ABOUT if re.search(word, text)), "")
        raise UsageError(f"refused by the Trainer: {text}{hint}") from None
