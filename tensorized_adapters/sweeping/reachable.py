"""Checks before the first trial that some trial can load its model's configuration, its tokenizer and its data."""

from collections.abc import Iterable

from ..arguments.parsing import parse_arguments
from ..backbone.loading import load_tokenizer
from ..data.sources import check_place
from ..errors import UsageError
from ..runs.same_run import used_roles
from .plan import Trial

_PLACES = "model_name_or_path config_name tokenizer_name model_revision task_name glue_path dataset_name".split()
_PLACES += "dataset_config_name train_file validation_file test_file".split()


def check_reachable(trials: Iterable[Trial]) -> None:
    """Ask for the models and the data sets of the trials, without loading weights or rows, until one can start.

    One trial that can start is enough: any other fails by itself later. If none can, the sweep does not begin.

    Raises:
        UsageError: with the error of the first trial, if no trial can start.
    """
    flaw = None
    for trial in {tuple(str(t.resolved.get(name)) for name in _PLACES): t for t in trials}.values():
        try:
            arguments = parse_arguments(list(trial.words))
            load_tokenizer(arguments.model, arguments.model_config)
            check_place(arguments.data, used_roles(arguments.training))
            return
        except UsageError as error:
            flaw = flaw or error
    if flaw:
        raise UsageError(f"no trial could start: {flaw}")
