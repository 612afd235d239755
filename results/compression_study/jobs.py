"""Runs the main job on an adapter of the figure, to evaluate it or to train it for one more epoch."""

import contextlib
import io
import json
from dataclasses import fields
from pathlib import Path
from typing import Any, Optional

from tensorized_adapters.backbone.arguments import ModelArguments
from tensorized_adapters.data.arguments import DataTrainingArguments
from tensorized_adapters.errors import RunFailed, Terminated, UsageError
from tensorized_adapters.runs.folder import RECORD_FILE
from tensorized_adapters.runs.read_record import read_record

# The arguments of a run that a job takes over: those of the data and of the computation. The adapter has what was
# trained; a compressed adapter trains at the rates of its own method.
_LEFT_OUT = {"token", "cache_dir", "overwrite_cache", "test_file", "max_predict_samples"}
_OF_TRAINING = (
    "seed data_seed cpu_threads use_cpu bf16 fp16 bf16_full_eval fp16_full_eval per_device_train_batch_size "
    "per_device_eval_batch_size gradient_accumulation_steps train_sampling_strategy max_train_metric_samples"
).split()
_KEPT = {f.name for kind in (ModelArguments, DataTrainingArguments) for f in fields(kind)} - _LEFT_OUT
_KEPT |= set(_OF_TRAINING)


def run_of(adapter_path: Path) -> dict[str, Any]:
    """Return the record of the run that trained an adapter, with its own ``path``.

    Args:
        adapter_path: the run's folder, or the adapter/ in it.

    Raises:
        UsageError: if there is no finished one that trained.
    """
    paths = (adapter_path / RECORD_FILE, adapter_path.parent / RECORD_FILE)
    path = next((path for path in paths if path.is_file()), None)
    if path is None:
        raise UsageError(
            f"--figure needs the run's data, and --adapter_path {adapter_path} has no {RECORD_FILE} there"
        )
    try:
        record = read_record(path)
    except UsageError as error:
        raise UsageError(f"{path}: {error}; name another run's folder") from None
    if record["status"] != "finished" or not record["arguments"].get("do_train"):
        raise UsageError(f"{path} is not of a run that has finished training; finish it, or name another run's folder")
    return record | {"path": path}


def flags_of(record: dict[str, Any], model_name_or_path: Optional[str]) -> dict[str, Any]:
    """Return the given flags of a run that a job with another adapter on the same data shares with it."""
    arguments = record["arguments"]
    flags = {
        name: arguments[name]
        for name in record.get("given") or ()
        if name in _KEPT and arguments.get(name) is not None
    }
    return flags | ({"model_name_or_path": model_name_or_path} if model_name_or_path else {})


def score_of(flags: dict[str, Any], flags_from: Path, adapter: Path, output_dir: Path, epochs: int) -> dict[str, Any]:
    """Return the record of a job that evaluates an adapter after so many epochs of further training.

    A job that has finished in ``output_dir`` is not run again.

    Args:
        flags_from: the record with the flags, named in messages.

    Raises:
        UsageError: if it refuses its input, with its line.
        RunFailed: if it fails, with its line.
    """
    from run_glue_tensorized import main

    flags = flags | {"adapter_path": str(adapter), "output_dir": str(output_dir), "do_eval": True}
    if epochs:
        # One epoch needs no checkpoint. An interrupted job trains from its start again.
        flags |= {"do_train": True, "num_train_epochs": epochs, "save_strategy": "no", "eval_strategy": "no"}
    output = io.StringIO()  # tables and progress of the run; this script prints one line for each job
    with contextlib.redirect_stdout(output), contextlib.redirect_stderr(output):
        code = main([f"--{name}={value}" for name, value in {**flags, "disable_tqdm": True}.items()])
    if code:
        line = output.getvalue().splitlines()[-1].partition(": ")[2]
        mend = f"so it stands in {flags_from}, whose relative paths begin at the folder that it was started in"
        refused = UsageError(f"{line} ({mend})")
        raise {2: refused, 130: KeyboardInterrupt(), 143: Terminated()}.get(code) or RunFailed(line)
    return json.loads((output_dir / RECORD_FILE).read_bytes())
