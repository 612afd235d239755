"""Closed forms against models really built; --target_params; tensorized-adapters count."""

import csv
import io
import os
import subprocess
import sys
from pathlib import Path

import pytest
from exhaustive import FEW_ARCHITECTURES, exhaustive_but
from helpers import argv, record_of, tiny_model
from tiny_models import COMBINATIONS, CONFIGS, build
from transformers import AutoModelForSequenceClassification, BertConfig

from run_glue_tensorized import main
from tensorized_adapters import AdapterConfig, UsageError, add_adapters, count_trained
from tensorized_adapters.adaptation.counts import count_parameters
from tensorized_adapters.backbone.parts import skeleton
from tensorized_adapters.cli import count as script
from tensorized_adapters.methods.tensorized import Tensorized, rank_within
from tensorized_adapters.runtime import exits

HIDDEN = (32, 48, 96, 160)
RANKS = (1, 2, 3, 4, 5)


def sizes(hidden):
    return {"hidden_size": hidden, "num_attention_heads": 2, "intermediate_size": 2 * hidden}


def assert_counts(config, model):
    expected = count_parameters(config, skeleton(model.config))
    add_adapters(model, config)
    counts = count_trained(model)
    assert expected == counts
    # Compare with the trained numbers. Diff pruning starts denser than it ends.
    if config.method != "diff_pruning":
        assert counts["trained"] == sum(p.numel() for p in model.parameters() if p.requires_grad)
    return counts


@pytest.mark.parametrize("hidden", exhaustive_but((48, 160), HIDDEN))
@pytest.mark.parametrize("rank", exhaustive_but((1, 3), RANKS))
@pytest.mark.parametrize("if_adapter_like", [True, False])
@pytest.mark.parametrize("kind", ["cp", "tucker", "tt", "tr", "matrix"])
def test_tensorized(hidden, rank, if_adapter_like, kind):
    config = AdapterConfig(
        adapter_projection_type=kind,
        tensorized_layer_rank=rank,
        if_adapter_like=if_adapter_like,
        adapter_size=16,
    )
    model = tiny_model(**sizes(hidden), num_hidden_layers=1)
    try:
        count_parameters(config, skeleton(model.config))
    except UsageError as error:
        assert "the largest is" in str(error)
        assert rank > 3, "small ranks are refused by no format"
        return
    assert assert_counts(config, model)["adapters"] > 0


@pytest.mark.parametrize("rank", [1, 3, 5])
@pytest.mark.parametrize("scope, placement", [("model", "sequential"), ("site", "weights"), ("model", "weights")])
@pytest.mark.parametrize("kind", ["cp", "tucker", "tt", "tr", "matrix"])
def test_tensors_for_all_sites_and_updates_of_weights(kind, scope, placement, rank):
    config = AdapterConfig(
        adapter_projection_type=kind,
        tensorized_layer_rank=rank,
        tensor_scope=scope,
        adapter_placement=placement,
        adapter_size=16,
        lora_targets="query,intermediate.dense" if placement == "weights" else None,
    )
    try:
        assert assert_counts(config, tiny_model(**sizes(48)))["adapters"] > 0
    except UsageError as error:
        assert "the largest is" in str(error) and rank > 1


@pytest.mark.parametrize("hidden", HIDDEN)
@pytest.mark.parametrize("size", RANKS)
@pytest.mark.parametrize("method", ["dense", "compacter", "lora"])
def test_sizes_of_the_baselines(hidden, size, method):
    settings = {"dense": {"adapter_size": size}, "compacter": {"adapter_size": 4 * size}, "lora": {"lora_r": size}}
    assert_counts(AdapterConfig(method=method, **settings[method]), tiny_model(**sizes(hidden)))


@pytest.mark.parametrize("hidden", HIDDEN)
@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_every_method(hidden, config):
    assert_counts(config, tiny_model(**sizes(hidden), num_labels=3))


FEW = [(name, key) for name, key in COMBINATIONS if name in FEW_ARCHITECTURES]


@pytest.mark.parametrize("name, key", exhaustive_but(FEW, COMBINATIONS))
def test_every_method_on_every_architecture(name, key):
    assert_counts(CONFIGS[key], build(name)[0])


def test_the_baselines_of_bert_base_by_hand():
    """Recomputed from the sizes of BERT-base: 12 layers of 768, 24 sites, 25 LayerNorms."""
    model = skeleton(BertConfig(vocab_size=28996))
    dense = count_parameters(AdapterConfig(method="dense"), model)
    assert dense["adapters"] == 24 * (2 * 768 * 64 + 64 + 768) == 2_379_264
    assert dense["trained"] == 2_379_264 + 38_400 + 1_538 and dense["model"] == 108_311_810
    bitfit = count_parameters(AdapterConfig(method="bitfit"), model)
    assert bitfit["backbone"] == 12 * (4 * 768 + 3072 + 768 + 2 * 768) + 2 * 768 == 102_912
    two = count_parameters(AdapterConfig(method="bitfit", bitfit_terms="query_and_intermediate"), model)
    assert two["backbone"] == 12 * (768 + 3072)
    assert count_parameters(AdapterConfig(method="lora"), model)["adapters"] == 12 * 2 * 8 * (768 + 768)
    compacter = count_parameters(AdapterConfig(method="compacter"), model)
    assert compacter["adapters"] == 4**3 + 24 * (2 * (768 + 64) + 64 + 768)
    difference = count_parameters(AdapterConfig(method="diff_pruning"), model)
    assert difference["backbone"] == int(0.005 * 108_310_272)
    full = count_parameters(AdapterConfig(method="full"), model)
    assert full["trained"] == full["model"] == 108_311_810


@pytest.mark.parametrize("kind", ["cp", "tucker", "tt", "tr", "matrix"])
@pytest.mark.parametrize("target", [2_000, 5_000, 20_000, 10**9])
def test_target_params_takes_the_largest_rank_within(kind, target):
    config = AdapterConfig(adapter_projection_type=kind, adapter_size=16)
    model = skeleton(tiny_model(**sizes(96)).config)

    def cost(rank):
        changed = AdapterConfig(adapter_projection_type=kind, adapter_size=16, tensorized_layer_rank=rank)
        return count_parameters(changed, model)["adapters"]

    if cost(1) > target:
        with pytest.raises(UsageError, match=f"--target_params {target} is too few.*{cost(1):,}"):
            rank_within(config, model, target)
        return
    rank, line = rank_within(config, model, target)
    assert cost(rank) <= target and f"rank {rank} has {cost(rank):,}" in line
    if rank > 1:
        assert f"rank {rank - 1} would have {cost(rank - 1):,}" in line
    try:
        above = cost(rank + 1)
    except UsageError:
        assert "no larger rank is of use" in line
    else:
        assert above > target and f"rank {rank + 1} would have {above:,}" in line


def test_target_params_looks_at_the_model_once_however_many_ranks_there_are(monkeypatch):
    looks = []
    tensors_of = Tensorized.tensors_of
    monkeypatch.setattr(Tensorized, "tensors_of", lambda *args: looks.append(1) or tensors_of(*args))
    config = AdapterConfig(adapter_projection_type="cp", tensor_scope="model", adapter_placement="weights")
    rank, line = rank_within(config, skeleton(tiny_model(**sizes(160)).config), 10**6)
    assert rank > 1_000 and "no larger rank is of use" in line and len(looks) < 5


def test_target_params_in_a_run(flags, capsys):
    changes = {"tensorized_layer_rank": None, "target_params": 1_000, "num_train_epochs": 1}
    assert main(argv(flags, **changes)) == 0
    assert "--target_params 1000: cp at rank 5 has 840 (rank 4 would have 672; rank 6 would have 1,008)" in (
        capsys.readouterr().out
    )
    record = record_of(flags["output_dir"])
    assert record["parameters"]["adapters"] == 840 and record["arguments"]["tensorized_layer_rank"] == 5
    assert main(argv(flags, **changes)) == 0
    assert "finished; nothing to do" in capsys.readouterr().out
    assert main(argv(flags, **(changes | {"target_params": 900}))) == 2
    assert "--target_params 1000 there, 900 now" in capsys.readouterr().err


@pytest.fixture
def count_script(capsys):
    def run(*words, code=0):
        capsys.readouterr()
        assert exits.run(script.main, list(words)) == code
        return capsys.readouterr()

    return run


@pytest.mark.exhaustive
def test_the_script_starts_from_anywhere(tmp_path):
    words = [sys.executable, "-m", "tensorized_adapters", "count", "--methods", "head"]
    environment = os.environ | {"PYTHONPATH": str(Path(script.__file__).parents[2])}
    ended = subprocess.run(words, capture_output=True, cwd=tmp_path, env=environment)
    assert ended.returncode == 0 and b"1,538" in ended.stdout


def test_the_script_without_flags_prints_the_papers_table(count_script):
    lines = count_script().out.splitlines()
    for row, trained, percent, published in (
        ("cp-2", "51,554", "0.0476", "0.048"),
        ("tr-4", "132,098", "0.1220", "0.122"),
        ("tt-8", "161,282", "0.1489", None),
        ("tucker-4", "66,050", "0.0610", "0.061"),
        ("dense-64", "2,419,202", "2.2336", "3.6"),
        ("bitfit", "104,450", "0.0964", "0.08"),
        ("diff_pruning-0.005", "543,089", "0.5014", "0.5"),
        ("full", "108,311,810", "100.0000", "100"),
    ):
        words = next(line.split() for line in lines if line.split()[:1] == [row])
        assert trained in words and percent in words and (published is None or published in words)
    assert sum(any(line.split()[:1] == [f"{kind}-{rank}"] for line in lines) for kind in ("cp", "tucker", "tt", "tr")
               for rank in (2, 4, 8)) == 12  # fmt: skip
    assert any("BERT-large" in line for line in lines)


def test_the_script_as_csv_of_a_local_model(base, tmp_path, count_script):
    words = "--ranks 1,2,40 --modes bottleneck,one_matrix --methods tensorized,lora --adapter_sizes 8".split()
    words += ["--model", str(base), "--format", "csv", "--output", str(tmp_path / "counts.csv")]
    ended = count_script(*words)
    assert ended.out == "" and ended.err.count("skipped: ") == 7
    rows = list(csv.DictReader(io.StringIO((tmp_path / "counts.csv").read_text())))
    assert len(rows) == 4 * 2 * 3 - 7 + 1
    for row in rows:
        assert int(row["bytes_float32"]) == 4 * int(row["trained"]) == 2 * int(row["bytes_float16"])
    row = next(r for r in rows if r["method"] == "cp-2" and r["mode"] == "bottleneck")
    config = AdapterConfig(adapter_projection_type="cp", tensorized_layer_rank=2, adapter_size=8)
    assert int(row["adapters"]) == count_trained(add_adapters(tiny_model(), config))["adapters"]


def test_the_script_counts_one_tensor_for_all_sites_and_updates_of_weights(base, count_script):
    words = (
        f"--model {base} --methods tensorized,lora --projection_types cp --ranks 2 --lora_targets query --format csv"
    )
    for flags, name in (
        ("--tensor_scope model", "cp-2 (joint)"),
        ("--adapter_placement weights", "cp-2 (weights, query)"),
    ):
        rows = list(csv.DictReader(io.StringIO(count_script(*words.split(), *flags.split()).out)))
        assert [row["method"] for row in rows] == [name, "lora-8"]
        config = AdapterConfig(adapter_projection_type="cp", tensorized_layer_rank=2, **dict([flags[2:].split()]),
                               lora_targets="query" if "weights" in flags else None)  # fmt: skip
        assert (
            int(rows[0]["adapters"])
            == assert_counts(config, AutoModelForSequenceClassification.from_pretrained(base))["adapters"]
        )


def test_the_script_as_markdown(count_script):
    lines = count_script("--methods", "head", "--format", "markdown").out.splitlines()
    assert any(line.startswith("| head ") and "1,538" in line for line in lines)


def test_a_method_that_cannot_be_used_costs_only_its_row(count_script):
    ended = count_script("--methods", "lora,head", "--lora_targets", "quarry", "--format", "csv")
    assert ended.err.startswith("skipped: lora-8: --lora_targets") and ended.err.count("\n") == 1
    assert [line.split(",")[0] for line in ended.out.splitlines()[1:]] == ["head"]


@pytest.mark.parametrize("format_", ["text", "markdown"])
def test_a_models_name_is_shown_as_it_is(base, tmp_path, count_script, format_):
    (tmp_path / "[red]m[").mkdir()
    evil = tmp_path / "[red]m[" / "b]\x1b[2J"
    evil.symlink_to(base)
    text = count_script("--model", str(evil), "--methods", "head", "--format", format_).out
    assert "[red]m[/b]\\x1b[2J" in text and "\x1b" not in text


@pytest.mark.parametrize(
    "words, message",
    [
        ("--methods tensorised", "'tensorised' must be one of tensorized, dense"),
        ("--ranks 2,x", "'x' must be an integer"),
        ("--model no/such/model", "no/such/model cannot be loaded"),
        ("--rank 2", "--rank"),
        ("--methods lora --lora_targets quarry", "no linear layer is called so"),
        ("--methods head --output /no/such/folder/x.csv", "--output /no/such/folder/x.csv cannot be written"),
        ("--ranks 100000 --methods tensorized", "nothing to count"),
        ("--model /nope", "--model /nope cannot be loaded"),
        (f"--num_labels {10**30}", "must be an integer of at least 1"),
        (f"--ranks {'4' * 5000}", "must be an integer of at least 1"),
        ("--adapter_sizes -1", "--adapter_sizes"),
        ("--diff_sparsity nan --methods diff_pruning", "--diff_sparsity must be a number above 0 and below 1"),
        ("--peft_type vera", "--peft_type belongs to none of --methods tensorized,dense"),
        ("--methods head,lora --ranks 2", "--ranks belongs to none of --methods head,lora; leave it out"),
        ("--diff_sparsity 2 --methods diff_pruning", "--diff_sparsity must be a number above 0 and below 1"),
    ],
)
def test_the_script_refuses_in_one_line(words, message, count_script):
    ended = count_script(*words.split(), code=2)
    refusal = [line for line in ended.err.splitlines() if not line.startswith("skipped: ")]
    assert len(refusal) == 1 and message in refusal[0] and not ended.out


def test_the_script_refuses_an_unsupported_architecture(tmp_path, count_script):
    from transformers import SwinConfig, XLMConfig

    SwinConfig().save_pretrained(tmp_path)
    ended = count_script("--model", str(tmp_path), code=2)
    assert "'swin'" in ended.err and ended.err.count("\n") == 1
    XLMConfig(vocab_size=40, emb_dim=32, n_layers=1, n_heads=2).save_pretrained(tmp_path)
    ended = count_script("--model", str(tmp_path), "--methods", "head,layer_norm")
    assert "layer_norm: --model_name_or_path is a 'xlm' model" in ended.err and ended.err.count("\n") == 1
    assert "head" in ended.out
