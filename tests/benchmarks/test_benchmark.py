"""benchmarks/benchmark.py: it reports its measurements, its shared models are right, and bad input is one line."""

import json

import benchmark
import pytest
import torch
from helpers import tiny_config
from models import assembled, build
from transformers import BertForSequenceClassification

from tensorized_adapters.adapters.fast import factorized_weights, saves_launches
from tensorized_adapters.adapters.insertion import adapters_of
from tensorized_adapters.runtime import exits


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("benchmark") / "model"
    BertForSequenceClassification(tiny_config()).save_pretrained(folder)
    return str(folder)


def test_a_record_with_ratios_and_memory(model_folder, tmp_path, capsys):
    words = f"--model {model_folder} --shapes 2x8 --rounds 2 --threads 1 --no_memory".split()
    words += ["--methods", "cp-999,cp-1,cp-1-torch-dropout,lora"]
    assert benchmark.main([*words, "--output", str(tmp_path / "record.json")]) == 0
    rows = json.loads((tmp_path / "record.json").read_text())["shapes"]["2x8"]
    assert set(rows) == {"floor", "cp-1", "cp-1-torch-dropout", "lora"}
    assert all(row[kind]["ratio"] > 0 for row in rows.values() for kind in ("train", "evaluate"))
    captured = capsys.readouterr()
    assert "cp-1" in captured.out and "skipped: cp-999: --tensorized_layer_rank 999 is above" in captured.err
    assert benchmark.main([*words, "--memory_of", "cp-1"]) == 0
    assert int(capsys.readouterr().out) > 10**7


def test_a_switch_between_adapters_is_timed(model_folder, tmp_path, capsys):
    words = f"--switch --model {model_folder} --shapes 2x8 --rounds 1 --threads 1 --methods cp-1,lora".split()
    assert benchmark.main([*words, "--output", str(tmp_path / "record.json"), "--device", "cpu"]) == 0
    rows = json.loads((tmp_path / "record.json").read_text())["shapes"]["2x8"]
    assert set(rows) == {"cp-1", "lora"} and "switch / forward" in capsys.readouterr().out
    assert all(row["switch_ms"] > 0 and row["ratio"] > 0 for row in rows.values())


def test_a_step_takes_no_more_operations_than_a_dense_adapters(tmp_path, capsys):
    """The operations are counted as on an accelerator, in twelve layers like BERT-base."""
    folder, names = tmp_path / "model", ["cp-4", "tucker-4", "tt-4", "tr-4"]
    BertForSequenceClassification(tiny_config(num_hidden_layers=12)).save_pretrained(folder)
    words = f"--model {folder} --count_operations --output {tmp_path / 'counts.json'} --device cpu".split()
    assert benchmark.main(words) == 0
    rows = json.loads((tmp_path / "counts.json").read_text())["shapes"]["2x8"]
    assert set(rows) == {"floor", *names, "dense", "compacter", "lora", "bitfit", "full"}
    for name in names:
        assert rows["floor"]["operations"] < rows[name]["operations"] <= rows["dense"]["operations"]
    assert all(row["optimizer_groups"] <= 4 for row in rows.values())
    table = capsys.readouterr().out
    assert "optimizer groups" in table and f"{rows['tr-4']['operations']:,}" in table
    assert not saves_launches(torch.device("cpu")) and saves_launches(torch.device("cuda"))


@pytest.mark.parametrize("kind", ["cp", "tucker", "tt", "tr"])
@pytest.mark.parametrize("mode", ["", "-one-matrix"])
def test_assembled_weights_give_the_same_model(kind, mode):
    backbone = BertForSequenceClassification(tiny_config()).eval()
    torch.manual_seed(0)
    model = build(f"{kind}-2{mode}", backbone).eval().double()
    for _, adapter in adapters_of(model):
        for weight in factorized_weights(adapter):
            torch.testing.assert_close(assembled(weight), weight.matrix(), rtol=1e-10, atol=1e-12)
    one = next(backbone.bert.parameters())
    assert build("floor", backbone).bert.embeddings.word_embeddings.weight.data_ptr() == one.data_ptr()


def test_torchs_dropout_draws_what_it_draws_without_adapters():
    backbone = BertForSequenceClassification(tiny_config())
    logits = {}
    for name in ("floor", "floor-torch-dropout", "tt-2-torch-dropout", "tt-2"):
        model = build(name, backbone).train()  # the adapters start as the identity
        torch.manual_seed(0)
        logits[name] = model(input_ids=torch.arange(5, 15).view(2, 5)).logits
    torch.testing.assert_close(logits["tt-2-torch-dropout"], logits["floor-torch-dropout"])
    torch.testing.assert_close(logits["tt-2"], logits["floor"])  # which draws as cheaply
    assert not torch.allclose(logits["tt-2"], logits["tt-2-torch-dropout"])


@pytest.mark.parametrize(
    "words, message",
    [
        ("--methods floor", "name one to compare"),
        ("--methods cp-999", "the largest is"),
        ("--methods svd-2", "'svd-2' is neither floor"),
        ("--threads 0", "--threads must be at least 1"),
        ("--shapes 2x512", "more tokens than the model's 64"),
        ("--shapes 2by8", "is not like 8x128"),
        ("--rounds 0", "--rounds must be at least 1"),
        ("--output /no/such/folder/x.json", "No such file"),
        ("--output /tmp", "is a folder"),
        ("--round 3", "--round"),
        ("--count_operations --compile", "--compile: not allowed with argument --count_operations"),
        ("--switch --compile", "--compile: not allowed with argument --switch"),
        ("--switch --count_operations", "--count_operations: not allowed with argument --switch"),
        ("--output /proc/x", "--output /proc/x cannot be written"),
        (f"--output /tmp/{'x' * 300}", "cannot be written"),
        (f"--rounds {10**30}", "--rounds must be at least 1 and at most"),
        (f"--threads {10**9}", "--threads must be at least 1 and at most"),
        ("--shapes 0x8", "is not like 8x128"),
        (f"--shapes {'9' * 5000}x8", "is not like 8x128"),
        ("--model /nope", "'/nope' is neither bert-base nor a model folder"),
    ],
)
def test_bad_input_is_one_line(model_folder, capsys, words, message):
    defaults = ["--model", model_folder, "--methods", "cp-1", "--shapes", "2x8"]
    assert exits.run(benchmark.main, [*defaults, *words.split()]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1
