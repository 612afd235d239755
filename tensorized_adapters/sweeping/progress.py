"""Shows a sweep: a live table on a terminal, a line for each trial elsewhere, and the list of all trials."""

import time
from datetime import timedelta
from typing import Any, Optional

from rich.console import Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from ..data.metric_names import lower_is_better
from ..errors import one_line
from ..runtime.console import console, numbers_table
from .ledger import Ledger, score_text

_STYLES = {"finished": "green", "failed": "red", "refused": "yellow", "interrupted": "magenta"}


class Progress(Live):
    """The display of a running sweep. Use it in a ``with`` statement. Without a terminal it shows no tables."""

    def __init__(self, ledger: Ledger, at_a_time: int):
        self.ledger, self.at_a_time = ledger, at_a_time
        self.began = time.time()
        self.running: dict[str, float] = {}  # when each running trial was started
        self.seconds: dict[str, float] = {}  # the time of each trial that has ended
        self.costs = {trial.name: trial.cost for trial in ledger.to_run()}
        shown = console()
        super().__init__(console=shown, auto_refresh=shown.is_terminal, refresh_per_second=1, transient=True)

    def started(self, name: str) -> None:
        """Note when a trial was started."""
        self.running[name] = time.time()
        self.ledger.started(name)

    def ended(self, name: str, outcome: dict[str, Any]) -> None:
        """Store the result of a trial's task, and print a line."""
        self.ledger.ended(name, outcome)
        self.seconds[name] = outcome["seconds"]
        self.running.pop(name, None)
        entry = self.ledger.entries[name]
        ending = score_text(entry["score"]) or f"{entry['state']}: {entry['reason']}"
        if entry["state"] == "failed" and entry["last_lines"]:
            ending += f"; last line: {entry['last_lines'][-1]}"
        described = one_line(f"{entry['task']} {entry['method']} seed {entry['seed']}: {ending}")
        self.console.print(f"{time.strftime('%H:%M:%S')}  {described}  ({entry['seconds']:.0f} s)  {self._summary()}")

    def _summary(self) -> str:
        states = self.ledger.states()
        parts = [f"{states['finished']} of {len(self.ledger.trials)} finished"]
        parts += [f"{states[state]} {state}" for state in ("failed", "refused") if states[state]]
        parts.append(f"{_span(time.time() - self.began)} so far")
        left = self._seconds_left()
        return " · ".join(parts + ([f"about {_span(left)} left"] if left else []))

    def _seconds_left(self) -> Optional[float]:
        """Return an estimate of the remaining seconds, by the expected costs and the trials that have ended."""
        done = self.seconds.copy()  # the live table has a thread of its own
        if not done:
            return None
        rate = sum(done.values()) / sum(self.costs[name] for name in done)
        left = sum(cost for name, cost in self.costs.items() if name not in done) * rate
        left -= sum(time.time() - began for began in list(self.running.values()))
        return max(0.0, left) / min(self.at_a_time, max(1, len(self.costs) - len(done)))

    def get_renderable(self) -> Group:
        running = numbers_table(self._summary(), "running", "task", "seed", "for", text=("task",))
        for name, began in list(self.running.items()):
            entry = self.ledger.entries[name]
            row = (entry["method"], entry["task"], entry["seed"], _span(time.time() - began))
            running.add_row(*map(_plain, row))
        best = numbers_table("best so far", "task", "metric", "score", "method", "seed", text=("metric", "method"))
        for task, entry in sorted(self._best().items()):
            [(metric, score)] = entry["score"].items()
            best.add_row(*map(_plain, (task, metric, f"{score:.4f}", entry["method"], entry["seed"])))
        return Group(running, best) if best.row_count else Group(running)

    def _best(self) -> dict[str, dict[str, Any]]:
        """Return the entry with the best score of each task, the first of equals."""
        best: dict[str, dict[str, Any]] = {}
        scored = [self.ledger.entries[name] for name in self.ledger.trials if self.ledger.entries[name]["score"]]
        for entry in sorted(scored, key=_rank):
            best.setdefault(entry["task"], entry)
        return best


def _rank(entry: dict[str, Any]) -> float:
    """Return the score of an entry, or its negative, so that the better of two is the lower."""
    [(metric, score)] = entry["score"].items()
    return score if lower_is_better(metric) else -score


def trials_table(ledger: Ledger, title: str) -> Table:
    """Return every trial of the command: parameters, state, score, seconds."""
    columns = ("task", "method", "seed", "learning rate", "trained", "%", "state", "score", "seconds")
    table = numbers_table(title, *columns, text=("method", "state"))
    for name, trial in ledger.trials.items():
        entry = ledger.entries[name]
        state = entry["state"]
        row = (
            trial.task,
            trial.config.describe(),
            trial.seed,
            f"{trial.resolved['learning_rate']:g}",
            f"{entry['trained']:,}" if entry["trained"] else "",
            f"{100 * entry['trained'] / entry['model']:.4f}" if entry["trained"] else "",
            f"{state}: {entry['reason']}" if state in ("failed", "refused") else state,
            score_text(entry["score"]),
            f"{entry['seconds']:.0f}" if entry["seconds"] else "",
        )
        table.add_row(*map(_plain, row), style=_STYLES.get(state))
    return table


def _plain(text: object) -> Text:
    """Return a cell of a table, in which markup and control sequences of the text have no effect."""
    return Text(one_line(text))


def _span(seconds: float) -> str:
    return str(timedelta(seconds=int(seconds)))


def print_timing(timing: dict[str, float]) -> None:
    """Print how long the trials took, as a multiple of their own time in equal shares, and what else took time."""
    share = timing["trials_own"] / timing["at_a_time"]
    print(
        f"trials: {timing['trials']:.0f} s = {timing['trials'] / share if share else 0:.3f} x "
        f"({timing['trials_own']:.0f} s of their own / {timing['at_a_time']:g} at a time); besides: planning "
        f"{timing['planning']:.1f} s, Ray's start {timing['ray_start']:.1f} s, report {timing.get('report', 0):.1f} s"
    )
