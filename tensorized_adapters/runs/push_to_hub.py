"""What others are to know of a trained adapter, and ``--push_to_hub``, which uploads it when the run is over."""

from pathlib import Path
from typing import Any

from ..arguments.flags import GlueTrainingArguments
from ..data.arguments import DataTrainingArguments
from ..data.tasks import Task
from ..errors import RunFailed, UsageError
from ..saving.model_card import Training
from ..saving.push import push_adapter, ready_repository
from ..training.checkpoints import ADAPTER_FOLDER


def training_of(arguments: DataTrainingArguments, task: Task, metrics: dict[str, Any], command: str) -> Training:
    """What the model card tells of a run.

    Args:
        metrics: of the run, of which those of the evaluation are told.
        command: without secrets.
    """
    measured = {
        split: {
            name: float(metrics[f"eval_{name}{suffix}"]) for name in task.measured if f"eval_{name}{suffix}" in metrics
        }
        for suffix, split in task.evaluation
    }
    measured = {split: found for split, found in measured.items() if found}
    if arguments.train_file:
        file = arguments.validation_file if measured else arguments.train_file
        return Training(Path(file).name, metrics=measured, command=command)
    place = arguments.dataset_name or arguments.glue_path
    config = arguments.dataset_config_name if arguments.dataset_name else arguments.task_name
    local = Path(place).exists()
    return Training(Path(place).name if local else place, config, not local, measured, command)


def check_sharing(training: GlueTrainingArguments) -> None:
    """Before anything is trained: make the repository of ``--hub_model_id`` if it is not there; raises UsageError."""
    try:
        ready_repository(_repository(training), training.hub_private_repo, training.hub_token)
    except UsageError as error:
        raise UsageError(f"--push_to_hub: {error}") from None


def share(training: GlueTrainingArguments) -> None:
    """Upload the adapter of a finished run, and say where it is.

    Raises:
        RunFailed: saying that the adapter is kept, and how to upload it later.
    """
    folder = Path(training.output_dir) / ADAPTER_FOLDER
    try:
        place = push_adapter(
            folder,
            _repository(training),
            revision=training.hub_revision,
            private=training.hub_private_repo,
            token=training.hub_token,
        )
    except UsageError as error:
        raise RunFailed(f"{error}; the adapter is in {folder}, and the same command again uploads it") from None
    print(f"uploaded: {place}")


def _repository(training: GlueTrainingArguments) -> str:
    return training.hub_model_id or Path(training.output_dir).resolve().name
