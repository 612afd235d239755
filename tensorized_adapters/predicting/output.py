"""Writes predictions as TSV or JSON lines, into a file or to standard output."""

import contextlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Optional

import numpy as np
from transformers import PretrainedConfig

from ..config import MULTI_LABEL, REGRESSION
from ..errors import RunFailed, UsageError
from ..runtime.files import tsv_of, written_then_renamed

_ENDINGS = (".tsv", ".jsonl", ".json")


class Output:
    """Writes windows of predictions; :func:`open_output` makes it."""

    def __init__(self, file: Any, name: str, as_json: bool, config: PretrainedConfig, separator: str):
        self._file, self._name, self._as_json = file, name, as_json
        self._names = [config.id2label[i] for i in range(config.num_labels)]
        self._is_score = config.problem_type == REGRESSION
        self._multi_label, self._separator = config.problem_type == MULTI_LABEL, separator
        self.count = 0
        if not as_json:
            probabilities = [] if self._is_score else [f"probability_of_{name}" for name in self._names]
            self._put(tsv_of([["index", "prediction", *probabilities]]))

    def write(self, values: np.ndarray) -> None:
        """Write the values that :func:`predicted` yielded for a window, without buffering. Raise RunFailed if the disk
        is full or fails, and BrokenPipeError if the reader has closed standard output."""
        objects, rows = [], []  # for JSON and for TSV
        for index, row in enumerate(values.tolist(), start=self.count):
            shown = [f"{value:.6g}" for value in row]  # the precision of float32
            if self._is_score:
                objects.append({"index": index, "prediction": float(shown[0])})
                rows.append([index, shown[0]])
                continue
            prediction: Any = self._names[int(np.argmax(row))]
            if self._multi_label:
                names = [name for name, probability in zip(self._names, row) if probability > 0.5]
                prediction = names if self._as_json else self._separator.join(names)
            probabilities = dict(zip(self._names, map(float, shown)))
            objects.append({"index": index, "prediction": prediction, "probabilities": probabilities})
            rows.append([index, prediction, *shown])
        lines = (f"{json.dumps(entry, ensure_ascii=False)}\n" for entry in objects)
        self._put("".join(lines).encode() if self._as_json else tsv_of(rows))
        self.count += len(values)

    def _put(self, content: bytes) -> None:
        rest = memoryview(content)
        try:
            while rest:  # unbuffered: what could not be written must not be tried again when the file is closed
                rest = rest[self._file.write(rest) :]
        except BrokenPipeError:
            raise
        except OSError as error:
            raise RunFailed(f"{self._name} cannot be written: {error.strerror}") from None


@contextlib.contextmanager
def open_output(path: Optional[Path], config: PretrainedConfig, separator: str) -> Iterator[Output]:
    """Open standard output as TSV, or a file, which is a temporary file until it is complete.

    In TSV the ``separator`` joins the names of several labels; JSON has a list of them.
    """
    if config.problem_type == REGRESSION and config.num_labels > 1:
        raise UsageError(f"the adapter gives {config.num_labels} scores a text; load_pipeline in Python gives them")
    if path is None:
        # sys.stdout would hide a closed pipe, which has to end the predictions.
        with open(os.dup(1), "wb", buffering=0) as file:
            yield Output(file, "standard output", False, config, separator)
        return
    with written_then_renamed(path.resolve()) as temporary:  # a link stays one
        with open(temporary, "wb", buffering=0) as file:
            yield Output(file, f"--output {path}", path.suffix.lower() != ".tsv", config, separator)


def check_destination(path: Path, overwrite: bool, read: Optional[Path]) -> None:
    """Raise UsageError for another ending, for a file that exists, and for the file that is ``read``."""
    if path.suffix.lower() not in _ENDINGS:
        raise UsageError(f"--output {path} must end in one of {', '.join(_ENDINGS)}, which says its format")
    if not os.path.lexists(path):
        return
    if not path.is_file():
        raise UsageError(f"--output {path} is not a regular file; name another, or leave it out for standard output")
    if read is not None and read.exists() and path.samefile(read):
        raise UsageError(f"--output {path} is the --input; name another file")
    if not overwrite:
        raise UsageError(f"--output {path} exists; --overwrite replaces it")
