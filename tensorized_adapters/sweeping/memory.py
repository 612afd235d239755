"""How many trials a machine and a GPU have memory for, as measured on the first one that trains there.

Only the standard library and psutil (which Accelerate brings) are imported: trials use it on other machines too.
"""

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import accumulate
from pathlib import Path
from typing import Any, Optional

import psutil

# What is left free: of a machine for the watchers and what trials read from disk, of a GPU for fragments.
_SHARE = 0.9
# What CUDA takes in each process beside what PyTorch reserves: its context and the loaded kernels, about.
_CUDA_BYTES = 600 * 2**20
# A watcher that has said nothing for so long is lost, and what it ran is gone with it.
_SECONDS_TO_LIVE = 20.0
# A first trial that has not trained a step by then is not waited for any longer: it downloads, say, or hangs.
_SECONDS_ALONE = 300.0
# How the two reasons to wait begin.
FIRST, MEMORY = "the first trial ", "memory: "
_CGROUP, _OWN_GROUPS = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")
_GROUP_FILES = (  # of the second version and of the first: limit, use, and what of it can be given back
    ("memory.max", "memory.current", "inactive_file"),
    ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
)


@dataclass
class _Place:
    """A machine, or one of its GPUs: bytes."""

    name: str
    capacity: Optional[float] = None  # for all trials together; None where nobody can tell
    most: Optional[int] = None  # that any trial has taken so far
    began: float = 0.0  # when the first one started
    running: dict[str, Optional[int]] = field(default_factory=dict)  # what each has taken at most, None: not measured


class Memory:
    """Which trials of a sweep run where and what they take; one for the sweep, asked by the watchers of its trials.

    A place's first trial starts alone, the next ones once it has been measured (after its first training step), as
    many as what the largest has taken fits into the place's memory.
    """

    def __init__(self) -> None:
        self._places: dict[str, _Place] = {}
        self._seen: dict[str, float] = {}

    def why_wait(self, trial: str, machine: str, gpu: Optional[str], available: int) -> str:
        """Empty if the trial may start, and it counts as running from here on; else what it waits for.

        Args:
            machine: its name.
            gpu: that the trial would use, or None.
            available: bytes on the machine, now.
        """
        self.left(trial)  # its former watcher was lost
        self._forget_lost()
        places = self._places_of(machine, gpu)
        if not places[0].running:
            places[0].capacity = available
        for place in places:
            if why := _why_wait(place):
                return why
        for place in places:
            if not place.running:
                place.began = time.monotonic()
            place.running[trial] = None
        self._seen[trial] = time.monotonic()
        return ""

    def tell(self, trial: str, machine: str, gpu: Optional[str], record: dict[str, Any]) -> None:
        """What a running trial has taken so far, by its run.json (``{}``: nothing yet)."""
        self._seen[trial] = time.monotonic()
        peak = record.get("peak_memory_bytes", {})
        own_machine, *own_gpu = self._places_of(machine, gpu)
        self._take(trial, own_machine, peak.get("resident"))
        for place in own_gpu:
            taken = peak["gpu_reserved"] + _CUDA_BYTES if "gpu_reserved" in peak else None
            if place.capacity is None and len(place.running) <= 1 and taken and "gpu_free" in record:
                place.capacity = record["gpu_free"] + taken
            # One that runs on the CPU of its own will takes nothing of the GPU that it was given.
            self._take(trial, place, 0 if peak and taken is None else taken)

    def left(self, trial: str) -> None:
        """A trial's process has ended."""
        self._seen.pop(trial, None)
        for place in self._places.values():
            place.running.pop(trial, None)

    def _places_of(self, machine: str, gpu: Optional[str]) -> list[_Place]:
        """The machine, and the GPU if there is one."""
        names = [machine] if gpu is None else [machine, f"GPU {gpu} of {machine}"]
        return [self._places.setdefault(name, _Place(name)) for name in names]

    def _take(self, trial: str, place: _Place, taken: Optional[int]) -> None:
        place.running[trial] = taken
        if taken is not None:
            place.most = max(taken, place.most or 0)

    def _forget_lost(self) -> None:
        for trial in [trial for trial, seen in self._seen.items() if time.monotonic() - seen > _SECONDS_TO_LIVE]:
            self.left(trial)


def name_of(start: str) -> str:
    """Of the actor of this start of a sweep."""
    return f"memory of sweep {start}"


def available_bytes() -> int:
    """That this process's machine, and its control groups (a container, a cluster's job), have left."""
    available = psutil.virtual_memory().available
    for folder in _control_groups():
        for limit, used, inactive in _GROUP_FILES:
            with contextlib.suppress(OSError, ValueError):  # no such file, or "max"
                total, taken = (int((folder / name).read_text()) for name in (limit, used))
                stat = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
                available = min(available, total - taken + int(stat.get(inactive, 0)))
    return max(0, available)


def _control_groups() -> Iterator[Path]:
    """The folders of this process's groups that may limit memory, with those around them; none outside Linux."""
    with contextlib.suppress(OSError):
        for line in _OWN_GROUPS.read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            if not controllers or "memory" in controllers.split(","):
                root = _CGROUP / "memory" if controllers else _CGROUP
                yield from accumulate(Path(path).parts[1:], Path.joinpath, initial=root)


def _why_wait(place: _Place) -> str:
    if not place.running or (place.most is not None and place.capacity is None):
        return ""
    if place.most is None:
        alone = time.monotonic() - place.began < _SECONDS_ALONE
        return f"{FIRST}on {place.name}, whose memory is measured while it trains its first step" if alone else ""
    taken = sum(place.most if own is None else own for own in place.running.values())
    if taken + place.most <= _SHARE * place.capacity:
        return ""
    most, capacity = (f"{size / 2**30:.1f} GiB" for size in (place.most, place.capacity))
    count = len(place.running)
    return f"{MEMORY}a trial takes up to {most}, and {capacity} were free on {place.name}: {count} at a time"
