"""Helpers of the tests of sweeps without Ray: the trials of a command line, and its refusals."""

from tensorized_adapters.cli import sweep
from tensorized_adapters.runtime import exits
from tensorized_adapters.sweeping.plan import trials_of


def trials(words, job=()):
    grid, flags = sweep._parser().parse_known_args([*words.split(), *job])
    grid.cpus_per_trial = grid.cpus_per_trial or 1
    return trials_of(grid, flags)


def refused(capsys, words, job=()) -> str:
    assert exits.run(sweep.main, [*words.split(), *job]) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("error: ") and captured.err.count("\n") == 1 and not captured.out
    return captured.err
