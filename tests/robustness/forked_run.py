"""The main job in processes forked from one that has imported everything: a tenth of a second to start, not six.

What is done to such a process (a kill at some file operation, a limit, a watch) is a function that it calls first.
"""

import gc
import importlib
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn, Optional

from run_glue_tensorized import main
from tensorized_adapters.runtime import signals
from tensorized_adapters.sweeping import job_process

# The first word of the line for an exit code.
WORDS_OF_CODES = {1: "failed:", 2: "error:", 130: "interrupted:", 143: "terminated:"}
LONGEST_LINE = 1100
# Audited events that change files, and the positions of paths and of folders' descriptors in their arguments.
_FILE_CHANGES = {
    "os.mkdir": ((0, 2),),
    "os.rename": ((0, 2), (1, 3)),
    "os.remove": ((0, 1),),
    "os.rmdir": ((0, 1),),
    "os.truncate": ((0, None),),
    "os.link": ((1, 3),),
    "os.symlink": ((1, 2),),
    "os.chmod": ((0, 2),),
}
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


@dataclass
class Ending:
    """How a process ended.

    Attributes:
        code: exit code; negative of a signal that killed it.
        seconds: from its start; it was killed if ``timed_out``.
    """

    code: int
    out: str
    err: str
    seconds: float
    timed_out: bool = False

    @property
    def traceback(self) -> bool:
        return "Traceback (most recent call last)" in self.err

    @property
    def stopped(self) -> bool:
        """Return whether it printed one line that fits its exit code."""
        return self.code in WORDS_OF_CODES and self.flaw(self.code) is None

    def flaw(self, *codes: int) -> Optional[str]:
        """Return what is wrong with it if it may end with one of ``codes``, or None."""
        if self.timed_out:
            return f"did not end within {self.seconds:.0f} s"
        if self.traceback:
            return "a traceback: " + self.err.strip().splitlines()[-1][:200]
        if self.code not in codes:
            return f"exit code {self.code}"
        if self.code not in WORDS_OF_CODES:
            return None
        lines = [line for line in self.err.splitlines() if not line.startswith("note: ")]
        if len(lines) != 1 or not lines[0].startswith(WORDS_OF_CODES[self.code]):
            return f"exit code {self.code} with {len(lines)} lines on stderr: {' | '.join(lines)[:300]}"
        return f"a line of {len(lines[0])} characters" if len(lines[0]) > LONGEST_LINE else None


class Child:
    """A forked process that runs ``main(words)``, with what it prints in two files below ``folder``."""

    def __init__(self, words: list[str], folder: Path, prepare: Optional[Callable[[], Any]] = None):
        folder.mkdir(parents=True, exist_ok=True)
        self.began = time.time()
        self._streams = [folder / "stdout", folder / "stderr"]
        for path in self._streams:
            path.write_bytes(b"")  # it may be killed before it has opened them
        sys.stdout.flush()
        sys.stderr.flush()
        gc.freeze()  # a garbage collection in the child would copy all of the parent's memory
        self.pid = os.fork()
        if not self.pid:
            _become(words, self._streams, prepare)
        gc.unfreeze()

    def send(self, number: int) -> None:
        os.kill(self.pid, number)

    def wait(self, seconds: float = 120) -> Ending:
        """Wait for its end. After ``seconds`` kill it and all its children."""
        try:
            status = self._poll(seconds)
            timed_out = status is None
        finally:
            self._kill_group()
        if timed_out:
            _, status = os.waitpid(self.pid, 0)
        out, err = (path.read_bytes().decode(errors="replace") for path in self._streams)
        return Ending(os.waitstatus_to_exitcode(status), out, err, time.time() - self.began, timed_out)

    def _poll(self, seconds: float) -> Optional[int]:
        pause = 0.001
        while time.time() < self.began + seconds:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                return status
            time.sleep(pause)
            pause = min(1.5 * pause, 0.05)
        return None

    def _kill_group(self) -> None:
        try:
            os.killpg(self.pid, signal.SIGKILL)
        except OSError:  # nothing is left of it
            pass


def preload() -> None:
    """Import what the jobs of these tools import, before anything is forked: a sweep's jobs need less."""
    job_process.preload()
    for name in ("peft", "torch._dynamo", "transformers.models.bert.tokenization_bert"):
        importlib.import_module(name)


def changed_paths(event: str, arguments: tuple) -> list[str]:
    """The paths that an audited event (sys.addaudithook) is about to change; none for one that only reads."""
    if event == "open":
        path, mode, flags = arguments
        writes = set(mode) & set("wax+") if mode else (flags or 0) & _WRITING
        return [_absolute(path)] if writes and not isinstance(path, int) else []
    return [
        _absolute(arguments[path], -1 if folder is None else arguments[folder])
        for path, folder in _FILE_CHANGES.get(event, ())
        if not isinstance(arguments[path], int)
    ]


def _absolute(path: Any, folder: int = -1) -> str:
    """Of a path that is relative to the working directory, or to the open ``folder``."""
    root = os.readlink(f"/proc/self/fd/{folder}") if folder >= 0 else os.getcwd()
    return os.path.normpath(os.path.join(root, os.fsdecode(path)))


def _become(words: list[str], streams: list[Path], prepare: Optional[Callable[[], Any]]) -> NoReturn:
    """Run the job in the forked process like the script, and never return to the parent's code."""
    code = 1
    try:
        os.setsid()
        for number, target in enumerate((Path(os.devnull), *streams)):
            opened = os.open(target, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o666)
            os.dup2(opened, number)
            os.close(opened)
        sys.stdin, sys.stdout, sys.stderr = (os.fdopen(n, "w" if n else "r", closefd=False) for n in range(3))
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signals.begin()
        if prepare is not None:
            prepare()
        code = main(words)
        for number in (signal.SIGINT, signal.SIGTERM):  # it has ended; the rest is this function
            signal.signal(number, signal.SIG_IGN)
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else int(error.code is not None)
    except BaseException:
        traceback.print_exc()
    finally:
        try:
            sys.stdout.flush()
            sys.stderr.flush()
        finally:
            os._exit(code)
