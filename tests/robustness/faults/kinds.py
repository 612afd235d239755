"""The kinds of faults. Each is a function that runs a trial; KINDS has their default numbers of trials."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from forked_run import Ending

from faults import injections
from faults.trial import SmallDisk, Trial

_SCRIPT = Path(__file__).resolve().parents[3] / "run_glue_tensorized.py"


def kill(trial: Trial) -> None:
    _signalled(trial, signal.SIGKILL, -signal.SIGKILL)


def terminate(trial: Trial) -> None:
    _signalled(trial, signal.SIGTERM, 143)


def interrupt(trial: Trial) -> None:
    _signalled(trial, signal.SIGINT, 130)


def interrupt_at_start(trial: Trial) -> None:
    """Ctrl-C or SIGTERM in a new process that is still importing."""
    number, code = trial.draw.choice([(signal.SIGINT, 130), (signal.SIGTERM, 143)])
    seconds = 0.2 + 6 * trial.fraction
    trial.verdict.what = f"{signal.Signals(number).name} {seconds:.2f} s after the interpreter's start"
    words, began = trial.fixture.inputs.words(trial.out), time.time()
    process = subprocess.Popen([sys.executable, str(_SCRIPT), *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    time.sleep(seconds)
    process.send_signal(number)
    try:
        out, err = process.communicate(timeout=120)
    finally:
        process.kill()
    ending = Ending(process.returncode, out.decode(), err.decode(errors="replace"), time.time() - began)
    trial.ended(ending, code, 0)
    trial.run_equal(words)


def kill_at_change(trial: Trial) -> None:
    """kill -9 before the n-th change of files, n evenly spread over all of them."""
    number = 1 + int(trial.fraction * trial.fixture.operations)
    trial.verdict.what = f"kill -9 before change {number} of {trial.fixture.operations}"
    words = trial.fixture.inputs.words(trial.out)
    trial.run(words, -signal.SIGKILL, prepare=injections.killed_at_change(trial.out, number))
    trial.run_equal(words)


def kill_in_write(trial: Trial) -> None:
    """A kill in the middle of a write."""
    size = int(trial.fraction * trial.fixture.bytes[0])
    trial.verdict.what = f"killed in the write that makes a file larger than {size} bytes"
    words = trial.fixture.inputs.words(trial.out)
    trial.run(words, -signal.SIGXFSZ, prepare=injections.killed_in_write(size))
    trial.run_equal(words)


def full_disk(trial: Trial) -> None:
    """A disk that becomes full during the run, and is enlarged then."""
    words = trial.fixture.inputs.words(trial.out)
    if trial.fixture.mounts:
        size = int(trial.fraction * trial.fixture.bytes[1]) // 4096 * 4096
        trial.verdict.what = f"a disk of {size} bytes"
        with SmallDisk(trial.out, size) as disk:
            trial.run(words, 1, 2)
            disk.change("size=64m")
            trial.run_equal(words)
    else:
        size = int(trial.fraction * trial.fixture.bytes[0])
        trial.verdict.what = f"files of at most {size} bytes (RLIMIT_FSIZE: nothing can be mounted here)"
        trial.run(words, 1, 2, prepare=injections.files_limited(size))
        trial.run_equal(words)


def read_only(trial: Trial) -> None:
    """A folder, empty or with half a run, that is read-only at first and writable later."""
    half = trial.fraction > 0.5
    words = trial.fixture.inputs.words(trial.out)
    trial.verdict.what = f"a read-only folder with {'half a run' if half else 'nothing'} in it"
    if trial.fixture.mounts:
        with SmallDisk(trial.out, 64 * 2**20) as disk:
            if half:
                trial.fixture.half_run(trial.out)
            disk.change("ro")
            trial.run(words, 2)
            disk.change("rw")
            trial.run_equal(words)
    elif os.geteuid():
        trial.out.mkdir()
        if half:
            trial.fixture.half_run(trial.out)
        trial.out.chmod(0o555)
        trial.run(words, 2)
        trial.out.chmod(0o755)
        trial.run_equal(words)
    else:
        trial.verdict.what += ": not tried, as mode bits do not hold for root and nothing can be mounted here"
        trial.run_equal(words)


def truncated(trial: Trial) -> None:
    _damaged(trial, "truncated", lambda path, content: path.write_bytes(content[: len(content) // 2]))


def flipped(trial: Trial) -> None:
    def flip(path: Path, content: bytes) -> None:
        position = trial.draw.randrange(len(content))
        path.write_bytes(
            content[:position] + bytes([content[position] ^ (1 << trial.draw.randrange(8))]) + content[position + 1 :]
        )

    _damaged(trial, "with a flipped bit", flip)


def unreadable_checkpoint(trial: Trial) -> None:
    """Files that cannot be read: they are replaced by folders, since root ignores mode bits."""

    def replace(path: Path, _: bytes) -> None:
        path.unlink()
        path.mkdir()

    _damaged(trial, "replaced by a folder", replace)


def unreadable_input(trial: Trial) -> None:
    """An input or the record cannot be read when the run goes on: one line. Once it can, the run goes on."""
    inputs = trial.fixture.own_inputs(trial.folder)
    words = inputs.words(trial.out)
    victims = [inputs.train, inputs.validation, inputs.base / "model.safetensors", trial.out / "run.json"]
    victim = victims[int(trial.fraction * len(victims))]
    trial.verdict.what = f"{victim.name} replaced by a folder between start and resume"
    trial.run(words, -signal.SIGKILL, prepare=injections.killed_after_seals(trial.out, 3))
    kept = victim.rename(victim.with_name("kept.aside"))
    victim.mkdir()
    trial.run(words, 2)
    victim.rmdir()
    kept.rename(victim)
    trial.run_equal(words)


def changed_input(trial: Trial) -> None:
    """A data file or the base model changed between start and resume: refused in one line until it is restored."""
    inputs = trial.fixture.own_inputs(trial.folder)
    words = inputs.words(trial.out)
    victims = [inputs.train, inputs.validation, inputs.base / "model.safetensors"]
    victim = victims[int(trial.fraction * len(victims))]
    trial.verdict.what = f"{victim.name} changed between start and resume"
    trial.run(words, -signal.SIGKILL, prepare=injections.killed_after_seals(trial.out, 3))
    content = victim.read_bytes()
    if victim.suffix == ".csv":
        victim.write_bytes(content.replace(b"cat", b"dog"))
    else:
        victim.write_bytes(content[:-3] + bytes([content[-3] ^ 1]) + content[-2:])
    trial.run(words, 2)
    victim.write_bytes(content)
    trial.run_equal(words)


def two_runs(trial: Trial) -> None:
    """A second run in the folder of one in progress: it is refused, and the first one is not disturbed."""
    trial.verdict.what = "a run with another seed into the folder of one under way"
    words = trial.fixture.inputs.words(trial.out)
    first = trial.start(words)
    until = time.time() + 60
    while not (trial.out / "run.json").exists() and time.time() < until:
        time.sleep(0.005)
    trial.run(trial.fixture.inputs.words(trial.out, seed=2), 2)
    trial.ended(first.wait(), 0)
    trial.run_equal(words)


def twice_at_once(trial: Trial) -> None:
    """The same command twice at once: at least one ends well, the other is refused or finds the run finished."""
    pause = 0.6 * trial.fraction * trial.fixture.seconds
    trial.verdict.what = f"the same command again {pause:.2f} s later"
    words = trial.fixture.inputs.words(trial.out)
    first = trial.start(words)
    time.sleep(pause)
    second = trial.start(words)
    codes = [trial.ended(child.wait(), 0, 2).code for child in (first, second)]
    if 0 not in codes:
        trial.verdict.untidy.append("both were refused")
    trial.run_equal(words)


KINDS: dict[str, tuple[Callable[[Trial], None], int]] = {
    "kill": (kill, 6),
    "terminate": (terminate, 6),
    "interrupt": (interrupt, 6),
    "interrupt_at_start": (interrupt_at_start, 4),
    "kill_at_change": (kill_at_change, 16),
    "kill_in_write": (kill_in_write, 4),
    "full_disk": (full_disk, 6),
    "read_only": (read_only, 2),
    "truncated": (truncated, 9),
    "flipped": (flipped, 9),
    "unreadable_checkpoint": (unreadable_checkpoint, 3),
    "unreadable_input": (unreadable_input, 4),
    "changed_input": (changed_input, 3),
    "two_runs": (two_runs, 2),
    "twice_at_once": (twice_at_once, 4),
}


def _signalled(trial: Trial, number: int, code: int) -> None:
    seconds = trial.draw.random() * trial.fixture.seconds
    trial.verdict.what = f"{signal.Signals(number).name} after {seconds:.3f} s of {trial.fixture.seconds:.3f}"
    words = trial.fixture.inputs.words(trial.out)
    child = trial.start(words)
    time.sleep(seconds)
    child.send(number)
    trial.ended(child.wait(), code, 0)  # 0: the run ended before the signal
    trial.run_equal(words)


def _damaged(trial: Trial, how: str, damage: Callable[[Path, bytes], object]) -> None:
    """Half a run, in whose newest checkpoint one file is damaged: it goes on from the checkpoint before."""
    trial.fixture.half_run(trial.out)
    newest = max(trial.out.glob("checkpoint-*"), key=lambda path: int(path.name.split("-")[1]))
    files = sorted(path for path in newest.rglob("*") if path.is_file() and path.stat().st_size)
    victim = files[int(trial.fraction * len(files))]
    trial.verdict.what = f"{victim.relative_to(trial.out)} {how}"
    damage(victim, victim.read_bytes())
    trial.run_equal(trial.fixture.inputs.words(trial.out))
