"""One trial: a fault, the same command again, and the verdict."""

import random
import subprocess
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Optional

from forked_run import Child, Ending

from faults.fixture import Fixture, difference


@dataclass
class Verdict:
    """The result of a trial.

    Attributes:
        stops: how many processes stopped with one line and its exit code.
        equal: whether the last run gave the bits of the undisturbed one.
        lost: why it did not.
        untidy: the endings of processes with a wrong exit code or without one line.
    """

    kind: str
    what: str
    stops: int = 0
    equal: bool = False
    tracebacks: int = 0
    lost: list[str] = field(default_factory=list)
    untidy: list[str] = field(default_factory=list)
    endings: list[dict[str, Any]] = field(default_factory=list)


class Trial:
    """A trial with a folder of its own, and the processes in it.

    Attributes:
        fraction: the position of the fault in the kind's range; the trials of a kind are spread evenly over (0, 1).
        draw: the trial's own random numbers.
    """

    def __init__(self, kind: str, number: int, count: int, fixture: Fixture, seed: int):
        self.fixture, self.fraction = fixture, (number + 0.5) / count
        self.draw = random.Random(f"{seed} {kind} {number}")
        self.folder = fixture.folder / "trials" / f"{kind}-{number}"
        self.folder.mkdir(parents=True)
        self.out = self.folder / "out"
        self.verdict = Verdict(kind, "")
        self._started = 0

    def start(self, words: list[str], prepare: Optional[Callable[[], Any]] = None) -> Child:
        self._started += 1
        return Child(words, self.folder / f"process-{self._started}", prepare)

    def ended(self, ending: Ending, *codes: int) -> Ending:
        """Note the ending of a process, which may have one of ``codes`` (negative if we killed it)."""
        verdict = self.verdict
        shown = asdict(ending) | {"out": ending.out[-500:], "err": ending.err[-3000:]}
        verdict.endings.append(shown)
        verdict.stops += ending.stopped
        verdict.tracebacks += ending.traceback
        if flaw := ending.flaw(*codes):
            verdict.untidy.append(flaw)
        return ending

    def run(self, words: list[str], *codes: int, prepare: Optional[Callable[[], Any]] = None) -> Ending:
        """Start a process, wait for it and note its ending."""
        return self.ended(self.start(words, prepare).wait(), *codes)

    def run_equal(self, words: list[str], out: Optional[Path] = None) -> None:
        """Run the command (again): it must end well, with the bits of the undisturbed run."""
        self.run(words, 0)
        odd = difference(out or self.out, self.fixture.undisturbed)
        self.verdict.equal = odd is None
        if odd:
            self.verdict.lost.append(odd)


class SmallDisk:
    """A file system of ``size`` bytes, mounted in a ``with`` statement; needs the rights to mount."""

    def __init__(self, folder: Path, size: int):
        self.folder, self.size = folder, size
        folder.mkdir(parents=True, exist_ok=True)

    def __enter__(self) -> "SmallDisk":
        _mount("-t", "tmpfs", "-o", f"size={max(4096, self.size)}", "tmpfs", str(self.folder))
        return self

    def __exit__(self, *_) -> None:
        subprocess.run(["umount", "--lazy", str(self.folder)], capture_output=True)

    def change(self, options: str) -> None:
        _mount("-o", f"remount,{options}", str(self.folder))


def can_mount(folder: Path) -> bool:
    try:
        with SmallDisk(folder, 4096):
            return True
    except (OSError, subprocess.SubprocessError):
        return False


def _mount(*words: str) -> None:
    subprocess.run(["mount", *words], check=True, capture_output=True)
