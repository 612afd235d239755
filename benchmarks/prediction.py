"""Rows a second of prediction, in four ways that give the same labels: ours, Transformers' own pipeline, and ONNX.

An adapter that was trained on STS-B predicts --rows sentence pairs of its training set. ``adapter`` runs the code of
``tensorized-adapters predict``. ``pipeline`` is Transformers' text-classification pipeline on the plain model without
adapters, with its default batches of one and with batches of 64. ``onnx`` and ``onnx int8`` are the files that
``tensorized-adapters export --to onnx [--quantize int8]`` writes, run by onnxruntime in the same batches as ours. The
ways alternate from round to round in one process. The second table has each file's size, the largest difference of a
score to the adapter's, and the correlations on STS-B's development set. A JSON record goes to --output.
"""

import argparse
import copy
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import numpy as np
import pandas
import torch
from benchmark_record import write_record
from rich.table import Table
from timing import quartiles
from torch import Tensor
from transformers import AutoModelForSequenceClassification, PretrainedConfig, TextClassificationPipeline
from transformers.modeling_outputs import SequenceClassifierOutput

from tensorized_adapters import load_pipeline
from tensorized_adapters.cli import export
from tensorized_adapters.cli.parser import ScriptParser, positive_integer
from tensorized_adapters.data.metrics import GlueMetric
from tensorized_adapters.data.tasks import TASKS
from tensorized_adapters.errors import UsageError
from tensorized_adapters.exporting.program import ONNX_FILE, check_onnx
from tensorized_adapters.predicting.batches import predicted
from tensorized_adapters.runtime.console import console, numbers_table
from tensorized_adapters.runtime.exits import run_program

Rows = list[tuple[str, str]]
Way = Callable[[Rows], np.ndarray]  # from sentence pairs to scores (rows,)
BATCH_SIZE = 64


def main(argv: list[str]) -> int:
    arguments = _parser().parse_args(argv)
    _check(arguments)
    with tempfile.TemporaryDirectory() as folder:
        files = _exports(arguments, Path(folder))
        pipeline = load_pipeline(arguments.adapter_path, device="cpu")
        torch.set_num_threads(arguments.threads)
        ways = _ways(pipeline, files, arguments.threads)
        speeds = _speeds(arguments, ways)
        accuracy = _accuracy(arguments, ways, files)
    console().print(_speed_table(speeds))
    console().print(_accuracy_table(accuracy))
    results = {"rows_per_second": speeds, "accuracy": accuracy}
    write_record(arguments.output, __file__, argv, {"threads": arguments.threads}, results)
    return 0


def _exports(arguments: argparse.Namespace, folder: Path) -> dict[str, Path]:
    files = {}
    for name, further in {"onnx": [], "onnx int8": ["--quantize", "int8"]}.items():
        words = ["--adapter_path", str(arguments.adapter_path), "--output_dir", str(folder / name), "--to", "onnx"]
        export.main([*words, *further])
        files[name] = folder / name / ONNX_FILE
    return files


def _ways(pipeline: TextClassificationPipeline, files: dict[str, Path], threads: int) -> dict[str, Way]:
    plain = AutoModelForSequenceClassification.from_pretrained(pipeline.model.config._name_or_path, num_labels=1)
    transformers_own = TextClassificationPipeline(model=plain.eval(), tokenizer=pipeline.tokenizer, truncation=True)

    def in_our_batches(model: Any) -> Way:
        own = copy.copy(pipeline)
        own.model = model
        return lambda rows: np.concatenate(list(predicted(own, rows, BATCH_SIZE)))[:, 0]

    def with_pipeline(batch_size: int) -> Way:
        def scores(rows: Rows) -> np.ndarray:
            pairs = [{"text": first, "text_pair": second} for first, second in rows]
            outputs = transformers_own(pairs, batch_size=batch_size, function_to_apply="none")
            return np.array([output["score"] for output in outputs])

        return scores

    ways = {
        "adapter": in_our_batches(pipeline.model),
        "pipeline": with_pipeline(1),
        "pipeline, batches of 64": with_pipeline(BATCH_SIZE),
    }
    for name, path in files.items():
        ways[name] = in_our_batches(_OnnxModel(path, pipeline.model.config, threads))
    return ways


class _OnnxModel:
    """An ONNX session instead of a pipeline's model, so that it runs in the same batches."""

    def __init__(self, path: Path, config: PretrainedConfig, threads: int):
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        self._session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        self.config = copy.copy(config)
        self.config._attn_implementation = "eager"  # the graph takes the tokenizer's own mask

    def __call__(self, **batch: Tensor) -> SequenceClassifierOutput:
        inputs = {name: values.numpy() for name, values in batch.items()}
        return SequenceClassifierOutput(logits=torch.from_numpy(self._session.run(["logits"], inputs)[0]))


def _speeds(arguments: argparse.Namespace, ways: dict[str, Way]) -> dict[str, list[float]]:
    data = _pairs(arguments.glue, "train")[0]
    rows = [data[i % len(data)] for i in range(arguments.rows)]
    for way in ways.values():
        way(rows[: 2 * BATCH_SIZE])  # the first batches allocate
    speeds: dict[str, list[float]] = {name: [] for name in ways}
    for round_ in range(arguments.rounds):
        for name in ways if round_ % 2 == 0 else reversed(ways):
            began = time.perf_counter()
            ways[name](rows)
            speeds[name].append(len(rows) / (time.perf_counter() - began))
            print(f"round {round_ + 1} of {arguments.rounds}: {name}: {speeds[name][-1]:.1f} rows/s", file=sys.stderr)
    return speeds


def _accuracy(
    arguments: argparse.Namespace, ways: dict[str, Way], files: dict[str, Path]
) -> dict[str, dict[str, Any]]:
    rows, references = _pairs(arguments.glue, "validation")
    ours, metric, found = ways["adapter"](rows), GlueMetric(TASKS["stsb"]), {}
    for name in ("adapter", *files):
        scores = ways[name](rows)
        found[name] = dict(metric.compute(predictions=scores, references=references))
        found[name]["largest_difference"] = float(np.abs(scores - ours).max())
        if name in files:
            found[name]["bytes"] = sum(path.stat().st_size for path in files[name].parent.glob(f"{ONNX_FILE}*"))
    return found


def _pairs(glue: Path, split: str) -> tuple[Rows, np.ndarray]:
    (path,) = glue.glob(f"stsb/{split}-*.parquet")
    data = pandas.read_parquet(path)
    return list(zip(data["sentence1"], data["sentence2"])), data["label"].to_numpy()


def _speed_table(speeds: dict[str, list[float]]) -> Table:
    table = numbers_table("rows a second", "way", "rows/s", "quartiles", "ratio to the pipeline")
    reference = statistics.median(speeds["pipeline"])
    for name, values in speeds.items():
        middle = statistics.median(values)
        low, high = quartiles(values)
        table.add_row(name, f"{middle:.1f}", f"{low:.1f}-{high:.1f}", f"{middle / reference:.2f}")
    return table


def _accuracy_table(accuracy: dict[str, dict[str, Any]]) -> Table:
    table = numbers_table("STS-B's development set", "way", "MB", "largest difference", "Pearson", "Spearman")
    for name, row in accuracy.items():
        size = f"{row['bytes'] / 1e6:.1f}" if "bytes" in row else ""
        table.add_row(name, size, *(f"{row[key]:.4f}" for key in ("largest_difference", "pearson", "spearmanr")))
    return table


def _parser() -> argparse.ArgumentParser:
    parser = ScriptParser(__doc__)
    parser.add_argument("--adapter_path", type=Path, required=True, help="an adapter that was trained on STS-B")
    parser.add_argument("--glue", type=Path, required=True, help="folder of GLUE's parquet files, as on the hub")
    parser.add_argument("--rows", type=positive_integer, default=10_000)
    parser.add_argument("--rounds", type=positive_integer, default=3)
    parser.add_argument("--threads", type=positive_integer, default=1, help="of the arithmetic")
    parser.add_argument("--output", type=Path, help="JSON record")
    return parser


def _check(arguments: argparse.Namespace) -> None:
    check_onnx()
    for split in ("train", "validation"):
        if len(list(arguments.glue.glob(f"stsb/{split}-*.parquet"))) != 1:
            raise UsageError(f"--glue {arguments.glue} has no stsb/{split}-*.parquet")


if __name__ == "__main__":
    run_program(main)
