"""A run in its folder: whether it may start there, its record from first to last, and each way to fail as a line."""

import contextlib
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Optional

import torch
from accelerate.utils import broadcast_object_list
from transformers import PretrainedConfig
from transformers.utils import logging as transformers_logging

from ..arguments.flags import Arguments
from ..backbone.loading import load_config
from ..backbone.parts import skeleton
from ..data.arguments import FILE_FLAGS
from ..errors import Terminated, UsageError, one_line
from ..methods.tensorized import rank_within
from ..runtime.console import console, peak_memory
from ..runtime.distributed import fail_together, is_main_process
from ..runtime.exits import TRACEBACK_FILE
from ..runtime.files import write_json
from ..runtime.processor import computes_bfloat16
from ..runtime.signals import raise_on_signals, signals_ignored
from ..saving.format import read_adapter, read_config
from ..saving.upgrade import moments_still_hold
from ..training.checkpoints import ADAPTER_FOLDER, arguments_of, flaw_of_checkpoint, newest_whole_checkpoint
from .failures import as_failure
from .folder import RECORD_FILE, RESULTS_FILE, RunFolder, Start, inspect_folder, is_ours
from .record import new_record, parameter_table, results_table
from .same_run import contradictions, differences, fit_rates_to_model, resolved_arguments


class Run:
    """What the script needs of a run; made by :func:`open_run`. It writes in the first process alone.

    Attributes:
        path: its folder.
        finished: an earlier start has finished it; nothing is left to do.
        record: of run.json; grows while the run goes on.
        resolved: every argument with its value.
        model_config: of the pre-trained model, as it was loaded.
        threads: of the arithmetic on CPU.
        began: when this start wrote the record; None before.
        seconds_before: those of the earlier starts that this one goes on from.
        doing: what the run is at, for the line that says how it failed.
    """

    def __init__(
        self,
        arguments: Arguments,
        resolved: dict[str, Any],
        model_config: PretrainedConfig,
        start: Start,
        folder: Optional[RunFolder],
    ):
        self.path = Path(arguments.training.output_dir)
        self.finished = start.kind == "finished"
        self.record: dict[str, Any] = start.record if self.finished else {}
        self.resolved, self.model_config = resolved, model_config
        self.began: Optional[float] = None
        self.seconds_before = 0.0
        self.doing = "preparing"
        self._arguments, self._start, self._folder = arguments, start, folder
        # Equal bits need equal counts of threads: a resumed run takes that of the start.
        self.threads = arguments.run.cpu_threads or (start.record or {}).get("threads") or torch.get_num_threads()

    def now(self, doing: str) -> None:
        """Say what the run is at from here on: what takes its time is announced before it does."""
        self.doing = doing
        print(f"{doing} ...", flush=True)

    def checkpoint(self) -> Optional[Path]:
        """The checkpoint to go on from, or None; a line says which newer ones are passed over. For all processes.

        Without ``--resume_from_checkpoint`` only one that was trained under this run's arguments will do.

        Raises:
            UsageError: if it cannot be read, or was named and cannot go on under this run's arguments.
        """
        with fail_together():
            found = self._checkpoint_to_go_on_from() if is_main_process() else None
        return broadcast_object_list([found])[0]

    def _checkpoint_to_go_on_from(self) -> Optional[Path]:
        value, training = self._arguments.training.resume_from_checkpoint, self._arguments.training.do_train
        checkpoint = _named_checkpoint(self._arguments)
        if checkpoint is None and (self._start.kind != "resume" or not training):
            return None
        if checkpoint is None:
            checkpoint, notes = newest_whole_checkpoint(self.path, self._is_own if value is None else lambda _: True)
            for note in notes:
                print(f"note: {note}", file=sys.stderr)
            print(f"going on from {checkpoint}" if checkpoint else "no whole checkpoint yet: starting from zero")
        if checkpoint:
            self._check_state(checkpoint)
        return checkpoint

    def _is_own(self, arguments: Optional[dict[str, Any]]) -> bool:
        return arguments is None or not differences(arguments, self.resolved)

    def _check_state(self, checkpoint: Path) -> None:
        """What a checkpoint's state would not obey is refused; what it was trained with beside that is said."""
        mend = f"start from its adapter with --adapter_path {checkpoint / ADAPTER_FOLDER} and another --output_dir"
        if not moments_still_hold(read_config(checkpoint)):
            raise UsageError(f"{checkpoint} was saved by an earlier version and cannot be resumed; {mend}")
        arguments = arguments_of(checkpoint)
        if arguments is None:
            return
        if odd := contradictions(arguments, self.resolved):
            raise UsageError(f"{checkpoint} goes on as its optimizer was set ({', '.join(odd[:4])}); {mend}")
        if odd := differences(arguments, self.resolved):
            self._arguments.notes.append(f"{checkpoint} was trained under other arguments ({', '.join(odd[:4])})")
        if (there := arguments.get("processes", 1)) != (here := self.resolved["processes"]):
            what = f"{checkpoint} was trained in {there} process(es), this run has {here}"
            self._arguments.notes.append(f"{what}: sums are rounded otherwise, and dropout is drawn anew")

    def begin(self, argv: list[str], **known: Any) -> None:
        """Write the record, with what is ``known`` before training, and say what is trained.

        Nothing was written before, and nothing is refused after.
        """
        arguments = self._arguments
        self.record = new_record(argv, self.resolved, arguments.given, arguments.training.seed)
        self.record |= {"threads": self.threads} | known
        if known.get("resumed_from"):
            self.seconds_before = (self._start.record or {}).get("seconds", 0.0)
        self.record["machine"]["gpus_used"] = arguments.training.n_gpu * self.resolved["processes"]
        with fail_together():
            if self._folder:
                if arguments.run.overwrite_output_dir:
                    self._folder.clear(self._start.record)
                self._folder.remove_remains()
                (self.path / TRACEBACK_FILE).unlink(missing_ok=True)  # of the start before
                self._folder.write_record(self.record)
        self.began = time.time()
        for note in arguments.notes:
            print(f"note: {note}")
        console().print(parameter_table(known["parameters"], known["learning_rates"], known["method"]))

    def note_memory(self) -> None:
        """Write what training has taken so far, where that is more than was known: a sweep plans by it."""
        peak, known = peak_memory(), self.record.get("peak_memory_bytes", {})
        if self._folder and any(taken > 1.02 * known.get(name, 0) for name, taken in peak.items()):
            self.record["peak_memory_bytes"] = peak
            if torch.cuda.is_initialized():
                self.record["gpu_free"] = torch.cuda.mem_get_info()[0]
            self._folder.write_record(self.record)

    def finish(self) -> None:
        """Write ``record["metrics"]`` as the results, and the record."""
        if not self._folder:
            return
        self.record["peak_memory_bytes"] = peak_memory()
        write_json(self.path / RESULTS_FILE, self.record["metrics"])
        self.record |= {"seconds": self._seconds(), "ended": time.strftime("%Y-%m-%dT%H:%M:%S%z")}
        self.record["status"] = "finished"
        self._folder.write_record(self.record)

    def fail(self, error: BaseException) -> None:
        """Write into the record that and why the run ended early."""
        if not self._folder:
            return
        self.record["status"] = "interrupted" if isinstance(error, (KeyboardInterrupt, Terminated)) else "failed"
        self.record["reason"] = one_line(error) or type(error).__name__
        self.record["seconds"] = self._seconds()  # a start that goes on from here adds its own
        with contextlib.suppress(OSError):  # of a full disk
            self._folder.write_record(self.record)

    def _seconds(self) -> float:
        """Of this start and those that it goes on from."""
        return round(self.seconds_before + time.time() - self.began, 3)

    def print_results(self) -> None:
        if self.finished:
            print(f"{self.path} holds this run, finished; nothing to do")
            if self._arguments.run.measure_contribution and "contribution" not in self.record:
                print("note: it was trained without --measure_contribution; --overwrite_output_dir trains it anew")
        console().print(results_table(self.record))
        for path in (self.path / name for name in self.record.get("files", ())):
            if path.is_file():
                print(f"predictions: {path}")
        print(f"record: {self.path / RECORD_FILE}")


@contextlib.contextmanager
def open_run(arguments: Arguments) -> Iterator[Run]:
    """Hold the run's folder, locked, until the run has ended, and write into its record how.

    Raises:
        UsageError: refused: the folder is another's, in use or not to be written, or the command line names an adapter
            or a rank that cannot be.
        RunFailed: whatever else goes wrong.
        Terminated: on SIGTERM.
    """
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()  # of loading weights; training keeps its own
    raise_on_signals()
    path = Path(arguments.training.output_dir)
    with contextlib.ExitStack() as held:
        with fail_together():
            model_config = settle(arguments)
            resolved = resolved_arguments(arguments)
            start, folder = None, None
            if is_main_process():
                start = _inspect(path, resolved, arguments)
                if start.kind != "finished":
                    folder = held.enter_context(RunFolder(path))
                    start = _inspect(path, resolved, arguments)  # again: it may have changed until it was locked
                if start.kind != "finished":
                    _check_inputs_survive(path, arguments)
        start, of_main = broadcast_object_list([start, resolved])
        with fail_together():
            if odd := differences(of_main, resolved):
                raise UsageError(f"given something else than the first process ({', '.join(odd[:4])})")
        run = Run(arguments, resolved, model_config, start, folder)
        if run.finished:
            yield run
            return
        torch.set_num_threads(run.threads)
        try:
            yield run
            run.finish()
        except BaseException as error:
            with signals_ignored():  # after one process was killed the launcher ends the others, while they write why
                failure = as_failure(error, run.doing, path, began=run.began is not None)
                if run.began:
                    run.fail(failure)
            if failure is error:
                raise
            raise failure from error


def settle(arguments: Arguments) -> PretrainedConfig:
    """What the command line leaves to other places, in place: the saved adapter, rates for the model's size,
    ``--target_params``, the GPU. Returns the pre-trained model's configuration.

    Raises:
        UsageError: if the saved adapter is not whole, no rank is small enough, or the model has no configuration.
    """
    if arguments.saved:
        read_adapter(arguments.run.adapter_path)
    config = load_config(arguments.model)
    fit_rates_to_model(arguments, config)
    if arguments.run.target_params is not None:
        rank, note = rank_within(arguments.adapter, skeleton(config), arguments.run.target_params)
        arguments.adapter = replace(arguments.adapter, tensorized_layer_rank=rank)
        arguments.notes.append(note)
    training = arguments.training
    if training.device.type == "cuda" and not (training.bf16 or training.fp16 or training.tf32):
        arguments.notes.append("in float32, as nothing else is asked for; --bf16 or --tf32 True is faster on this GPU")
    half = next((flag for flag in ("bf16", "bf16_full_eval") if getattr(training, flag)), None)
    if half and training.device.type == "cpu" and not computes_bfloat16():
        arguments.notes.append(
            f"this processor has no instructions for bfloat16, and float32 is faster on it: leave --{half} out"
        )
    if training.n_gpu > 1:
        # The Trainer would split each batch over all of them with nn.DataParallel, and multiply its size.
        how = "CUDA_VISIBLE_DEVICES chooses it; several runs side by side, or one under torchrun, use them all"
        arguments.notes.append(f"{training.n_gpu} GPUs are visible and a run uses one, {training.device}; {how}")
        training._n_gpu = 1
    return config


def _inspect(path: Path, resolved: dict[str, Any], arguments: Arguments) -> Start:
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


def _check_inputs_survive(folder: Path, arguments: Arguments) -> None:
    """``--overwrite_output_dir`` must not remove what this very run starts from; raises UsageError."""
    if not arguments.run.overwrite_output_dir:
        return
    inputs = {
        "resume_from_checkpoint": arguments.training.resume_from_checkpoint,
        "adapter_path": arguments.run.adapter_path,
        "model_name_or_path": arguments.model.model_name_or_path,
        **{name: getattr(arguments.data, name) for name in FILE_FLAGS},
    }
    root = folder.resolve()
    for name, value in inputs.items():
        place = Path(value).resolve() if value else root
        below = place.relative_to(root).parts if place.is_relative_to(root) else ()
        if (below and is_ours(below[0])) or (name == "adapter_path" and value and place == root):
            raise UsageError(f"--overwrite_output_dir would remove --{name} {value}; name another --output_dir")
