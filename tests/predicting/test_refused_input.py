"""What cannot be predicted is refused in one line, before anything is written."""

from importlib import import_module
from unittest.mock import Mock

import numpy as np
import pytest
import torch
from predict_script import predicted, refused_by_script, table

from tensorized_adapters import UsageError, load_pipeline
from tensorized_adapters.cli.report import main as report
from tensorized_adapters.predicting import batches


@pytest.mark.parametrize(
    "name, content, line",
    [
        (
            "a.csv",
            "sentence1,label\na,1\n",
            "line 2 has no column 'sentence2'; it has sentence1, label; --text_columns",
        ),
        ("a.csv", "sentence1,sentence2\na,b\n,b\n", "line 3 has an empty 'sentence1'; write it or remove the line"),
        ("a.csv", 'sentence1,sentence2\na,b\n"a,b\nc,d\n', "in the row that begins at line 3"),
        ("a.csv", "sentence1,sentence2\n", "has no rows"),
        ("a.csv", "", "is empty"),
        ("a.tsv", b"sentence1\tsentence2\na\t\xff\n", "line 2 is not UTF-8 text; save it as UTF-8"),
        ("a.csv", b"\x1f\x8b\x08\0\0\0\0\0", "is compressed; decompress it with gunzip"),
        ("a.tsv", "sentence1\tsentence2\na\tb\0\n", "line 2 holds a NUL character"),
        ("a.jsonl", '{"sentence1": "a", "sentence2": "b"}\n\n{"sentence1": \n', "line 3 cannot be parsed: Expecting"),
        ("a.jsonl", '{"sentence1": "a", "sentence2": "b", "sentence1": ""}\n', "line 1 has the key 'sentence1' "),
        ("a.jsonl", '{"sentence1": "a", "sentence2": null}\n', "line 1 has an empty 'sentence2'"),
        ("a.jsonl", '{"sentence1": "a", "sentence2": ["b"]}\n', "line 1 has a list or an object as 'sentence2'"),
        (
            "a.jsonl",
            '{"sentence1": "a", "sentence2": "\\ud83d"}\n',
            "line 1 has an unpaired surrogate (half of a character) in 'sentence2'",
        ),
        ("a.json", '[{"sentence1": "a", "sentence2": "b"}]\n', "is a JSON list; write one JSON object a line"),
        ("a.txt", "a\tb\na\n", "line 2 has 1 columns between tabs, the adapter takes 2 (sentence1, sentence2)"),
        ("a.dat", "a\tb\n", "has none of the endings .jsonl, .json, .csv, .tsv, .txt; --format says what it is"),
        ("missing.csv", None, "cannot be read: No such file or directory"),
    ],
)
def test_bad_input_is_refused_in_one_line(capfd, folders, tmp_path, name, content, line):
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    output = tmp_path / "out.tsv"
    error = refused_by_script(capfd, "--adapter_path", folders / "pairs", "--input", path, "--output", output)
    assert f"error: --input {path}" in error and line in error
    assert sorted(p.name for p in tmp_path.iterdir()) == ([name] if content is not None else [])


def test_folders_and_flags_that_cannot_be_are_refused_by_script(capfd, folders, tmp_path):
    words = ["--adapter_path", folders / "pairs", "--input", folders / "pairs.csv"]
    there = tmp_path / "there.tsv"
    there.write_text("mine")
    assert "exists; --overwrite replaces it" in refused_by_script(capfd, *words, "--output", there)
    assert there.read_text() == "mine"
    assert predicted(capfd, [*words, "--output", there, "--overwrite"]).err == f"40 predictions: {there}\n"
    assert len(table(there.read_text())) == 40
    own = ["--adapter_path", folders / "pairs", "--input", there, "--output", there, "--overwrite"]
    assert "is the --input; name another file" in refused_by_script(capfd, *own)
    assert "must end in one of .tsv, .jsonl, .json" in refused_by_script(capfd, *words, "--output", tmp_path / "a.csv")
    assert "cannot be written: No such file" in refused_by_script(capfd, *words, "--output", tmp_path / "no" / "a.tsv")
    assert "an adapter is a folder with that file" in refused_by_script(capfd, "--adapter_path", folders / "base")
    assert "contradicts" in refused_by_script(capfd, *words, "--text_columns", "sentence1")
    assert "--max_seq_length 3 leaves no room for text; at least 5" in refused_by_script(
        capfd, *words, "--max_seq_length", 3
    )
    assert "--batch_size" in refused_by_script(capfd, *words, "--batch_size", 0)


def test_another_base_is_refused_from_python_too(folders, other_base):
    with pytest.raises(UsageError, match="was trained on another base model"):
        load_pipeline(folders / "pairs", model_name_or_path=str(other_base))


@pytest.mark.parametrize("length", [0, -1, 4])
def test_a_length_without_room_is_refused_from_python_too(folders, length):
    with pytest.raises(UsageError, match=f"--max_seq_length {length} leaves no room for text; at least 5"):
        load_pipeline(folders / "pairs", max_seq_length=length)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_sise": 3}, "the pipeline takes no batch_sise; did you mean batch_size?"),
        ({"devise": "cpu"}, "no devise; did you mean device?"),
        ({"tokenizer": None}, "no tokenizer; did you mean tokenizer_name?"),
        ({"device_map": "auto"}, "no device_map; did you mean device?"),
        ({"trust_remote_code": True}, "no trust_remote_code; it takes .*device, .*dtype"),
        ({"truncation": False}, "truncation=False is not possible; max_seq_length sets the length"),
        ({"dtype": "half"}, "dtype is 'half'; give torch.float32, torch.float16 or torch.bfloat16"),
        ({"torch_dtype": torch.int8}, "dtype is torch.int8; give"),
    ],
)
def test_options_that_would_have_no_effect_are_refused(folders, options, message):
    with pytest.raises(UsageError, match=message):
        load_pipeline(folders / "pairs", **options)


def test_options_of_a_call_are_refused_too(folders):
    pipeline = load_pipeline(folders / "single", device="cpu", truncation=True)
    assert len(pipeline("the cat", top_k=None)) == 2
    for options, message in (
        ({"truncation": False}, "truncation=False is"),
        ({"topk": 1}, "takes no topk; did you mean top_k"),
        ({"max_seq_length": 5}, "takes no max_seq_length; did you mean max_length"),
    ):
        with pytest.raises(UsageError, match=message):
            pipeline("the cat", **options)


def test_a_failure_is_one_line_and_leaves_no_file(capfd, monkeypatch, folders, tmp_path):
    words = ["--adapter_path", folders / "pairs", "--input", folders / "pairs.csv", "--output", tmp_path / "a.tsv"]
    logits = batches._logits
    for error in (MemoryError(), RuntimeError("CUDA out of memory. Tried to allocate 2 GiB")):
        with monkeypatch.context() as patch:
            patch.setattr(batches, "_logits", Mock(side_effect=error))
            assert predicted(capfd, words, 1).err == (
                "failed: out of memory: try a smaller --batch_size or --max_seq_length\n"
            )
    spoiled = Mock(side_effect=lambda *given: np.where(np.arange(40)[:, None] == 6, np.nan, logits(*given)))
    monkeypatch.setattr(batches, "_logits", spoiled)
    assert predicted(capfd, words, 1).err.startswith("failed: an output of the model is NaN or infinite in row 7; ")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "words, name",
    [
        ("predict --adapter_path=", "--adapter_path"),
        ("predict --adapter_path a --text_columns=", "--text_columns"),
        ("report runs --output_dir=", "--output_dir"),
        ("export --adapter_path a --to onnx --output_dir a --model_name_or_path=", "--model_name_or_path"),
        ("compress --adapter_path a --rank=", "--rank"),
        ("count --model=", "--model"),
        ("glue_submission --output=", "--output"),
        ("sweep --output_dir=", "--output_dir"),
    ],
)
def test_an_empty_value_is_not_the_current_folder(tmp_path, monkeypatch, words, name):
    monkeypatch.chdir(tmp_path)
    subcommand, *rest = words.split()
    with pytest.raises(UsageError, match=f"^{name} is empty; give it a value or leave it out$"):
        import_module(f"tensorized_adapters.cli.{subcommand}").main(rest)
    with pytest.raises(UsageError, match="^RESULTS is empty; give it a value or leave it out$"):
        report(["", "--output_dir", "new"])
    assert not list(tmp_path.iterdir())
