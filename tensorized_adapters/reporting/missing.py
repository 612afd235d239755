"""Lists what a report lacks: values that are missing from a mean, and runs that only other methods have."""

import pandas as pd

_LOSS_DID_NOT_FALL = "the training loss did not decrease, so the share is not defined"
_NOT_MEASURED = "the share was not measured"


def means_of_fewer_runs(runs: pd.DataFrame) -> list[str]:
    """Return a line for each mean that leaves out some runs of its cell, with their seeds and the reason."""
    lines = []
    for (method, task), of_cell in runs.groupby(["method", "task"], sort=False):
        measured = of_cell["record"].map(lambda record: bool(record.get("contribution")))
        for value, name, reasons in (
            ("best", "score of the best epoch", "no score in its history"),
            ("gap", "gap", "no score on the training or the development set"),
            ("share", "share of the adapters", measured.map({True: _LOSS_DID_NOT_FALL, False: _NOT_MEASURED})),
        ):
            lacking, count = of_cell.assign(reason=reasons)[of_cell[value].isna()], of_cell[value].count()
            if count or (lacking["reason"] == _LOSS_DID_NOT_FALL).any():  # otherwise the report shows no mean
                lines += [
                    f"{method} on {task}: the mean {name} is over {count} of {len(of_cell)} runs; "
                    f"seed {', '.join(map(str, seeds))} left out: {reason}"
                    for reason, seeds in lacking.groupby("reason", sort=False)["seed"]
                ]
    return lines


def runs_that_others_have(runs: pd.DataFrame) -> list[str]:
    """Return a line for each task and each seed that other methods have and this one lacks in all its settings, since
    a setting may have been tried on some tasks only."""
    lines = []
    plain = runs["record"].map(lambda record: record["method"])
    for task, of_task in runs.groupby("task"):
        seeds, by_method = set(of_task["seed"]), of_task.groupby(plain)["seed"].agg(set)
        if elsewhere := [method for method in plain.unique() if method not in by_method]:
            lines.append(f"{task}: no run of {', '.join(elsewhere)}")
        for method, present in by_method.items():
            if lacking := sorted(seeds - present):
                lines.append(f"{task}, {method}: no run of seed {', '.join(map(str, lacking))}")
    return lines
