"""Predictions from an adapter's folder equal the evaluation of its run, in every way of predicting."""

import csv
import io
import json
import os
import shutil
import signal
import sys

import numpy as np
import pytest
import torch
from helpers import rewrite
from predict_script import evaluated, predicted, refused_by_script, script, table
from transformers import AutoModelForSequenceClassification

from tensorized_adapters import load_adapter, load_pipeline, save_adapters
from tensorized_adapters.predicting import batches
from tensorized_adapters.runtime import exits


@pytest.fixture
def small_windows(monkeypatch):
    monkeypatch.setattr(batches, "WINDOW", 2)


@pytest.mark.parametrize("kind", ["pairs", "single", "scores"])
@pytest.mark.parametrize("batch_size", [3, 64])
def test_predictions_are_the_evaluations(capfd, folders, small_windows, kind, batch_size):
    words = ["--adapter_path", folders / kind, "--input", folders / f"{kind}.csv", "--batch_size", batch_size]
    rows, truth = table(predicted(capfd, words).out), evaluated(folders, kind)
    assert [row["index"] for row in rows] == [row["index"] for row in truth] == [str(n) for n in range(40)]
    if kind == "scores":
        expected = [float(row["prediction"]) for row in truth]
        assert [float(row["prediction"]) for row in rows] == pytest.approx(expected, abs=1e-5)
        assert np.std(expected) > 0.01 and list(rows[0]) == ["index", "prediction"]
        return
    assert len({row["prediction"] for row in truth}) == 2
    assert [row["prediction"] for row in rows] == [row["predicted_name"] for row in truth]
    names = ("0", "1") if kind == "pairs" else ("no", "yes, surely")
    assert list(rows[0]) == ["index", "prediction", *(f"probability_of_{name}" for name in names)]
    for row, other in zip(rows, truth):
        probabilities = [float(row[f"probability_of_{name}"]) for name in names]
        assert max(probabilities) == pytest.approx(float(other["probability"]), abs=1e-5)
        assert sum(probabilities) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("kind", ["pairs", "single", "scores"])
def test_the_pipeline_is_the_evaluation(folders, kind):
    pipeline = load_pipeline(folders / kind / "adapter", device="cpu")
    rows = list(csv.DictReader((folders / f"{kind}.csv").open()))
    if kind == "single":
        results = pipeline([row["text"] for row in rows])
    else:
        texts = [{"text": row["sentence1"], "text_pair": row["sentence2"]} for row in rows]
        results = pipeline(texts, batch_size=8)
    truth = evaluated(folders, kind)
    name, value = ("label", "prediction") if kind == "scores" else ("predicted_name", "probability")
    assert [r["score"] for r in results] == pytest.approx([float(row[value]) for row in truth], abs=1e-5)
    assert {r["label"] for r in results} == ({"score"} if kind == "scores" else {row[name] for row in truth})
    if kind != "scores":
        assert [r["label"] for r in results] == [row[name] for row in truth]


@pytest.mark.parametrize("kind", ["pairs", "single", "scores"])
@pytest.mark.parametrize("option", [{"dtype": torch.bfloat16}, {"torch_dtype": "float16"}], ids=str)
def test_the_pipeline_computes_in_half_precision(folders, kind, option):
    text = {"text": "the cat", "text_pair": "a dog"} if kind != "single" else "the cat"
    pipeline = load_pipeline(folders / kind, device="cpu", **option)
    assert f"torch.{next(iter(option.values()))}".endswith(str(pipeline.model.dtype))
    exact = load_pipeline(folders / kind, device="cpu", dtype=torch.float32)
    assert exact.model.dtype == torch.float32
    for half, full in zip(pipeline([text], top_k=None)[0], exact([text], top_k=None)[0], strict=True):
        assert half["label"] == full["label"] and 0 < abs(half["score"] - full["score"]) < 0.05


def given(folders, kind, form):
    """Return the rows of a kind in another form, as bytes."""
    rows = list(csv.DictReader((folders / f"{kind}.csv").open()))
    columns = ["text"] if kind == "single" else ["sentence1", "sentence2"]
    if form == "jsonl":
        return "".join(json.dumps(row) + "\n" for row in rows).encode()
    header = "\ufeff" + "\t".join(columns) + "\r\n" if form == "tsv" else ""
    return (header + "".join("\t".join(row[name] for name in columns) + "\r\n" for row in rows)).encode()


@pytest.mark.parametrize(
    "kind, form, words, message",
    [
        ("pairs", "jsonl", [], "note: standard input is read as JSON lines; --format sets another format\n"),
        ("single", "text", ["--input", "-"], "note: standard input is read as plain text, tabs between its columns"),
        ("scores", "tsv", ["--format", "tsv"], ""),
    ],
)
def test_standard_input(capfd, monkeypatch, folders, tmp_path, kind, form, words, message):
    words = ["--adapter_path", folders / kind, *words]
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(given(folders, kind, form))))
    out, error = predicted(capfd, words)
    rows = table(out)
    assert len(rows) == 40 and (error.startswith(message) and error.count("\n") == 1 if message else not error)
    # The same to a file, as JSON lines.
    path = tmp_path / "a.jsonl"
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(given(folders, kind, form))))
    out, error = predicted(capfd, [*words, "--output", path])
    assert not out and error.endswith(f"40 predictions: {path}\n")
    objects = [json.loads(line) for line in path.read_text().splitlines()]
    assert [str(row["prediction"]) for row in objects] == pytest.approx([row["prediction"] for row in rows])
    if kind != "scores":
        for row, other in zip(rows, objects):
            numbers = {f"probability_of_{name}": p for name, p in other["probabilities"].items()}
            assert numbers == {name: float(value) for name, value in row.items() if name.startswith("probability")}


def test_output_is_a_window_behind_the_input(capfd, monkeypatch, folders, small_windows):
    """A window is written before the next one is read, and the input before it is not kept."""
    written = []

    class Lines(io.RawIOBase):
        rows = iter(given(folders, "single", "jsonl").splitlines(keepends=True))
        asked = 0

        def readable(self):
            return True

        def readinto(self, buffer):
            self.asked += 1
            written.append((self.asked, capfd.readouterr().out.count("\n")))
            line = next(self.rows, b"")
            buffer[: len(line)] = line
            return len(line)

    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BufferedReader(Lines(), 200)))
    script.main(["--adapter_path", str(folders / "single"), "--batch_size", "4"])
    asked, lines = np.array([(n, sum(count for m, count in written if m <= n)) for n, _ in written]).T
    assert all(asked - 1 - (lines - 1) <= 8 + 1) and lines[-1] - 1 >= 32  # the header apart; a line of read-ahead


def test_a_folder_moved_elsewhere(capfd, folders, tmp_path):
    words = ["--input", folders / "pairs.csv", "--adapter_path", tmp_path / "adapter"]
    shutil.copytree(folders / "pairs" / "adapter", tmp_path / "adapter")
    here = predicted(capfd, words).out
    shutil.move(folders / "base", tmp_path / "base")
    try:
        error = refused_by_script(capfd, *words)
        assert f"{tmp_path / 'adapter'}: its base model {folders / 'base'} cannot be loaded: it is no folder" in error
        assert "; --model_name_or_path names where it is on this machine" in error
        assert predicted(capfd, [*words, "--model_name_or_path", tmp_path / "base"]).out == here
    finally:
        shutil.move(tmp_path / "base", folders / "base")


def test_an_adapter_loaded_and_saved_in_python_reads_the_same_texts(capfd, folders, tmp_path):
    model = AutoModelForSequenceClassification.from_pretrained(folders / "base")
    save_adapters(load_adapter(model, folders / "pairs", name="a"), tmp_path / "all")
    outputs = [
        predicted(capfd, ["--adapter_path", folder, "--input", folders / "pairs.csv"])
        for folder in (folders / "pairs", tmp_path / "all" / "a")
    ]
    assert outputs[0] == outputs[1]


def test_what_an_adapter_from_python_does_not_say_is_reported_or_asked(capfd, folders, tmp_path):
    shutil.copytree(folders / "pairs" / "adapter", tmp_path / "adapter")
    config = tmp_path / "adapter" / "adapter_config.json"
    rewrite(config, {"notes": {"max_seq_length": "long"}})
    words = ["--adapter_path", tmp_path / "adapter", "--input", folders / "pairs.csv"]
    assert "does not say which columns it was trained on; --text_columns names them" in refused_by_script(
        capfd, *words
    )
    out, error = predicted(capfd, [*words, "--text_columns", "sentence1,sentence2"])
    assert "does not give the length of its training; 128 tokens are used" in error and error.count("\n") == 1
    complete = ["--adapter_path", folders / "pairs", "--input", folders / "pairs.csv"]
    assert out != predicted(capfd, complete).out  # whose texts are cut at 9 tokens
    assert out == predicted(capfd, [*complete, "--max_seq_length", 128]).out
    rewrite(config, {"notes": {"texts": ["sentence1", "sentence2"], "tokenizer": "/nowhere/at/all"}})
    assert "--tokenizer_name /nowhere/at/all cannot be loaded" in refused_by_script(capfd, *words)
    assert predicted(capfd, [*words, "--tokenizer_name", folders / "base"]).out == out


def test_the_end_of_reader_and_user(capfd, monkeypatch, folders, tmp_path):
    words = ["--adapter_path", str(folders / "pairs"), "--input", str(folders / "pairs.csv"), "--batch_size", "1"]
    read, write = os.pipe()
    os.close(read)
    for descriptor, code, line in (
        (write, 0, ""),  # as behind `| head`
        (os.open("/dev/full", os.O_WRONLY), 1, "failed: standard output cannot be written: No space left on device\n"),
    ):
        before = os.dup(1)
        os.dup2(descriptor, 1)
        os.close(descriptor)
        try:
            assert exits.run(script.main, words) == code
        finally:
            os.dup2(before, 1)
            os.close(before)
        assert capfd.readouterr().err == line
    handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a suite in the background inherits that it is ignored
    monkeypatch.setattr(sys, "argv", ["predict.py", *words, "--output", str(tmp_path / "a.tsv")])
    monkeypatch.setattr(batches, "probabilities_of", lambda *_: signal.raise_signal(signal.SIGINT))
    try:
        assert exits.run(script.main) == 130
    finally:
        for number, handler in zip((signal.SIGINT, signal.SIGTERM), handlers):
            signal.signal(number, handler)
    assert capfd.readouterr().err == "interrupted: by Ctrl-C\n" and not list(tmp_path.iterdir())
