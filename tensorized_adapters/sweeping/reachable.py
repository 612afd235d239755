"""What no trial could reach is found before the first one starts: a model, a tokenizer or data that is not there."""

from collections.abc import Iterable

from ..arguments.parsing import parse_arguments
from ..backbone.loading import load_config, load_tokenizer
from ..data.sources import check_place
from ..errors import UsageError
from ..runs.same_run import used_roles
from .plan import Trial

_PLACES = "model_name_or_path config_name tokenizer_name model_revision task_name glue_path dataset_name".split()
_PLACES += "dataset_config_name train_file validation_file test_file".split()


def check_reachable(trials: Iterable[Trial]) -> None:
    """Ask for the models and the data sets of the trials, without loading weights or rows, until one can start.

    One that cannot costs only itself, later; it is for none of them that nothing has to begin.

    Raises:
        UsageError: what the first of the trials would have said, after its start.
    """
    flaw = None
    for trial in {tuple(str(t.resolved.get(name)) for name in _PLACES): t for t in trials}.values():
        arguments = parse_arguments(list(trial.words))
        try:
            load_tokenizer(arguments.model, load_config(arguments.model))
            check_place(arguments.data, used_roles(arguments.training))
            return
        except UsageError as error:
            flaw = flaw or error
    if flaw:
        raise UsageError(f"no trial could start: {flaw}")
