"""One run from checked arguments to results: the order of Hugging Face's run_glue, and what may start where."""

import contextlib
import signal
import sys
import time
from pathlib import Path
from typing import Any, Optional

import torch
from transformers.utils import logging as transformers_logging

from ..data.loading import Data
from ..errors import RunFailed, Terminated, UsageError
from ..files import write_json
from ..methods.parameters import count_trained
from ..saving.adapter import check_adapter_fits, save_adapter
from ..saving.format import read_adapter
from ..training.checkpoints import ADAPTER_FILES, ADAPTER_FOLDER, flaw_of_checkpoint, newest_whole_checkpoint
from ..training.trainer import AdapterTrainer
from .arguments import resolved_arguments
from .flags import Arguments
from .measure import evaluate_all, predict_all, prediction_files, train_metrics
from .prepare import check_inputs_survive, prepare, settle_rank
from .pretrained import EncodedData
from .results import best_of, console, history_of, new_record, parameter_table, peak_memory, results_table
from .run_folder import RECORD_FILE, RESULTS_FILE, RunFolder, Start, inspect_folder


def run(arguments: Arguments, argv: list[str]) -> None:
    """Do what the arguments say, or go on with it, or find it done.

    Raises:
        UsageError: refused, before anything is written or trained.
        RunFailed: NaN, out of memory, a full disk.
        Terminated: on SIGTERM.
    """
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()  # of loading weights; training keeps its own
    signal.signal(signal.SIGTERM, _raise_terminated)
    if arguments.saved:
        read_adapter(arguments.run.adapter_path)  # all of it whole, before anything is loaded
    settle_rank(arguments)
    resolved = resolved_arguments(arguments)
    path = Path(arguments.training.output_dir)
    start = _start(path, resolved, arguments)
    if start.kind == "finished":
        return _say_finished(start, path)
    with RunFolder(path) as folder:
        start = _start(path, resolved, arguments)  # again: it may have changed until it was locked
        if start.kind == "finished":
            return _say_finished(start, path)
        check_inputs_survive(path, arguments)
        # Equal bits need equal counts of threads: a resumed run takes that of the start.
        threads = arguments.run.cpu_threads or (start.record or {}).get("threads") or torch.get_num_threads()
        torch.set_num_threads(threads)
        try:
            trainer, sets, data = prepare(arguments, resolved)
            checkpoint = _checkpoint(folder, start, arguments)
            if checkpoint:
                saved, tensors = read_adapter(checkpoint / ADAPTER_FOLDER)
                check_adapter_fits(trainer.model, saved, tensors, checkpoint, same_labels=True)
        except (MemoryError, RuntimeError) as error:
            if (failure := _as_failure(error)) is error:
                raise
            raise failure from error

        # Nothing was written up to here, and nothing is refused from here on.
        if arguments.run.overwrite_output_dir:
            folder.clear(start.record)
        folder.remove_asides()
        record = new_record(argv, resolved, arguments.given, arguments.training.seed) | {
            "threads": threads,
            "method": arguments.adapter.describe(),
            "task": trainer.notes["task"],
            "primary_metric": data.task.primary,
            "resumed_from": str(checkpoint) if checkpoint else None,
            "parameters": count_trained(trainer.model),
            "learning_rates": resolved["learning_rates"],
            "files": prediction_files(data),
        }
        folder.write_record(record)
        for note in arguments.notes:
            print(f"note: {note}")
        console().print(parameter_table(record["parameters"], record["learning_rates"], record["method"]))
        began = time.time()
        try:
            _train_and_measure(trainer, sets, data, folder.path, record, checkpoint)
            record |= {"seconds": round(time.time() - began, 3), "ended": time.strftime("%Y-%m-%dT%H:%M:%S%z")}
            record["status"] = "finished"
            folder.write_record(record)
        except BaseException as error:
            record["status"] = "interrupted" if isinstance(error, (KeyboardInterrupt, Terminated)) else "failed"
            record["reason"] = " ".join(str(error).split())[:500] or type(error).__name__
            with contextlib.suppress(OSError):  # of a full disk
                folder.write_record(record)
            if (failure := _as_failure(error)) is error:
                raise
            raise failure from error
        _print_results(record, path)


def _start(path: Path, resolved: dict[str, Any], arguments: Arguments) -> Start:
    resume = arguments.training.resume_from_checkpoint is not None
    start = inspect_folder(path, resolved, arguments.run.overwrite_output_dir, resume)
    explicit = _named_checkpoint(arguments)
    if explicit and (flaw := flaw_of_checkpoint(explicit)):
        raise UsageError(f"--resume_from_checkpoint {explicit} is not a whole checkpoint: {flaw}")
    return start


def _named_checkpoint(arguments: Arguments) -> Optional[Path]:
    """What ``--resume_from_checkpoint`` names; "True" names none, it asks for the newest."""
    value = arguments.training.resume_from_checkpoint
    return Path(value) if value and value.lower() != "true" else None


def _checkpoint(folder: RunFolder, start: Start, arguments: Arguments) -> Optional[Path]:
    """The checkpoint to go on from, or None."""
    if explicit := _named_checkpoint(arguments):
        return explicit
    if start.kind != "resume" or not arguments.training.do_train:
        return None
    checkpoint, notes = newest_whole_checkpoint(folder.path)
    for note in notes:
        print(f"note: {note}", file=sys.stderr)
    print(f"going on from {checkpoint}" if checkpoint else "no whole checkpoint yet: starting from zero")
    return checkpoint


def _train_and_measure(
    trainer: AdapterTrainer, sets: EncodedData, data: Data, folder: Path, record: dict, checkpoint: Optional[Path]
) -> None:
    """Train, save the adapter, measure those very weights; everything lands in ``record`` and the results file."""
    training, task = trainer.args, data.task
    metrics: dict[str, Any] = {}
    if trainer.prefix is not None:
        sets = sets.mapped(trainer.with_hidden_states)
        trainer.train_dataset, trainer.eval_dataset = sets.train, next(iter(sets.evaluation.values()), None)
    if training.do_train:
        began = time.time()
        output = trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
        record["train_seconds"] = round(time.time() - began, 3)
        record["step_losses"] = trainer.step_losses
        save_adapter(trainer.model, folder / ADAPTER_FOLDER, trainer.notes)
        metrics |= {
            "epoch": trainer.state.epoch,
            "train_loss": trainer.train_loss,
            "train_samples": len(sets.train),
            "train_runtime": output.metrics["train_runtime"],
            "train_samples_per_second": output.metrics["train_samples_per_second"],
        }
        metrics |= train_metrics(trainer, sets.train, task)
        record["history"] = history_of(trainer.state.log_history)
        record["best_epoch"] = best_of(record["history"], task)
        record["adapter_bytes"] = _size_of(folder / ADAPTER_FOLDER)
    if training.do_eval:
        metrics |= evaluate_all(trainer, sets.evaluation, task, folder)
    if training.do_predict:
        metrics |= predict_all(trainer, sets.prediction, task, folder)
    record["metrics"] = metrics
    record["peak_memory_bytes"] = peak_memory()
    write_json(folder / RESULTS_FILE, metrics)


def _size_of(adapter: Path) -> int:
    return sum((adapter / name).stat().st_size for name in ADAPTER_FILES if (adapter / name).is_file())


def _say_finished(start: Start, path: Path) -> None:
    print(f"{path} holds this run, finished; nothing to do")
    _print_results(start.record, path)


def _print_results(record: dict[str, Any], path: Path) -> None:
    console().print(results_table(record))
    print(f"record: {path / RECORD_FILE}")


def _as_failure(error: BaseException) -> BaseException:
    """One line for what a run can die of through no fault of the program; anything else as it is."""
    text = str(error)
    if isinstance(error, MemoryError) or "out of memory" in text.lower() or "can't allocate memory" in text:
        return RunFailed("out of memory: try a smaller --per_device_train_batch_size or --max_seq_length")
    if isinstance(error, OSError):
        return RunFailed(f"{error.filename or 'a file'} cannot be written: {error.strerror or error}")
    if "file write failed" in text or "unexpected pos" in text:  # torch.save on a full disk
        return RunFailed(f"a checkpoint cannot be written: {text.splitlines()[0]}")
    return error


def _raise_terminated(*_) -> None:
    raise Terminated()
