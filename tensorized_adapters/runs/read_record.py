"""Reads run.json back. Reports, sweeps and a second start in a run's folder share this reader."""

import json
from pathlib import Path
from typing import Any, Literal, Optional

from pydantic import BaseModel, ConfigDict, FiniteFloat, NonNegativeInt, PositiveInt, ValidationError

from .. import PROGRAM
from ..config import METHODS, PROJECTION_TYPES
from ..errors import UsageError, quoted
from ..runtime.files import content_of


class _Part(BaseModel):
    model_config = ConfigDict(strict=True, extra="allow")


class _Arguments(_Part):
    method: Literal[METHODS]
    adapter_projection_type: Optional[Literal[PROJECTION_TYPES]] = None
    tensorized_layer_rank: Optional[PositiveInt] = None
    input_sha256: Optional[dict[str, str]] = None


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


class Record(_Part):
    """The fields of a run in any state."""

    program: Literal[PROGRAM]
    status: str
    arguments: dict[str, Any]


class FinishedRecord(Record):
    """The fields of a finished run. Earlier versions did not write those that have a default."""

    arguments: _Arguments
    method: str
    task: str
    primary_metric: str
    metrics: dict[str, Any]  # a metric that is not defined is NaN
    parameters: _Counts
    seed: Optional[int] = None
    command: Optional[str] = None
    version: Optional[str] = None
    versions: Optional[dict[str, str]] = None
    machine: Optional[_Machine] = None
    git: Optional[_Git] = None
    given: Optional[list[str]] = None
    history: Optional[list[_Evaluation]] = None
    step_losses: Optional[list[FiniteFloat]] = None
    contribution: Optional[dict[str, float | dict[str, dict[str, float | None]] | None]] = None
    one_class: Optional[dict[str, str]] = None
    collapsed_at_step: Optional[NonNegativeInt] = None
    adapter_bytes: Optional[NonNegativeInt] = None


def read_record(path: Path) -> dict[str, Any]:
    """The record of a run.

    Raises:
        UsageError: if the file is damaged, or is not a record of this program.
    """
    try:
        record = json.loads(content_of(path))
        kind = FinishedRecord if isinstance(record, dict) and record.get("status") == "finished" else Record
        kind.model_validate(record)
    except ValidationError as error:
        flaw = error.errors()[0]
        name = ".".join(map(str, flaw["loc"])) or "the record"
        given = "" if flaw["type"] == "missing" else f", and is {quoted(flaw['input'])}"
        raise UsageError(f"it is not a record of this program: {name}: {flaw['msg']}{given}") from None
    except UsageError:
        raise
    except (ValueError, RecursionError):
        raise UsageError("it is not JSON") from None
    return record
