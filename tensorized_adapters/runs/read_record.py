"""Reads run.json back. Reports, sweeps and a second start in a run's folder share this reader."""

import json
from pathlib import Path
from typing import Annotated, Any, Literal, Optional

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, NonNegativeInt, PositiveInt, ValidationError

from .. import PROGRAM
from ..config import METHODS, PROJECTION_TYPES
from ..errors import UsageError, printable, quoted
from ..runtime.files import content_of


class _Part(BaseModel):
    model_config = ConfigDict(strict=True, extra="allow")


class _Arguments(_Part):
    """The arguments by which a second start is compared with a run."""

    input_sha256: Optional[dict[str, str]] = None
    train_file: Optional[str] = None
    validation_file: Optional[str] = None
    test_file: Optional[str] = None
    processes: Optional[int] = None
    per_device_train_batch_size: int = 1
    gradient_accumulation_steps: int = 1


class _FinishedArguments(_Arguments):
    method: Literal[METHODS]
    adapter_projection_type: Optional[Literal[PROJECTION_TYPES]] = None
    tensorized_layer_rank: Optional[PositiveInt] = None


class _Counts(_Part):
    __pydantic_extra__: dict[str, NonNegativeInt]
    trained: PositiveInt
    model: PositiveInt


class _Evaluation(_Part):
    step: NonNegativeInt = 0


class _Git(_Part):
    commit: Optional[str] = None
    clean: bool


class _Machine(_Part):
    gpu: Optional[str] = None


class _Mistake(_Part):
    row: NonNegativeInt
    texts: list[str]
    label: str
    predicted: str
    probability: float


class _Classes(_Part):
    names: list[str]
    precision: list[float]
    recall: list[float]
    f1: list[float]
    support: list[NonNegativeInt]
    confusion: list[list[NonNegativeInt]]  # true by predicted class
    mistakes: list[_Mistake]


class Record(_Part):
    """The fields of a run in any state."""

    program: Literal[PROGRAM]
    status: str
    arguments: _Arguments
    seconds: float = 0.0


class FinishedRecord(Record):
    """The fields of a finished run. Earlier versions did not write those that have a default."""

    arguments: _FinishedArguments
    method: str
    task: str
    primary_metric: str
    metrics: dict[str, Any]  # a metric that is not defined is NaN
    parameters: _Counts
    seed: Optional[Annotated[int, Field(lt=2**63)]] = None
    command: Optional[str] = None
    version: Optional[str] = None
    versions: Optional[dict[str, str]] = None
    machine: Optional[_Machine] = None
    git: Optional[_Git] = None
    given: Optional[list[str]] = None
    history: Optional[list[_Evaluation]] = None
    step_losses: Optional[list[FiniteFloat]] = None
    contribution: Optional[dict[str, float | dict[str, dict[str, float | None]] | None]] = None
    classes: Optional[dict[str, _Classes]] = None  # by evaluation set
    one_class: Optional[dict[str, str]] = None
    collapsed_at_step: Optional[NonNegativeInt] = None
    adapter_bytes: Optional[NonNegativeInt] = None


def read_record(path: Path) -> dict[str, Any]:
    """Return the record of a run; raise UsageError if the file is damaged, or is not a record of this program."""
    content = content_of(path)
    try:
        record = json.loads(content)
        finished = isinstance(record, dict) and record.get("status") == "finished"
        model = FinishedRecord if finished else Record
        model.model_validate(printable_copy(record))  # a path may hold bytes that are no Unicode
    except ValidationError as error:
        flaw = error.errors()[0]
        name = ".".join(map(str, flaw["loc"])) or "the record"
        given = "" if flaw["type"] == "missing" else f", and is {quoted(flaw['input'])}"
        raise UsageError(f"it is not a record of this program: {name}: {flaw['msg']}{given}") from None
    except (ValueError, RecursionError):
        raise UsageError("it is not JSON") from None
    return record


def printable_copy(value: Any) -> Any:
    """Return the value with all unprintable characters of its texts escaped, since neither SVG nor UTF-8 can hold all
    of them."""
    if isinstance(value, str):
        return printable(value)
    if isinstance(value, list):
        return [printable_copy(entry) for entry in value]
    if isinstance(value, dict):
        return {printable(name): printable_copy(entry) for name, entry in value.items()}
    return value
