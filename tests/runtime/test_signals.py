"""The start and the end of a process: lost readers, full disks, signals, unforeseen errors."""

import os
import signal
import subprocess
import sys
import termios

import pytest
from helpers import SCRIPT, argv, record_of, spoil_step

from run_glue_tensorized import main
from tensorized_adapters.errors import RunFailed, Terminated, UsageError
from tensorized_adapters.runtime import exits, signals

PACKAGE = SCRIPT.parent / "tensorized_adapters"
SWEEP = [PACKAGE / "__main__.py", "sweep"]  # all subcommands share one main()
# Interrupts the process when a command's first long imports begin. Tests in the background inherit an ignored SIGINT.
INTERRUPT = """
import os, runpy, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
class Interrupting:
    def find_spec(self, name, path=None, target=None):
        if name in ("argparse", "tensorized_adapters.runtime.exits"):
            os.kill(os.getpid(), {number})
sys.meta_path.insert(0, Interrupting())
if {name!r} == "__main__.py":
    runpy.run_module("tensorized_adapters", run_name="__main__", alter_sys=True)
else:
    runpy.run_path({script!r}, run_name="__main__")
"""


def in_a_process(words, prepare) -> int:
    """The exit code of a run in a process of its own, as started from a shell; ``prepare`` sets up its streams."""
    child = os.fork()
    if not child:
        try:
            prepare()
            signals.begin()
            os._exit(main(words))
        finally:
            os._exit(99)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@pytest.mark.parametrize("command", [[SCRIPT], SWEEP], ids=["run", "sweep"])
@pytest.mark.parametrize("number, line", [(signal.SIGINT, "interrupted"), (signal.SIGTERM, "terminated")])
def test_interrupts_during_the_imports(command, number, line):
    code = INTERRUPT.format(number=int(number), name=command[0].name, script=str(command[0]))
    words = [sys.executable, "-c", code, *command[1:], "--help"]
    done = subprocess.run(words, capture_output=True, text=True, cwd=SCRIPT.parent)
    assert (done.returncode, done.stderr) == (128 + number, f"{line}: before anything was started\n")


# This program gets a signal in a destructor. Then it sleeps, as a run waits for a batch.
IN_A_DESTRUCTOR = """
import signal, sys, time
from tensorized_adapters.runtime import exits, signals
signal.signal(signal.SIGINT, signal.default_int_handler)
class Closing:
    def __del__(self):
        signal.raise_signal({number})
def work(_):
    Closing()
    print("goes on", flush=True)
    time.sleep(60)
exits.run_program(work)
"""


@pytest.mark.parametrize(
    "number, line", [(signal.SIGINT, "interrupted: by Ctrl-C"), (signal.SIGTERM, "terminated: by SIGTERM")]
)
def test_a_signal_during_a_destructor_is_not_lost(number, line):
    words = [sys.executable, "-c", IN_A_DESTRUCTOR.format(number=int(number))]
    done = subprocess.run(words, capture_output=True, text=True, cwd=SCRIPT.parent, timeout=50)
    assert (done.returncode, done.stdout, done.stderr) == (128 + number, "goes on\n", f"{line}\n")


def close_both():
    os.close(1)
    os.close(2)


def close_the_reader():
    read, write = os.pipe()
    os.close(read)
    os.dup2(write, 1)
    os.dup2(write, 2)


@pytest.mark.parametrize("prepare", [close_both, close_the_reader])
def test_a_run_whose_output_nobody_reads_is_finished(flags, prepare):
    assert in_a_process(argv(flags, disable_tqdm=False, num_train_epochs=1), prepare) == 0
    assert record_of(flags["output_dir"])["status"] == "finished"


def test_output_that_a_full_disk_cannot_take_is_an_error(flags, tmp_path):
    def fill_the_disk():
        os.dup2(os.open("/dev/full", os.O_WRONLY), 1)
        os.dup2(os.open(tmp_path / "stderr", os.O_CREAT | os.O_WRONLY), 2)

    assert in_a_process(argv(flags), fill_the_disk) == 1
    error = (tmp_path / "stderr").read_text()
    assert error.startswith("failed: no space left for ") and error.count("\n") == 1
    words = [sys.executable, "-m", "tensorized_adapters", "count", "--help"]
    with open("/dev/full", "w") as full:
        done = subprocess.run(words, stdout=full, stderr=subprocess.PIPE, text=True, cwd=SCRIPT.parent)
    assert (done.returncode, done.stderr) == (
        1,
        "failed: standard output cannot be written: No space left on device\n",
    )


def test_a_failure_starts_a_line_below_the_progress_bar(flags, tmp_path, monkeypatch):
    def spoil(output):
        output.loss = output.loss * float("nan")

    spoil_step(monkeypatch, 9, spoil)
    printed = tmp_path / "stderr"

    def redirect():
        os.dup2(os.open(printed, os.O_CREAT | os.O_WRONLY), 2)

    assert in_a_process(argv(flags, disable_tqdm=False), redirect) == 1
    *bars, line, end = printed.read_bytes().decode().split("\n")
    assert "it/s]" in "".join(bars) and line.startswith("failed: the loss is nan") and end == ""


def test_what_nobody_foresaw_is_one_line_and_its_traceback_is_kept(flags, monkeypatch, capsys):
    def spoil(output):
        raise ZeroDivisionError("by [/b] zero\nin two lines")

    with monkeypatch.context() as patch:
        spoil_step(patch, 9, spoil)
        assert main(argv(flags)) == 1
    out = flags["output_dir"]
    kept = out / "traceback.txt"
    error = capsys.readouterr().err
    assert error.startswith("failed: while training: ZeroDivisionError at test_signals.py:") and error.count("\n") == 1
    assert error.endswith(f": by [/b] zero in two lines; the traceback is in {kept}\n")
    assert kept.read_text().startswith("Traceback") and "in spoil" in kept.read_text()
    assert record_of(out)["status"] == "failed" and str(kept) in record_of(out)["reason"]
    assert main(argv(flags)) == 0  # goes on from the first epoch's checkpoint
    assert not kept.exists()


def test_what_nobody_foresaw_before_the_run_is_one_line_too(flags, monkeypatch, capsys, tmp_path):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr("tensorized_adapters.runs.run.resolved_arguments", lambda arguments: 1 / 0)
    assert main(argv(flags)) == 1
    error = capsys.readouterr().err
    assert error.startswith("failed: ZeroDivisionError at test_signals.py:") and error.count("\n") == 1
    [kept] = tmp_path.glob("*/traceback.txt")
    assert str(kept) in error and not flags["output_dir"].exists()


def test_a_log_gets_plain_lines_and_twenty_losses(flags, tmp_path, capsys):
    handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    folder = tmp_path / "a[/b] :smile:"  # no markup
    assert main(argv(flags, output_dir=folder, disable_tqdm=None, num_train_epochs=4)) == 0
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == handlers  # the caller's
    printed = capsys.readouterr()
    assert "\r" not in printed.out + printed.err and printed.err == "" and "a[/b] :smile:" in printed.out
    lines = printed.out.splitlines()
    assert sum(line.startswith("step ") and "loss 0." in line for line in lines) >= 20
    begin = f"training {flags['model_name_or_path']} on cpu (1 thread): 48 examples, 24 steps of 8"
    phases = ["reading the data ...", "loading the model ...", "tokenising ...", begin, "evaluating ..."]
    assert [line for line in lines if line in phases] == phases


def test_a_terminal_gets_labelled_bars(flags):
    main_end, terminal = os.openpty()
    termios.tcsetwinsize(terminal, (24, 100))
    child = os.fork()
    if not child:
        os.dup2(terminal, 1)
        os.dup2(terminal, 2)
        signals.begin()
        os._exit(main(argv(flags, disable_tqdm=None, num_train_epochs=1)))
    os.close(terminal)
    printed = b""
    try:
        while part := os.read(main_end, 65536):
            printed += part
    except OSError:  # the terminal's other end is closed
        pass
    assert os.waitpid(child, 0)[1] == 0
    text = printed.decode()
    assert "importing PyTorch ..." in text and "training: 100% |" in text and " left, " in text
    assert "measuring on the training set:   0% |" in text and "evaluating:   0% |" in text


# The interpreter destroys globals after it has removed signal handlers.
LATE = """
import os, signal
from tensorized_adapters.runtime import exits
class Late:
    def __del__(self, kill=os.kill, process=os.getpid(), numbers=(signal.SIGINT, signal.SIGTERM)):
        for number in numbers:
            kill(process, number)
late = Late()
exits.run_program(lambda argv: 0)
"""


def test_a_signal_while_the_interpreter_ends_changes_nothing():
    done = subprocess.run([sys.executable, "-c", LATE], capture_output=True, text=True, cwd=SCRIPT.parent)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("number, error", [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, Terminated)])
def test_signals_raise_until_the_exit_code_is_decided(number, error, capsys):
    """A launcher may end a process that has just failed by itself. Its code and its line stay those of the failure."""

    def failing(argv):
        raise RunFailed("by itself")

    def going_on(argv):
        """As a script does that runs several jobs."""
        for main_, code in ((failing, 1), (lambda argv: 0, 0)):
            assert exits.run(main_, []) == code
            with pytest.raises(error):
                signal.raise_signal(number)
        return 0

    before = signal.signal(number, signals._exit_at_once)
    try:
        signals.raise_on_signals()
        for main_, code in ((failing, 1), (lambda argv: 0, 0), (going_on, 0)):
            assert exits.run(main_, []) == code
            signal.raise_signal(number)
        signals.ignore_signals()
        signal.raise_signal(number)
    finally:
        signal.signal(number, before)
    assert capsys.readouterr().err == "failed: by itself\n" * 2


@pytest.mark.parametrize(
    "error, code, line",
    [
        (UsageError("two\nlines"), 2, "error: two lines"),
        (RunFailed("x"), 1, "failed: x"),
        (FileNotFoundError(2, "No such file", "a.txt"), 2, "error: a.txt: No such file"),
        (KeyboardInterrupt(), 130, "interrupted: by Ctrl-C"),
        (Terminated("the same command goes on"), 143, "terminated: the same command goes on"),
    ],
)
def test_each_way_to_end_has_a_code_and_a_line(error, code, line, capsys):
    def failing(argv):
        raise error

    assert exits.run(failing, []) == code
    assert capsys.readouterr().err == line + "\n"
