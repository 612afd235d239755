"""Opens a run in its folder, keeps its record, and reports each failure in one line."""

import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Optional

import torch
from accelerate.utils import broadcast_object_list

from ..arguments.flags import Arguments
from ..errors import Terminated, UsageError, reason_of
from ..runtime import signals
from ..runtime.console import console, peak_memory
from ..runtime.distributed import fail_together, is_main_process
from ..runtime.files import locked_folder, write_json
from ..saving.manifest import read_adapter
from ..training.checkpoints import ADAPTER_FOLDER
from .failures import as_failure
from .folder import RECORD_FILE, RESULTS_FILE, Start, clear_remains, clear_run, inspect_folder, is_ours
from .record import new_record, parameter_table, results_table
from .resuming import check_named_checkpoint, choose_checkpoint, resumes_in
from .same_run import differences, resolved_arguments

# Fields of the record that describe the last start alone, and what a resumed run notes if an earlier start differs.
_CAN_CHANGE_BITS = {
    "threads": "by another number of threads",
    "git": "by another commit of this program",
    "versions": "with other versions of packages",
}


class Run:
    """Keeps the state and the record of a run, whose files only the first process writes. open_run makes it."""

    def __init__(self, arguments: Arguments, resolved: dict[str, Any], start: Start):
        self.path = Path(arguments.training.output_dir)
        self.finished = start.kind == "finished"  # by an earlier start, so that nothing is left to do
        self.record: dict[str, Any] = start.record if self.finished else {}  # it grows while the run goes on
        self.resolved = resolved  # every argument with its value
        self.began: Optional[float] = None  # when this start wrote the record
        self.seconds_before = 0.0  # the time of the earlier starts that this one continues
        self.step = "preparing"  # the present step, for the line about a failure
        self._arguments, self._start = arguments, start
        self._notes: list[str] = []
        # Equal bits need equal counts of threads: a resumed run takes the count of its first start.
        self.threads = arguments.run.cpu_threads or (start.record or {}).get("threads") or torch.get_num_threads()

    def announce(self, step: str) -> None:
        """Print that a step begins which takes time."""
        self.step = step
        print(f"{step} ...", flush=True)

    def note(self, message: Optional[str]) -> None:
        """Print a message for the user, if there is one, and keep it in the record."""
        if message:
            print(f"note: {message}")
            if message not in self._notes:
                self._notes.append(message)

    def checkpoint(self) -> Optional[Path]:
        """Return the checkpoint to resume from, or None. All processes call this, and the first one chooses. Raise
        UsageError if it cannot be read, or cannot go on under this run's arguments."""
        with fail_together():
            main = is_main_process()
            chosen = choose_checkpoint(self._arguments, self.resolved, self._start) if main else None
        checkpoint, notes, started_from = broadcast_object_list([chosen])[0]
        if started_from:  # the Trainer writes this dictionary into its checkpoints
            self.resolved["started_from"] = started_from
        for note in notes:
            self.note(note)
        return checkpoint

    def begin(self, argv: list[str], **known: Any) -> None:
        """Write the record, with what is ``known`` before training. All refusals come before, all writing after."""
        arguments = self._arguments
        self.record = new_record(argv, self.resolved, arguments.given, arguments.training.seed)
        rates = self.resolved["learning_rates"]
        self.record |= {"threads": self.threads, "notes": self._notes, "learning_rates": rates} | known
        if known.get("resumed_from"):
            before = self._start.record or {}
            self.seconds_before = before.get("seconds", 0.0)
            self._notes[:0] = [note for note in before.get("notes", ()) if note not in self._notes]
            for name, what in _CAN_CHANGE_BITS.items():
                if before.get(name) not in (None, self.record[name]):
                    self.note(f"the steps before the checkpoint were computed {what}")
        self.record["machine"]["gpus_used"] = arguments.training.n_gpu * self.resolved["processes"]
        for note in arguments.notes:
            self.note(note)
        with fail_together():
            if is_main_process():
                if arguments.run.overwrite_output_dir:
                    clear_run(self.path, self._start.record)
                clear_remains(self.path)
                self._write_record()
        self.began = time.time()
        shown = rates if arguments.training.do_train else {}
        console().print(parameter_table(known["parameters"], shown, known["method"]))

    def finish(self) -> None:
        """Write ``record["metrics"]`` as the results, and the record."""
        if not is_main_process():
            return
        write_json(self.path / RESULTS_FILE, self.record["metrics"])
        self.record |= {"peak_memory_bytes": peak_memory(), "seconds": self._seconds()}
        self.record |= {"ended": time.strftime("%Y-%m-%dT%H:%M:%S%z"), "status": "finished"}
        self._write_record()

    def fail(self, error: BaseException) -> None:
        """Record that the run ended early, and why."""
        if not is_main_process():
            return
        self.record["status"] = "interrupted" if isinstance(error, (KeyboardInterrupt, Terminated)) else "failed"
        self.record |= {"reason": reason_of(error), "seconds": self._seconds()}  # a later start adds its own seconds
        with contextlib.suppress(OSError):  # the disk may be full
            self._write_record()

    def _write_record(self) -> None:
        write_json(self.path / RECORD_FILE, self.record)

    def _seconds(self) -> float:
        """Return how long this start took, together with the starts that it resumes."""
        return round(self.seconds_before + time.time() - self.began, 3)

    def print_results(self) -> None:
        if self.finished:
            print(f"{self.path} holds this run, finished; nothing to do")
            try:
                if self._arguments.training.do_train:
                    read_adapter(self.path / ADAPTER_FOLDER)
            except UsageError as error:
                print(f"note: {error}; take a checkpoint's, or train anew with --overwrite_output_dir")
            if self._arguments.run.measure_contribution and "contribution" not in self.record:
                print("note: it was trained without --measure_contribution; --overwrite_output_dir trains it anew")
        console().print(results_table(self.record))
        for path in (self.path / name for name in self.record.get("files", ())):
            if path.is_file():
                print(f"predictions: {path}")
        print(f"record: {self.path / RECORD_FILE}")


@contextlib.contextmanager
def open_run(arguments: Arguments) -> Iterator[Run]:
    """Hold the run's folder, locked, until the run has ended, and record how it ended. Raises UsageError if the folder
    holds something else, is in use or cannot be written, and RunFailed if anything goes wrong later."""
    signals.raise_on_signals()
    with contextlib.ExitStack() as held:
        run = _opened(arguments, held)
        if run.finished:
            yield run
            return
        torch.set_num_threads(run.threads)
        try:
            yield run
            run.finish()
        except BaseException as error:
            signals.ending = True  # the launcher of a killed process ends the others while they report their error
            failure = as_failure(error, run.step, run.path, began=run.began is not None)
            if run.began:
                run.fail(failure)
            if failure is error:
                raise
            raise failure from error


def _opened(arguments: Arguments, held: contextlib.ExitStack) -> Run:
    """Open the run. Unless it is finished, the first process locks its folder, and ``held`` unlocks it."""
    path = Path(arguments.training.output_dir)
    start = None
    with fail_together():
        resolved = resolved_arguments(arguments)
        if is_main_process():
            check_named_checkpoint(arguments)
            overwrite = arguments.run.overwrite_output_dir
            options = {"overwrite": overwrite, "explicit_resume": resumes_in(path, arguments)}
            start = inspect_folder(path, resolved, **options)
            if start.kind != "finished":
                held.enter_context(locked_folder(path, "run"))
                start = inspect_folder(path, resolved, **options)  # again: it may have changed before it was locked
            if overwrite:
                _check_inputs_survive(path, arguments)
    start, resolved_by_rank_0 = broadcast_object_list([start, resolved])
    with fail_together():
        if found := differences(resolved_by_rank_0, resolved):
            raise UsageError(f"this process has other arguments or files than rank 0 ({', '.join(found[:4])})")
    return Run(arguments, resolved, start)


def _check_inputs_survive(folder: Path, arguments: Arguments) -> None:
    """Refuse ``--overwrite_output_dir`` if it would remove what this run starts from; raise UsageError."""
    inputs = {
        "resume_from_checkpoint": arguments.training.resume_from_checkpoint,
        "adapter_path": arguments.run.adapter_path,
        "model_name_or_path": arguments.model.model_name_or_path,
        "config_name": arguments.model.config_name,
        "tokenizer_name": arguments.model.tokenizer_name,
        **arguments.data.files,
    }
    root = folder.resolve()
    # A link is followed, because a run writes into the folder behind it.
    entries = [root / entry.name for entry in root.iterdir() if is_ours(entry.name)]
    written = {path for entry in entries for path in (entry, Path(os.path.realpath(entry)))}
    for name, value in inputs.items():
        path = Path(value).resolve() if value else None
        if path and (any(map(path.is_relative_to, written)) or (name == "adapter_path" and path == root)):
            raise UsageError(f"--overwrite_output_dir would remove --{name} {value}; name another --output_dir")
