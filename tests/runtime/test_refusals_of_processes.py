"""However the processes of a run are refused or ended, one line says why."""

import os
import signal

from helpers import argv
from processes import in_two_processes

from tensorized_adapters import RunFailed
from tensorized_adapters.runtime import distributed, exits
from tensorized_adapters.saving import save


def test_a_refusal_is_printed_once(flags, tmp_path):
    """All processes refuse together, also before they can talk to each other."""
    flags["output_dir"].mkdir()
    (flags["output_dir"] / "foreign").touch()
    codes, out, error = in_two_processes(tmp_path, argv(flags))
    assert codes[0] == 2 and codes[1] in (2, 143) and out == ""
    assert error.count("\n") == 1 and error.startswith("error: --output_dir") and "not a run of this program" in error
    codes, out, error = in_two_processes(tmp_path, [*argv(flags), "--num_train_epoch", "1"])
    assert codes[0] == 2 and codes[1] in (2, 143) and out == ""  # the launcher may end rank 1 before it refuses
    assert error.count("\n") == 1 and error.startswith("error: unknown argument --num_train_epoch")


def test_a_refusal_is_printed_once_however_early_its_launcher_ends_the_other_process(flags, tmp_path):
    """A signal that comes before this process waits for one, or before it has raised its error, is not lost."""

    def be_signalled(rank):
        distributed._PATIENCE = 1.0
        if rank == 1:
            exits.is_reported_by_main_process = signalled_before(exits.is_reported_by_main_process)

    def be_signalled_early(rank):
        if rank == 1:
            distributed.raised_by_all = signalled_before(distributed.raised_by_all)

    def signalled_before(function):
        def after_signal(*args):
            os.kill(os.getpid(), signal.SIGTERM)
            return function(*args)

        return after_signal

    words = [*argv(flags), "--num_train_epoch", "1"]
    codes, _, error = in_two_processes(tmp_path, words, prepare=be_signalled, ended_by=signal.SIGCONT)
    assert codes == [2, 2] and error.count("\n") == 1 and error.startswith("error: unknown argument")
    flags["output_dir"].mkdir()
    (flags["output_dir"] / "foreign").touch()
    codes, _, error = in_two_processes(tmp_path, argv(flags), prepare=be_signalled_early, ended_by=signal.SIGCONT)
    assert codes == [2, 143] and error.count("\n") == 1 and error.startswith("error: --output_dir")


def test_processes_with_different_commands_are_refused(flags, tmp_path):
    codes, out, error = in_two_processes(tmp_path, argv(flags), of_other=["--seed", "1"])
    assert error == "error: rank 1: this process has other arguments or files than rank 0 (--seed 42 there, 1 now)\n"
    assert codes[0] == 2 and codes[1] in (2, 143) and out == "" and not flags["output_dir"].exists()


def test_what_one_process_alone_refuses_is_reported_by_it(flags, tmp_path):
    """Meanwhile rank 0 waits for it without handling signals."""

    def be_impatient(rank):
        distributed._PATIENCE = 0.1

    other = {"of_other": ["--nonsense", "1"], "prepare": be_impatient, "ended_by": signal.SIGKILL}
    codes, _, error = in_two_processes(tmp_path, argv(flags), **other)
    assert codes == [-signal.SIGKILL, 2] and not flags["output_dir"].exists()
    assert error.startswith("error: rank 1: unknown argument --nonsense") and error.count("\n") == 1


def test_the_first_process_alone_makes_the_files_of_the_adapter(flags, tmp_path):
    """The other one would fetch and serialise all tensors for nothing. Both end if it fails."""

    def fail(rank):
        def failing(*args):
            raise RunFailed(f"made by rank {rank}")

        save.adapter_files = failing

    changes = {"num_train_epochs": 1, "save_strategy": "no"}
    codes, _, error = in_two_processes(tmp_path, argv(flags, **changes), prepare=fail)
    assert sorted(codes) in ([-signal.SIGTERM, 1], [1, 1]) and error == "failed: made by rank 0\n"
