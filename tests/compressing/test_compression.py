"""A trained dense adapter as a tensorized one: decompositions, compress_adapter, and the script with its report."""

import json

import pytest
import torch
from helpers import argv, logits, matricizations, record_of, tiny_model, trained_a_little
from helpers import main as run_glue

from tensorized_adapters import (
    AdapterConfig,
    UsageError,
    active_adapter,
    adapter_names,
    add_adapters,
    compress_adapter,
    load_adapter,
    save_adapter,
    set_adapter,
)
from tensorized_adapters.adapters.insertion import adapters_of
from tensorized_adapters.cli import compress as script
from tensorized_adapters.compressing import decompose
from tensorized_adapters.tensors.decompositions import decompose_
from tensorized_adapters.tensors.formats import FORMATS, new_weight
from tensorized_adapters.tensors.initialization import calibrated_start_
from tensorized_adapters.tensors.ranks import largest_rank

VIEWS = {kind: matricizations(kind, 32, 8) for kind in FORMATS}


def trained_dense():
    """Return a model whose dense adapters and their biases change its outputs."""
    torch.manual_seed(0)
    model = tiny_model(initializer_range=0.3)
    return trained_a_little(add_adapters(model, AdapterConfig(method="dense", adapter_size=8)))


@pytest.mark.parametrize("index", [0, 1], ids=["down", "up"])
@pytest.mark.parametrize("kind", FORMATS)
def test_a_matrix_of_the_format_is_found_again(kind, index):
    torch.manual_seed(0)
    view = VIEWS[kind][index]
    source, weight = new_weight(kind, view, 2), new_weight(kind, view, 2)
    for each in (source, weight):
        calibrated_start_(each, 0.2)
    error = decompose_(weight, source.matrix().detach())
    assert error < 0.05
    sizes = [parameter.detach().square().mean().sqrt() for parameter in weight.parameters()]
    torch.testing.assert_close(max(sizes), min(sizes))  # so that Adam moves all by the same share
    other = new_weight(kind, view, 1)
    assert error < decompose_(other, source.matrix().detach()) < 1  # one rank is not enough for it
    assert decompose_(weight, torch.zeros(view.in_features, view.out_features)) == 0 and not weight.matrix().any()


@pytest.mark.parametrize("kind", FORMATS)
def test_a_matrix_of_one_entry_is_found(kind):
    """The second component of CP becomes zero, with which alternating least squares has a singular system."""
    weight, matrix = new_weight(kind, VIEWS[kind][0], 2), torch.zeros(32, 8)
    matrix[3, 2] = 0.5
    calibrated_start_(weight, 0.2)
    assert decompose_(weight, matrix) < 1e-5
    torch.testing.assert_close(weight.matrix().detach(), matrix, atol=1e-5, rtol=0)


@pytest.mark.parametrize("kind", FORMATS)
def test_errors_are_reported_as_they_are_and_the_rest_stays(kind, tmp_path):
    model, plain = trained_dense(), tiny_model(initializer_range=0.3)
    model.config.id2label, model.config.label2id = {0: "no", 1: "yes"}, {"no": 0, "yes": 1}
    trained = {name: p.clone() for name, p in model.named_parameters() if p.requires_grad and ".adapter." not in name}
    dense = {name: adapter.dense_weights() for name, adapter in adapters_of(model)}
    model.classifier.bias.requires_grad_(False)  # as a user may freeze it
    rank = largest_rank(kind, VIEWS[kind])
    sites = compress_adapter(model, kind, rank)
    for site, (name, adapter) in zip(sites, adapters_of(model), strict=True):
        assert name == f"{site.site}.adapter"
        for part, error in (("down", site.down_error), ("up", site.up_error)):
            before, after = dense[name][f"{part}.weight"], adapter.dense_weights()[f"{part}.weight"]
            assert error == pytest.approx(((after - before).norm() / before.norm()).item(), abs=1e-5)
        assert site.parameters_after == sum(p.numel() for p in adapter.parameters()) < site.parameters_before == 552
    now = dict(model.named_parameters())
    assert trained and all(
        torch.equal(now[name], values) and now[name].requires_grad == (name != "classifier.bias")
        for name, values in trained.items()
    )
    save_adapter(model, tmp_path)
    again = load_adapter(plain, tmp_path)
    assert torch.equal(logits(again), logits(model)) and again.config.id2label == {0: "no", 1: "yes"}


def test_what_is_compressed_without_loss_computes_the_same_but_for_biases():
    """A format of rank 6 represents a dense matrix of rank 6 exactly."""
    model = trained_dense()
    with torch.no_grad():
        for _, adapter in adapters_of(model):
            adapter.down.bias.zero_()
            adapter.up.bias.zero_()
            for layer in (adapter.down, adapter.up):
                u, s, v = torch.linalg.svd(layer.weight, full_matrices=False)
                layer.weight.copy_(u[:, :6] * s[:6] @ v[:6])
    before = logits(model)
    sites = compress_adapter(model, "matrix", target_error=1e-4)
    assert model.adaptation.config.tensorized_layer_rank == 6  # the smallest that does
    assert max(max(site.down_error, site.up_error) for site in sites) < 1e-4
    torch.testing.assert_close(logits(model), before, rtol=0, atol=1e-4)


def test_decompositions_run_on_one_thread_whatever_the_rest_does(monkeypatch):
    seen = []
    monkeypatch.setattr(
        decompose, "decompose_", lambda *both: seen.append(torch.get_num_threads()) or decompose_(*both)
    )
    threads, model = torch.get_num_threads(), trained_dense()
    torch.set_num_threads(2)
    try:
        compress_adapter(model, "tt", rank=2)
        assert torch.get_num_threads() == 2 and set(seen) == {1}
    finally:
        torch.set_num_threads(threads)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"rank": 9}, "--rank 9 is above what tt can use.*largest is 4"),
        ({"target_error": 0.01}, "--target_error 0.01 is out of reach: at its largest rank, 4, tt leaves"),
        ({"target_error": 1.5}, "--target_error must be a number above 0 and below 1, got 1.5"),
        ({}, "either --rank or --target_error"),
    ],
)
def test_what_cannot_be_is_refused_and_leaves_the_model_alone(words, message):
    model = trained_dense()
    before = logits(model)
    with pytest.raises(UsageError, match=message):
        compress_adapter(model, "tt", **words)
    assert torch.equal(logits(model), before)
    with pytest.raises(UsageError, match="only dense adapters are compressed, and this one is layer_norm"):
        compress_adapter(add_adapters(tiny_model(), AdapterConfig(method="layer_norm")), "tt", 2)


def test_a_compressed_run_evaluates_and_trains_on(flags, tmp_path, capsys):
    dense, compressed = tmp_path / "dense", tmp_path / "new" / "compressed"
    own = {"adapter_projection_type": None, "tensorized_layer_rank": None}
    assert run_glue(argv(flags, method="dense", num_train_epochs=1, output_dir=dense, **own)) == 0
    words = ["--adapter_path", dense, "--adapter_projection_type", "tr", "--output_dir"]
    words = [str(word) for word in words]
    capsys.readouterr()
    assert script.main([*words, str(compressed), "--rank", "2"]) == 0
    table = capsys.readouterr().out.splitlines()
    assert len(table) == 7 and table[5].split()[-2:] == ["2,208", "640"]  # 4 sites, of 2 x 4 x (4 + 8 + 8)
    own |= {"adapter_size": None, "adapter_path": compressed}
    assert run_glue(argv(flags, do_train=None, output_dir=tmp_path / "evaluated", **own)) == 0
    assert run_glue(argv(flags, num_train_epochs=1, output_dir=tmp_path / "trained", **own)) == 0
    assert record_of(tmp_path / "trained")["method"] == "tr-2"
    for flaw, message in (
        ([*words, str(compressed), "--rank", "2"], "exists and is not an empty folder"),
        ([*words, str(tmp_path / "third"), "--rank", "99"], "--rank 99 is above"),
        (["--adapter_path", str(compressed), *words[2:], str(tmp_path / "third"), "--rank", "2"], "only dense"),
    ):
        with pytest.raises(UsageError, match=message):
            script.main(flaw)
    assert not (tmp_path / "third").exists()
    assert json.loads((compressed / "adapter_config.json").read_text())["notes"]["compressed_from"] == "dense-8"


def test_a_compressed_adapter_knows_the_rows_that_were_held_out(flags, tmp_path):
    dense, compressed = tmp_path / "dense", tmp_path / "compressed"
    given = {"validation_file": None, "validation_fraction": 0.25}
    own = {"adapter_projection_type": None, "tensorized_layer_rank": None}
    assert run_glue(argv(flags, method="dense", num_train_epochs=1, output_dir=dense, seed=3, **own, **given)) == 0
    words = ["--adapter_path", str(dense), "--adapter_projection_type", "tr", "--output_dir", str(compressed)]
    assert script.main([*words, "--rank", "2"]) == 0
    before = json.loads((dense / "adapter" / "adapter_config.json").read_text())["notes"]
    after = json.loads((compressed / "adapter_config.json").read_text())["notes"]
    for name in ("seed", "validation_fraction", "trained_texts"):
        assert after[name] == before[name]


def test_from_python_it_keeps_the_notes_that_predictions_need(tmp_path):
    notes = {"texts": ["sentence1", "sentence2"], "label": "label", "max_seq_length": 16, "seed": 3}
    save_adapter(trained_dense(), tmp_path / "dense", notes | {"accuracy": 0.9})
    model = load_adapter(tiny_model(initializer_range=0.3), tmp_path / "dense")
    compress_adapter(model, "tt", 2)
    save_adapter(model, tmp_path / "compressed")
    again = load_adapter(tiny_model(initializer_range=0.3), tmp_path / "compressed")
    assert again.adaptation.notes == notes | {"compressed_from": "dense-8"}  # the score was the dense adapter's


def test_named_adapters_beside_it_are_not_lost(tmp_path):
    """Only an adapter without a name is compressed. A named one is refused, and all stay as they are."""
    save_adapter(trained_dense(), tmp_path / "dense")
    model = tiny_model(initializer_range=0.3)
    for name in ("one", "two"):
        load_adapter(model, tmp_path / "dense", name=name)
    trained_a_little(model)
    before = {}
    for name in ("one", "two"):
        set_adapter(model, name)
        before[name] = logits(model)
    with pytest.raises(
        UsageError, match="^the adapter 'two' is one of several with names .* load_adapter without name="
    ):
        compress_adapter(model, "tt", 2)
    assert adapter_names(model) == ["one", "two"] and active_adapter(model) == "two"
    for name in ("two", "one"):
        set_adapter(model, name)
        assert torch.equal(logits(model), before[name])
    set_adapter(model, None)
    with pytest.raises(UsageError, match="the model is not adapted"):
        compress_adapter(model, "tt", 2)
