"""What a report is about, in the lines under its title: how many runs, of which model, on how much data."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from .records import Results

_MOST_TOLD = 4


def told_of(results: Results) -> list[str]:
    """The counts of runs, methods, tasks and seeds; the model, the training examples and the epochs of the runs."""
    counts = {"run": len(results.runs)} | {name: results.runs[name].nunique() for name in ("method", "task", "seed")}
    records = list(results.runs["record"])
    models = models_of(results)
    samples = _several(f"{count:,}" for count in _values(records, "metrics", "train_samples"))
    epochs = _several(f"{count:g}" for count in _values(records, "metrics", "epoch"))
    facts = [f"model{'s' * (len(models) > 1)} {_several(models)}"]
    facts += [f"{samples} training examples"] if samples else []
    facts += [f"{epochs} epochs"] if epochs else []
    return [", ".join(f"{number} {name}{'s' * (number != 1)}" for name, number in counts.items()), ", ".join(facts)]


def models_of(results: Results) -> list[str]:
    """The names of the runs' base models; a folder's is its last two parts."""
    names = dict.fromkeys(record["arguments"].get("model_name_or_path") for record in results.runs["record"])
    return ["/".join(Path(str(name)).parts[-2:]) for name in names]


def _values(records: list[dict[str, Any]], group: str, name: str) -> list[Any]:
    values = {record[group].get(name) for record in records}
    return sorted(value for value in values if isinstance(value, (int, float)))


def _several(texts: Iterable[str]) -> str:
    texts = list(dict.fromkeys(texts))
    told = ", ".join(texts[:_MOST_TOLD])
    return told + (f" and {len(texts) - _MOST_TOLD} more" if len(texts) > _MOST_TOLD else "")
