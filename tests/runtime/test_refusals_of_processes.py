"""However the processes of a run are refused or ended, one line says why."""

import errno
import os
import signal
import time
from functools import partial

import pytest
from accelerate import utils
from helpers import argv
from processes import in_two_processes

from tensorized_adapters.errors import UsageError
from tensorized_adapters.runtime import distributed, exits, signals
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


def test_a_forked_process_takes_signals_though_its_parent_has_ended_a_command(monkeypatch):
    monkeypatch.setattr(signals, "ending", True)
    if not (child := os.fork()):
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signals.begin()
        os.kill(os.getpid(), signal.SIGTERM)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 128 + signal.SIGTERM


def test_a_signal_that_comes_before_it_is_waited_for_ends_a_process_in_silence(flags, tmp_path):
    def be_signalled(rank):
        distributed._PATIENCE = 1.0
        if rank == 1:
            exits.is_reported_by_main_process = after_signal(exits.is_reported_by_main_process)

    def after_signal(function):
        def signalled(*args):
            os.kill(os.getpid(), signal.SIGTERM)
            return function(*args)

        return signalled

    words = [*argv(flags), "--num_train_epoch", "1"]
    codes, _, error = in_two_processes(tmp_path, words, prepare=be_signalled, ended_by=signal.SIGCONT)
    assert codes == [2, 2] and error.count("\n") == 1 and error.startswith("error: unknown argument")


def test_rank_0_ends_after_the_others_know_that_it_fails(flags, tmp_path):
    """Rank 1 is slow after they have talked. Had rank 0 ended meanwhile, rank 1 would report the launcher's signal."""

    def be_slow(rank):
        if rank == 1:
            utils.gather_object = slow(utils.gather_object)

    def slow(gather):
        def gathered(own):
            answers = gather(own)
            until = time.monotonic() + 0.5
            while answers[0][0] and time.monotonic() < until:
                pass
            return answers

        return gathered

    flags["output_dir"].mkdir()
    (flags["output_dir"] / "foreign").touch()
    codes, _, error = in_two_processes(tmp_path, argv(flags), prepare=be_slow)
    assert codes[0] == 2 and codes[1] in (2, 143)
    assert error.count("\n") == 1 and error.startswith("error: --output_dir")


def test_a_process_that_is_signalled_while_all_fail_is_silent_also_after_rank_0(flags, tmp_path):
    def be_signalled(rank):
        if rank == 1:
            distributed._main_process_lives = lambda: False
            distributed.raised_by_all = before_signal(distributed.raised_by_all)

    def before_signal(function):
        def signalling(error):
            error = function(error)
            os.kill(os.getpid(), signal.SIGTERM)
            return error

        return signalling

    flags["output_dir"].mkdir()
    (flags["output_dir"] / "foreign").touch()
    codes, _, error = in_two_processes(tmp_path, argv(flags), prepare=be_signalled, ended_by=signal.SIGCONT)
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


@pytest.mark.parametrize("failure", [UsageError, partial(OSError, errno.ENOSPC)])
def test_the_first_process_alone_makes_the_files_of_the_adapter(flags, tmp_path, failure):
    """The other one would fetch and serialise all tensors for nothing. Both end if it fails."""

    def fail(rank):
        def failing(*args):
            raise failure(f"made by rank {rank}")

        save.adapter_files = failing

    changes = {"num_train_epochs": 1, "save_strategy": "no"}
    codes, _, error = in_two_processes(tmp_path, argv(flags, **changes), prepare=fail)
    expected = "failed: no space left for a file" if isinstance(failure, partial) else "failed: made by rank 0\n"
    assert sorted(codes) in ([-signal.SIGTERM, 1], [1, 1])
    assert error.startswith(expected) and error.count("\n") == 1
