"""The record of a run (run.json), its results, and the tables on the terminal."""

import importlib.metadata
import os
import platform
import shlex
import subprocess
import time
from pathlib import Path
from typing import Any, Optional

import numpy as np
import torch
from rich.table import Table

from .. import PROGRAM, __version__
from ..adaptation.parameters import GROUPS
from ..data.metric_names import lower_is_better
from ..data.metrics import predictions_of, probabilities_of
from ..data.multi_label import joined_names
from ..data.tasks import Task
from ..runtime.console import numbers_table
from ..runtime.files import tsv_of, write_atomically
from ..saving import ADAPTER_FILES
from ..training.callbacks import EarlyStopping
from ..training.trainer import AdapterTrainer

_PACKAGES = ("torch", "transformers", "datasets", "evaluate", "tensorly", "tensorly-torch", "safetensors", "numpy")


def new_record(argv: list[str], arguments: dict[str, Any], given: dict[str, Any], seed: int) -> dict[str, Any]:
    """Return the fields known before training: command, resolved arguments, versions, git state, machine."""
    return {
        "program": PROGRAM,
        "version": __version__,
        "status": "running",
        "command": shlex.join(["python", *_without_secrets(argv)]),
        "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "seed": seed,
        "given": sorted(given),
        "arguments": arguments,
        "versions": {"python": platform.python_version()} | {p: importlib.metadata.version(p) for p in _PACKAGES},
        "git": _git_state(),
        "machine": {
            "platform": platform.platform(),
            "cpus": os.cpu_count(),
            "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        },
    }


def trained_fields(trainer: AdapterTrainer, task: Task) -> dict[str, Any]:
    """Return the record's fields about a training that has just ended."""
    history = [
        {key: value for key, value in entry.items() if not key.endswith(("_runtime", "_per_second"))}
        for entry in trainer.state.log_history
        if any(key.startswith("eval_") for key in entry)
    ]
    callbacks = trainer.callback_handler.callbacks
    stopped_at = next((each.stopped_at for each in callbacks if isinstance(each, EarlyStopping)), None)
    events = {"collapsed_at_step": trainer.guard.step, "stopped_early_at_step": stopped_at}
    return {
        "train_seconds": trainer.train_seconds(),
        "step_losses": trainer.losses.values,
        "history": history,
        "best_epoch": _best_epoch(history, trainer, task.primary),
    } | {name: step for name, step in events.items() if step is not None}


def _best_epoch(history: list[dict[str, Any]], trainer: AdapterTrainer, primary: str) -> Optional[dict[str, Any]]:
    """Return the evaluation with the best primary metric, the earliest of equals. With --load_best_model_at_end it is
    the evaluation of the weights that were kept."""
    key, best = f"eval_{primary}", min if lower_is_better(primary) else max
    entries = [entry for entry in history if key in entry]
    if trainer.args.load_best_model_at_end:
        entries = [entry for entry in entries if entry["step"] == trainer.state.best_global_step] or entries
    return best(entries, key=lambda entry: entry[key], default=None)


def measured_examples(metrics: dict[str, Any], seed: int) -> dict[str, Optional[int]]:
    """Return the number of training examples that were measured, the number of all, and the seed that drew the former.
    The seed is None if all were measured."""
    count, total = metrics["train_metric_samples"], metrics["train_samples"]
    return {"count": count, "of": total, "drawn_by_seed": seed if count < total else None}


def bytes_of_adapter(folder: Path) -> int:
    """Return the size of the adapter's files in its folder."""
    return sum((folder / name).stat().st_size for name in ADAPTER_FILES if (folder / name).is_file())


def write_predictions(path: Path, logits: np.ndarray, task: Task) -> None:
    """Write ``index<TAB>prediction`` in file order, with label names where GLUE wants them for a submission."""
    columns = {"prediction": _names(predictions_of(logits, task), task, task.writes_label_names)}
    _write_columns(path, columns, logits, task)


def write_evaluation(path: Path, logits: np.ndarray, references: np.ndarray, task: Task) -> None:
    """Write ``index, label, prediction`` in file order, from which the evaluation's metrics were computed. Classes
    also have their names and the probability of the predicted one."""
    predictions = predictions_of(logits, task)
    columns = {"label": _names(references, task, False), "prediction": _names(predictions, task, False)}
    if task.labels is not None and not task.multi_label:
        columns |= {"label_name": _names(references, task, True), "predicted_name": _names(predictions, task, True)}
        columns["probability"] = _shown(probabilities_of(logits).max(axis=1))
    _write_columns(path, columns, logits, task)


def parameter_table(counts: dict[str, int], rates: dict[str, float], title: str) -> Table:
    """Return a table of each group's parameters, their percentage of the model, and its rate if ``rates`` has any."""
    columns = ("parameters", "count", "%", "learning rate")[: 4 if rates else 3]
    table = numbers_table(title, *columns)
    table.caption = "% of the model without adapters"
    for group in GROUPS:
        if counts.get(group):
            cells = (group, *_share(counts[group], counts["model"]), f"{rates.get(group, 0):g}")
            table.add_row(*cells[: len(columns)])
    table.add_section()
    table.add_row("trained", *_share(counts["trained"], counts["model"]))
    table.add_row(*("frozen", *_share(counts["frozen"], counts["model"]), "0")[: len(columns)])
    return table


def results_table(record: dict[str, Any]) -> Table:
    """Return a table of the metrics of the last and the best epoch, the trained parameters, and the adapter's size."""
    table = numbers_table(f"{record['method']} on {record['task']}", "", "value")
    for name, value in record["metrics"].items():
        if name.startswith("eval_") and not name.endswith(("_runtime", "_per_second", "_samples", "_time")):
            table.add_row(name, f"{value:.4f}")
    if best := record.get("best_epoch"):
        primary = f"eval_{record['primary_metric']}"
        table.add_row(f"best epoch ({best['epoch']:g}), {primary}", f"{best[primary]:.4f}")
    if "train_loss" in record["metrics"]:
        table.add_row("train_loss", f"{record['metrics']['train_loss']:.4f}")
    if (share := (record.get("contribution") or {}).get("share")) is not None:
        table.add_row("adapters' share of the decrease of the training loss", f"{share:.4f}")
    counts = record["parameters"]
    table.add_section()
    table.add_row("trained parameters", f"{counts['trained']:,}")
    table.add_row("percent of the model", f"{100 * counts['trained'] / counts['model']:.4f} %")
    if "adapter_bytes" in record:
        table.add_row("adapter folder", f"{record['adapter_bytes'] / 1000:.1f} kB")
    return table


def _without_secrets(argv: list[str]) -> list[str]:
    """Return the words of a command, with access tokens masked."""
    words, hide = [], False
    for word in argv:
        name, equals, _ = word.partition("=")
        secret = name.lstrip("-").replace("-", "_") in ("token", "hub_token", "use_auth_token", "push_to_hub_token")
        words.append("***" if hide else f"{name}=***" if secret and equals else word)
        hide = secret and not equals
    return words


def _share(count: int, total: int) -> tuple[str, str]:
    return f"{count:,}", f"{100 * count / total:.4f}"


def _names(values: np.ndarray, task: Task, as_names: bool) -> list[Any]:
    if task.labels is None:
        return [float(value) for value in values]
    if task.multi_label:
        return [joined_names(value, task) for value in values]
    return [task.labels[int(value)] if as_names else int(value) for value in values]


def _shown(probabilities: np.ndarray) -> list[str]:
    return [f"{value:.6g}" for value in probabilities]


def _write_columns(path: Path, columns: dict[str, list[Any]], logits: np.ndarray, task: Task) -> None:
    """Write columns and, if a text may have several labels, the probability of each label."""
    if task.multi_label:
        probabilities = probabilities_of(logits, multi_label=True).T
        columns |= {f"probability_of_{name}": _shown(values) for name, values in zip(task.labels, probabilities)}
    rows = ((index, *row) for index, row in enumerate(zip(*columns.values())))
    write_atomically(path, tsv_of([("index", *columns), *rows]))


def _git_state() -> Optional[dict[str, Any]]:
    """Return the commit of the code's checkout, and whether the tree is clean, or None outside of a checkout."""
    # Without this option the status of a checkout locks its index, and a commit at that moment fails.
    git = ["git", "--no-optional-locks", "-C", str(Path(__file__).resolve().parent)]
    options = {"text": True, "stderr": subprocess.DEVNULL, "timeout": 10}
    try:
        commit = subprocess.check_output([*git, "rev-parse", "HEAD"], **options)
        status = subprocess.check_output([*git, "status", "--porcelain"], **options)
    except (OSError, subprocess.SubprocessError):
        return None
    return {"commit": commit.strip(), "clean": not status.strip()}
