"""Reads run.json back. Reports, sweeps and a second start in a run's folder share this reader."""

import json
from pathlib import Path
from typing import Annotated, Any, Literal, Optional, Self

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, ValidationError, model_validator

from .. import PROGRAM
from ..config import METHODS, PROJECTION_TYPES
from ..errors import UsageError, printable, quoted
from ..runtime.files import content_of

# A report computes with them, as numbers of 64 bits.
_Count = Annotated[int, Field(ge=0, lt=2**63)]
_Positive = Annotated[_Count, Field(gt=0)]


class _Part(BaseModel):
    model_config = ConfigDict(strict=True, extra="allow")


class _Arguments(_Part):
    """The arguments by which a second start is compared with a run."""

    input_sha256: Optional[dict[str, str]] = None
    started_from: Optional[dict[str, str]] = None
    train_file: Optional[str] = None
    validation_file: Optional[str] = None
    test_file: Optional[str] = None
    processes: Optional[int] = None
    per_device_train_batch_size: int = 1
    gradient_accumulation_steps: int = 1


class _FinishedArguments(_Arguments):
    method: Literal[METHODS]
    adapter_projection_type: Optional[Literal[PROJECTION_TYPES]] = None
    tensorized_layer_rank: Optional[_Positive] = None

    @model_validator(mode="after")
    def _check_tensorized(self) -> Self:
        if self.method == "tensorized" and None in (self.adapter_projection_type, self.tensorized_layer_rank):
            raise ValueError("tensorized adapters have adapter_projection_type and tensorized_layer_rank")
        return self


class _Counts(_Part):
    __pydantic_extra__: dict[str, _Count]
    trained: _Positive
    model: _Positive


class _Evaluation(_Part):
    step: _Count = 0


class _Git(_Part):
    commit: Optional[str] = None
    clean: bool


class _Mistake(_Part):
    row: _Count
    texts: list[str]
    label: str
    predicted: str
    probability: float


class _Classes(_Part):
    names: Annotated[list[str], Field(min_length=1)]
    precision: list[float]
    recall: list[float]
    f1: list[float]
    support: list[_Count]
    confusion: Optional[list[list[_Count]]]  # true by predicted class; None for many classes
    mistakes: list[_Mistake]

    @model_validator(mode="after")
    def _check_lengths(self) -> Self:
        matrix = [] if self.confusion is None else [self.confusion, *self.confusion]
        lists = (self.precision, self.recall, self.f1, self.support, *matrix)
        if any(len(values) != len(self.names) for values in lists):
            raise ValueError("all lists but the mistakes must have an entry for each name")
        return self


class Record(_Part):
    """The fields of a run in any state."""

    program: Literal[PROGRAM]
    status: str
    arguments: _Arguments
    seconds: float = 0.0
    notes: list[str] = []


class FinishedRecord(Record):
    """The fields of a finished run. Earlier versions did not write those that have a default."""

    arguments: _FinishedArguments
    method: str
    task: str
    primary_metric: str
    metrics: dict[str, Any]  # a metric that is not defined is NaN
    parameters: _Counts
    seed: Optional[Annotated[int, Field(gt=-(2**63), lt=2**63)]] = None
    command: Optional[str] = None
    version: Optional[str] = None
    versions: Optional[dict[str, str]] = None
    machine: Optional[dict[str, Any]] = None
    git: Optional[_Git] = None
    given: Optional[list[str]] = None
    history: Optional[list[_Evaluation]] = None
    step_losses: Optional[list[FiniteFloat]] = None
    contribution: Optional[dict[str, float | dict[str, dict[str, float | None]] | None]] = None
    classes: Optional[dict[str, _Classes]] = None  # by evaluation set
    one_class: Optional[dict[str, str]] = None
    collapsed_at_step: Optional[_Count] = None
    adapter_bytes: Optional[_Count] = None


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
    """Return the value with unprintable characters escaped, since neither SVG nor UTF-8 can hold all of them."""
    if isinstance(value, str):
        return printable(value)
    if isinstance(value, list):
        return [printable_copy(entry) for entry in value]
    if isinstance(value, dict):
        return {printable(name): printable_copy(entry) for name, entry in value.items()}
    return value
