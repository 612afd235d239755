"""Facts for the adapter's model card, and ``--push_to_hub``, which uploads the adapter after the run."""

from pathlib import Path
from typing import Any

from ..arguments.flags import Arguments, GlueTrainingArguments
from ..data.arguments import DataTrainingArguments
from ..data.loading import Data
from ..data.tasks import Task
from ..data.trained_texts import sample_of
from ..errors import RunFailed, UsageError
from ..saving.manifest import kept_note
from ..saving.model_card import Training
from ..saving.push import push_adapter, ready_repository
from ..training.checkpoints import ADAPTER_FOLDER


def notes_for_card(arguments: Arguments, data: Data) -> dict[str, Any]:
    """Return the notes that an adapter's files keep about its training. data/trained_texts.py adds its texts."""
    given = arguments.data
    notes = {"task": given.task_name or given.dataset_name or given.train_file or "files", **data.notes}
    notes |= {"seed": arguments.training.seed, "max_seq_length": given.max_seq_length}
    if arguments.model.tokenizer_name:
        notes["tokenizer"] = arguments.model.tokenizer_name
    if given.validation_fraction:
        notes["validation_fraction"] = given.validation_fraction
    if arguments.training.do_train:
        earlier = kept_note(arguments.saved, "trained_texts", str) if arguments.saved else None
        notes["trained_texts"] = sample_of(data.train, data.task.texts, earlier)
    return notes


def training_of(arguments: DataTrainingArguments, task: Task, metrics: dict[str, Any], command: str) -> Training:
    """Return the facts about a run for the model card, with those of its ``metrics`` that are of the evaluation."""
    measured: dict[str, dict[str, float]] = {}
    for suffix, split in task.evaluation:
        keys = {name: f"eval_{name}{suffix}" for name in task.measured}
        if scores := {name: float(metrics[key]) for name, key in keys.items() if key in metrics}:
            measured[_rows_measured(arguments, split)] = scores
    if arguments.train_file:
        file = (arguments.validation_file if measured else None) or arguments.train_file
        return Training(Path(file).name, metrics=measured, command=command)
    source = arguments.dataset_name or arguments.glue_path
    config = arguments.dataset_config_name if arguments.dataset_name else arguments.task_name
    local = Path(source).exists()
    return Training(Path(source).name if local else source, config, not local, measured, command)


def _rows_measured(arguments: DataTrainingArguments, split: str) -> str:
    """Return the name of a split in the data set, and which part of it was measured if not all of it."""
    parts = []
    if arguments.validation_fraction is not None:
        split = arguments.train_split_name or "train"
        parts.append(f"--validation_fraction {arguments.validation_fraction}, held out")
    elif split == "validation":
        split = arguments.validation_split_name or split
    if arguments.max_eval_samples is not None:
        parts.append(f"--max_eval_samples {arguments.max_eval_samples}")
    return f"{split} ({', '.join(parts)})" if parts else split


def check_repository(training: GlueTrainingArguments) -> None:
    """Make the repository of ``--hub_model_id`` if it is not there, before anything is trained; raise UsageError."""
    try:
        ready_repository(_repository(training), training.hub_private_repo, training.hub_token)
    except UsageError as error:
        raise UsageError(f"--push_to_hub: {error}") from None


def push(training: GlueTrainingArguments) -> None:
    """Upload the adapter of a finished run, and print its address; raise RunFailed, which says how to try again."""
    folder = Path(training.output_dir) / ADAPTER_FOLDER
    where = {"revision": training.hub_revision, "private": training.hub_private_repo, "token": training.hub_token}
    try:
        address = push_adapter(folder, _repository(training), **where)
    except UsageError as error:
        raise RunFailed(f"{error}; the adapter is in {folder}, and the same command again uploads it") from None
    print(f"uploaded: {address}")


def _repository(training: GlueTrainingArguments) -> str:
    return training.hub_model_id or Path(training.output_dir).resolve().name
