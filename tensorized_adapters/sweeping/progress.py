"""What a sweep shows: a live table on a terminal, a line a trial elsewhere, the list of all trials at both ends."""

import contextlib
import threading
import time
from typing import Any, Optional

from rich.console import Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from ..errors import UsageError, one_line
from ..runtime.console import console
from .ledger import Ledger, told
from .memory import FIRST, MEMORY

_LOOK_SECONDS = 0.5
_STYLES = {"finished": "green", "failed": "red", "refused": "yellow", "interrupted": "magenta"}


class Progress:
    """The display of a running sweep, which looks into the trials' notes; to be used in a ``with`` statement."""

    def __init__(self, ledger: Ledger, at_a_time: int):
        self.ledger, self.at_a_time = ledger, at_a_time
        self.began = time.time()
        self.running: dict[str, float] = {}
        self.most_running = 0  # at a time, so far
        self._told: set[str] = set()  # reasons to wait, by their beginnings
        self.to_run = {trial.name: trial.cost for trial in ledger.to_run()}
        self.done: set[str] = set()  # by this start of the sweep
        self.console = console()
        self._live = Live(console=self.console, get_renderable=self._tables, refresh_per_second=1, transient=True)
        self._over = threading.Event()
        self._watcher = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> "Progress":
        if self.console.is_terminal:
            self._live.start()
        self._watcher.start()
        return self

    def __exit__(self, *_) -> None:
        self._over.set()
        self._watcher.join()
        try:
            self.look()
        finally:
            self._live.stop()

    def look(self) -> None:
        """Take in what trials have noted since the last look: sweep.json and one line for each that has ended."""
        now = {name: self.ledger.state_and_reason_now(name) for name in self.to_run if name not in self.done}
        # Those of the last look that still run all ran at once; of this one's, some ended before others began.
        self.most_running = max(self.most_running, sum(now[name][0] == "running" for name in self.running))
        for name, (state, reason) in now.items():
            if state == "running":
                self.running.setdefault(name, time.time())
            elif state == "waiting":
                self.running.pop(name, None)
                self._tell_wait(reason)
            elif state:
                self.ledger.look(name)
                self.ledger.write()
                self._tell(name)

    def _watch(self) -> None:
        while not self._over.wait(_LOOK_SECONDS):
            with contextlib.suppress(OSError, UsageError):  # the last look raises what has not passed
                self.look()

    def _tell_wait(self, why: str) -> None:
        """Why fewer run than could, each reason once."""
        for beginning in {beginning for beginning in (FIRST, MEMORY) if why.startswith(beginning)} - self._told:
            self._told.add(beginning)
            self.console.print(f"{time.strftime('%H:%M:%S')}  further trials wait for {one_line(why)}", markup=False)

    def _tell(self, name: str) -> None:
        self.running.pop(name, None)
        self.done.add(name)
        entry = self.ledger.entries[name]
        ending = told(entry["score"]) or f"{entry['state']}: {entry['reason']}"
        if entry["state"] == "failed" and entry["last_lines"]:
            ending += f"; last line: {entry['last_lines'][-1]}"
        what = one_line(f"{entry['task']} {entry['method']} seed {entry['seed']}: {ending}")
        line = f"{time.strftime('%H:%M:%S')}  {what}  ({entry['seconds']:.0f} s)  {self._summary()}"
        self.console.print(line, markup=False)

    def _summary(self) -> str:
        states = self.ledger.states()
        parts = [f"{states['finished']} of {len(self.ledger.trials)} finished"]
        parts += [f"{states[state]} {state}" for state in ("failed", "refused") if states[state]]
        parts.append(f"{_span(time.time() - self.began)} so far")
        left = self._seconds_left()
        return " · ".join(parts + ([f"about {_span(left)} left"] if left else []))

    def _seconds_left(self) -> Optional[float]:
        """From what this start's trials took for what they were expected to cost."""
        done = self.done.copy()  # the display has a thread of its own
        if not done:
            return None
        rate = sum(self.ledger.entries[name]["seconds"] for name in done) / sum(self.to_run[name] for name in done)
        left = sum(cost for name, cost in self.to_run.items() if name not in done) * rate
        left -= sum(time.time() - began for began in list(self.running.values()))
        at_a_time = self.most_running if MEMORY in self._told else self.at_a_time
        return max(0.0, left) / min(at_a_time, max(1, len(self.to_run) - len(done)))

    def _tables(self) -> Group:
        running = Table(title=self._summary(), title_justify="left")
        for column in ("running", "task", "seed", "for"):
            running.add_column(column, justify="right" if column == "for" else "left")
        for name, began in list(self.running.items()):
            entry = self.ledger.entries[name]
            running.add_row(
                _plain(entry["method"]), _plain(entry["task"]), str(entry["seed"]), _span(time.time() - began)
            )
        best = Table(title="best so far", title_justify="left")
        for column in ("task", "metric", "score", "method", "seed"):
            best.add_column(column)
        for task, entry in sorted(self._best().items()):
            [(metric, score)] = entry["score"].items()
            best.add_row(_plain(task), metric, f"{score:.4f}", _plain(entry["method"]), str(entry["seed"]))
        return Group(running, best) if best.row_count else Group(running)

    def _best(self) -> dict[str, dict[str, Any]]:
        """The entry with the highest score of each task, the first of equals."""
        best: dict[str, dict[str, Any]] = {}
        entries = [self.ledger.entries[name] for name in self.ledger.trials]
        scored = [entry for entry in entries if entry["score"]]
        for entry in sorted(scored, key=lambda entry: -max(entry["score"].values())):
            best.setdefault(entry["task"], entry)
        return best


def trials_table(ledger: Ledger, title: str) -> Table:
    """Every trial of the command: parameters, state, score, seconds."""
    table = Table(title=_plain(title), title_justify="left")
    for column in ("task", "method", "seed", "learning rate", "trained", "%", "state", "score", "seconds"):
        right = column in ("seed", "learning rate", "trained", "%", "score", "seconds")
        table.add_column(column, justify="right" if right else "left", no_wrap=column != "state")
    for name, trial in ledger.trials.items():
        entry, counts = ledger.entries[name], trial.counts
        state = entry["state"]
        table.add_row(
            _plain(trial.task),
            _plain(trial.config.describe()),
            str(trial.seed),
            f"{trial.resolved['learning_rate']:g}",
            f"{counts['trained']:,}" if counts else "",
            f"{100 * counts['trained'] / counts['model']:.4f}" if counts else "",
            _plain(f"{state}: {entry['reason']}" if state in ("failed", "refused") else state),
            told(entry["score"]),
            f"{entry['seconds']:.0f}" if entry["seconds"] else "",
            style=_STYLES.get(state),
        )
    return table


def _plain(text: object) -> Text:
    """What a user, a file or a trial wrote: neither markup nor the terminal's own sequences are obeyed."""
    return Text(one_line(text))


def _span(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"
