"""Error and score of a dense adapter's compressions, with and without a further epoch: measured, step by step.

Below the output folder each point has a folder, such as tt-8/, with the compressed adapter (compressed/) and two runs
of the main job (evaluated/ and trained/); the dense adapter has one too. The record is written after every step, so
that what is in it is not computed again.
"""

import sys
from pathlib import Path
from typing import Any, Optional

from collect_records import neutral
from compression_study.jobs import flags_of, run_of, score_of
from compression_study.record import KIND, MEASURED, RECORD_FILE, point_of, read_record

from tensorized_adapters import PROGRAM, __version__
from tensorized_adapters.adapters.insertion import adapters_of
from tensorized_adapters.compressing.decompose import compress_adapter, compressed_config
from tensorized_adapters.compressing.source import check_dense
from tensorized_adapters.errors import UsageError, one_line
from tensorized_adapters.predicting.pipeline import load_pipeline
from tensorized_adapters.runtime.files import locked_folder, write_json
from tensorized_adapters.saving.manifest import adapter_folder
from tensorized_adapters.saving.save import save_adapter

EPOCHS = 1
_DENSE, _RUNS = "dense", ("evaluated", "trained")


def measure(
    adapter_path: Path,
    model_name_or_path: Optional[str],
    projection_types: tuple[str, ...],
    ranks: tuple[int, ...],
    output_dir: Path,
) -> Path:
    """Measure the missing points. Print a line a step, and one for each rank that is left out.

    Args:
        adapter_path: a run's folder, or the adapter/ in it.
        model_name_or_path: the base model's folder, if it was moved.
        projection_types: the formats.
        ranks: of every weight; those that a format cannot use are left out.
        output_dir: new, empty, or of the same adapter and settings.

    Returns:
        The record's path.

    Raises:
        UsageError: refused, before anything is written.
        RunFailed: a job of the main script failed.
    """
    config = check_dense(adapter_path)
    run = run_of(adapter_path)
    adapter_path = adapter_folder(adapter_path).resolve()  # every spelling gives the same jobs
    flags = flags_of(run, model_name_or_path)
    model = load_pipeline(adapter_path, model_name_or_path, device="cpu").model
    pairs = _usable(model, projection_types, ranks)
    size = sum(parameter.numel() for _, adapter in adapters_of(model) for parameter in adapter.parameters())
    method = model.adaptation.config.describe()
    path = output_dir.resolve() / RECORD_FILE
    expected = {
        "program": PROGRAM,
        "kind": KIND,
        "task": neutral(run["task"]),
        "epochs": EPOCHS,
        "adapter": {"method": method, "parameters": size, "weights_sha256": config["weights_sha256"]},
        "arguments": {name: neutral(value) for name, value in flags.items() if name != "cpu_threads"},
    }
    _check_folder(output_dir, expected)
    with locked_folder(output_dir, "run"):
        record = _check_folder(output_dir, expected)  # again: it may have changed until it was locked
        new = expected | {"version": __version__, "dense": {}, "points": []}
        study = _Study(record or new, path, flags, run["path"])
        study.score(study.record["dense"], _DENSE, method, adapter_path)
        for projection_type, rank in pairs:
            study.point(projection_type, rank, adapter_path, model_name_or_path)
    return output_dir / RECORD_FILE


class _Study:
    def __init__(self, record: dict[str, Any], path: Path, flags: dict[str, Any], flags_from: Path):
        self.record, self._path, self._flags, self._flags_from = record, path, flags, flags_from

    def point(self, projection_type: str, rank: int, adapter_path: Path, model_name_or_path: Optional[str]) -> None:
        """Measure what is missing of a format at a rank."""
        name = f"{projection_type}-{rank}"
        folder = self._path.parent / name / "compressed"
        point = point_of(self.record, projection_type, rank)
        if point is None:
            print(f"{name}: compressing ...", flush=True)
            model = load_pipeline(adapter_path, model_name_or_path, device="cpu").model
            sites = compress_adapter(model, projection_type, rank)
            save_adapter(model, folder)
            point = {
                "format": projection_type,
                "rank": rank,
                "parameters": sum(site.parameters_after for site in sites),
                "down_error": _mean([site.down_error for site in sites]),
                "up_error": _mean([site.up_error for site in sites]),
            }
            self.record["points"].append(point)
            self._write()
            print(f"{name}: error {point['down_error']:.4f} down, {point['up_error']:.4f} up", flush=True)
        self.score(point, name, name, folder)

    def score(self, point: dict[str, Any], folder: str, name: str, adapter: Path) -> None:
        """Evaluate an adapter as it is, and after the further epoch, unless that is known."""
        for measured, what, epochs in zip(MEASURED, _RUNS, (0, EPOCHS)):
            if measured in point:
                continue
            doing = "training for a further epoch" if epochs else "evaluating"
            print(f"{name}: {doing} ...", flush=True)
            job = score_of(self._flags, self._flags_from, adapter, self._path.parent / folder / what, epochs)
            metric = job["primary_metric"]
            point[measured] = round(job["metrics"][f"eval_{metric}"], 4)
            self.record |= {"metric": metric, "samples": job["metrics"]["eval_samples"], "versions": job["versions"]}
            self._write()
            constant = ", a constant's: all were predicted as one class" if job.get("one_class") else ""
            print(f"{name}: {metric} {point[measured]:.4f}{constant}", flush=True)

    def _write(self) -> None:
        write_json(self._path, self.record)


def _usable(model: Any, projection_types: tuple[str, ...], ranks: tuple[int, ...]) -> list[tuple[str, int]]:
    """Return formats and ranks that fit together, with a line for each that does not; raise UsageError if none
    does."""
    pairs = []
    for projection_type in dict.fromkeys(projection_types):
        for rank in sorted(set(ranks)):
            try:
                compressed_config(model, projection_type, rank)
            except UsageError as error:
                print(f"left out: {projection_type}-{rank}: {one_line(error)}", file=sys.stderr)
            else:
                pairs.append((projection_type, rank))
    if not pairs:
        raise UsageError("none of --ranks can be used by any of --projection_types; give smaller ones")
    return pairs


def _check_folder(folder: Path, expected: dict[str, Any]) -> Optional[dict[str, Any]]:
    """Return the record that is in an output folder already, or None; raise UsageError if it is a folder of others."""
    try:
        names = {entry.name for entry in folder.iterdir()} if folder.exists() else set()
    except OSError as error:
        raise UsageError(f"--output_dir {folder} cannot be read: {error.strerror}; name another folder") from None
    if RECORD_FILE not in names:
        if names - {_DENSE}:  # an interrupted first step leaves this folder
            raise UsageError(f"--output_dir {folder} holds something that is not a figure's; name another folder")
        return None
    record = read_record(folder / RECORD_FILE)
    if odd := [name for name in expected if record.get(name) != expected[name]]:
        raise UsageError(f"--output_dir {folder} holds a figure of another {odd[0]}; name another folder")
    return record


def _mean(values: list[float]) -> float:
    return round(sum(values) / len(values), 4)
