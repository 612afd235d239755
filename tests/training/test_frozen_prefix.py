"""The frozen layers below the trained ones are computed once and read from a file in later passes."""

import fcntl

import numpy as np
import pytest
import torch
from datasets import Dataset
from exhaustive import exhaustive_but
from helpers import (
    FOUR,
    adapted_in,
    argv,
    assert_equal_runs,
    kill_9_after_checkpoint,
    pairs,
    record_of,
    refused,
    save_base,
    tensors_of,
    tiny_config,
    tiny_model,
)
from tiny_models import MODELS, build
from transformers import DataCollatorWithPadding, PreTrainedTokenizerFast

from run_glue_tensorized import main
from tensorized_adapters import AdapterConfig, UsageError, add_adapters
from tensorized_adapters.runtime.files import written_then_renamed
from tensorized_adapters.training.frozen_prefix import PREFIX_KEY, FrozenPrefix, lowest_trained_layer, with_prefix


class _Collate(DataCollatorWithPadding):
    """Pads as the job does, without a tokenizer's files."""

    def __init__(self):
        from tokenizers import Tokenizer, models

        tokenizer = Tokenizer(models.WordLevel({"[PAD]": 0, "[UNK]": 1}, unk_token="[UNK]"))
        super().__init__(PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="[PAD]"))


def examples(count=7):
    generator = torch.Generator().manual_seed(3)
    rows = [torch.randint(3, 25, (3 + i % 5,), generator=generator).tolist() for i in range(count)]
    return Dataset.from_dict({"input_ids": rows, "attention_mask": [[1] * len(row) for row in rows]})


PRECISIONS = [(torch.float64, 1e-10), (torch.float32, 1e-6)]


@pytest.mark.parametrize("name", [name for name in MODELS if name != "albert"])
@pytest.mark.parametrize("dtype, bound", exhaustive_but(PRECISIONS[:1], PRECISIONS))
def test_logits_are_those_without_a_cache(tmp_path, name, dtype, bound):
    model, _ = build(name)
    config = AdapterConfig(adapter_projection_type="tt", tensorized_layer_rank=2, adapter_size=8, adapter_layers="1")
    add_adapters(model, config).eval().to(dtype)
    for parameter in model.parameters():
        if parameter.requires_grad:
            torch.nn.init.normal_(parameter, std=0.5)
    data, collate = examples(), with_prefix(_Collate())
    plain = collate([data[i] for i in range(len(data))])
    expected = model(**plain).logits
    prefix = FrozenPrefix(model, tmp_path, autocast=None)
    prefixed = prefix.with_states(data, collate, batch_size=3)
    batch = collate([prefixed[i] for i in range(len(data))])
    assert PREFIX_KEY in batch
    got = model(**batch).logits
    assert ((got - expected).norm() / expected.norm()).item() < bound
    assert torch.equal(model(**plain).logits, expected)  # a batch without states runs through the complete model


def test_shared_layers_have_nothing_below(tmp_path):
    model = add_adapters(build("albert")[0], AdapterConfig(method="layer_norm", adapter_layers="1"))
    with pytest.raises(UsageError, match="are shared"):
        FrozenPrefix(model, tmp_path, None)


def test_the_file_is_keyed_by_all_that_it_depends_on(tmp_path):
    data, collate = examples(), with_prefix(_Collate())

    def files_after(model, data=data, autocast=None):
        FrozenPrefix(model, tmp_path, autocast).with_states(data, collate, 3)
        return {path.name: path.stat().st_mtime_ns for path in tmp_path.glob("*.npy")}

    first = files_after(adapted_in("2-3"))
    assert len(first) == 1
    assert (
        files_after(add_adapters(tiny_model(**FOUR), AdapterConfig(method="layer_norm", adapter_layers="2"))) == first
    )
    assert len(files_after(adapted_in("1-3"))) == 2  # another layer
    assert len(files_after(adapted_in("2-3"), examples(6))) == 3  # other data
    assert len(files_after(adapted_in("2-3"), autocast=torch.bfloat16)) == 4
    other = adapted_in("2-3")
    with torch.no_grad():
        other.bert.encoder.layer[0].output.dense.weight.add_(0.1)
    assert len(files_after(other)) == 5
    above = adapted_in("2-3")
    with torch.no_grad():
        above.bert.encoder.layer[3].output.dense.weight.add_(0.1)
    assert len(files_after(above)) == 5


@pytest.mark.parametrize("config", [AdapterConfig(method="full"), AdapterConfig(method="head"),
                                    AdapterConfig(adapter_projection_type="cp", adapter_size=8)])  # fmt: skip
def test_nothing_to_cache_is_refused(config):
    with pytest.raises(UsageError, match="choose upper layers, such as --adapter_layers 2-3"):
        lowest_trained_layer(add_adapters(tiny_model(**FOUR), config))


@pytest.fixture
def prefix_flags(flags, tmp_path):
    base = save_base(tmp_path / "four", config=tiny_config(**FOUR))
    cache = tmp_path / "cache"
    return flags | {"model_name_or_path": base, "adapter_layers": "2-3", "prefix_cache_dir": cache}


def test_a_run_with_a_cached_prefix(prefix_flags, tmp_path, capsys):
    """A run without a cache measures the same metrics of the saved adapter."""
    assert main(argv(prefix_flags, cache_frozen_prefix=True)) == 0
    assert capsys.readouterr().out.count("computing layers 0-1 once for") == 2
    cached = record_of(prefix_flags["output_dir"])
    own = ("adapter_projection_type", "tensorized_layer_rank", "adapter_size", "num_train_epochs", "adapter_layers")
    words = prefix_flags | dict.fromkeys((*own, "do_train", "train_file"))
    words |= {"adapter_path": prefix_flags["output_dir"], "output_dir": tmp_path / "plain", "prefix_cache_dir": None}
    assert main(argv(words)) == 0
    plain = record_of(tmp_path / "plain")["metrics"]
    assert plain["eval_loss"] == pytest.approx(cached["metrics"]["eval_loss"], rel=1e-5)
    assert plain["eval_accuracy"] == cached["metrics"]["eval_accuracy"]
    # Another seed and another method read the same file.
    capsys.readouterr()
    assert main(argv(prefix_flags, cache_frozen_prefix=True, seed=7, output_dir=tmp_path / "seed")) == 0
    assert "computing layers" not in capsys.readouterr().out
    assert tensors_of(tmp_path / "seed").keys() == tensors_of(prefix_flags["output_dir"]).keys()


def test_predictions_are_in_file_order(prefix_flags, files, tmp_path):
    changes = {"cache_frozen_prefix": True, "do_predict": True, "test_file": files["test"]}
    assert main(argv(prefix_flags, **changes)) == 0
    rows = np.loadtxt(prefix_flags["output_dir"] / "eval_predictions.tsv", skiprows=1, dtype=int, usecols=(0, 1, 2))
    assert rows[:, 1].tolist() == [label for *_, label, _ in pairs(16, 2)]
    assert len((prefix_flags["output_dir"] / "MRPC.tsv").read_text().splitlines()) == 13


def test_kill_9_with_a_cached_prefix_then_the_same_command(prefix_flags, tmp_path):
    flags = prefix_flags | {"cache_frozen_prefix": True}
    complete, killed = tmp_path / "complete", tmp_path / "killed"
    assert main(argv(flags, output_dir=complete)) == 0
    words = argv(flags, output_dir=killed, prefix_cache_dir=tmp_path / "elsewhere")
    kill_9_after_checkpoint(words, 1)
    assert main(words) == 0
    assert_equal_runs(complete, killed)


DAMAGES = ["a bit flipped", "truncated", "its checksum is missing"]


@pytest.mark.parametrize("damage", exhaustive_but(DAMAGES[:1], DAMAGES))
def test_a_damaged_file_is_computed_again(prefix_flags, tmp_path, capsys, damage):
    flags = prefix_flags | {"cache_frozen_prefix": True}
    assert main(argv(flags)) == 0
    for path in (tmp_path / "cache").glob("*.npy"):
        content = path.read_bytes()
        if damage == "truncated":
            path.write_bytes(content[:-40])
        elif damage == "a bit flipped":
            path.write_bytes(content[:-2] + bytes([content[-2] ^ 64]) + content[-1:])
        else:
            path.with_suffix(".sha256").unlink()
    capsys.readouterr()
    assert main(argv(flags, output_dir=tmp_path / "again")) == 0
    assert capsys.readouterr().out.count("is damaged; computing it again") == 2
    assert_equal_runs(flags["output_dir"], tmp_path / "again")


def test_refusals_of_a_run(prefix_flags, capsys, tmp_path):
    flags = prefix_flags | {"cache_frozen_prefix": True}
    out = flags["output_dir"]
    assert "--cache_frozen_prefix needs frozen layers" in refused(capsys, argv(flags, adapter_layers=None), out)
    assert "is beyond the model's last layer, 3" in refused(capsys, argv(flags, adapter_layers="2-4"), out)
    (tmp_path / "file").write_text("mine")
    words = argv(flags, prefix_cache_dir=tmp_path / "file" / "below")
    assert "error: --prefix_cache_dir" in refused(capsys, words, out)


def test_rows_of_other_shapes_do_not_change_the_states(tmp_path):
    """Each example's states are the same in every batch."""
    model, data, collate = adapted_in("2-3").eval(), examples(), with_prefix(_Collate())
    prefix = FrozenPrefix(model, tmp_path / "a", None)
    one = prefix.with_states(data, collate, 1)
    three = FrozenPrefix(adapted_in("2-3"), tmp_path / "b", None).with_states(data, collate, 3)
    for i in range(len(data)):
        np.testing.assert_allclose(one[i][PREFIX_KEY], three[i][PREFIX_KEY], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("reentrant", [True, False])
def test_gradient_checkpointing_with_a_cached_prefix(tmp_path, reentrant):
    config = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    layers = AdapterConfig(adapter_projection_type="cp", adapter_size=8, tensorized_layer_rank=2, adapter_layers="2-3")
    model = add_adapters(tiny_model(**FOUR, **config), layers).train()
    collate, data = with_prefix(_Collate()), examples(4)
    prefixed = FrozenPrefix(model, tmp_path, None).with_states(data, collate, 4)
    batch = collate([prefixed[i] for i in range(4)]) | {"labels": torch.tensor([0, 1, 1, 0])}

    def gradients():
        model.zero_grad()
        model(**batch).loss.backward()
        return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}

    plain = gradients()
    model.gradient_checkpointing_enable({"use_reentrant": reentrant})
    again = gradients()
    assert plain.keys() == again.keys()
    for name, gradient in plain.items():
        torch.testing.assert_close(again[name], gradient)


def test_full_evaluation_in_bfloat16_with_a_cached_prefix(prefix_flags):
    assert main(argv(prefix_flags, cache_frozen_prefix=True, bf16_full_eval=True, use_cpu=True)) == 0


def test_a_killed_process_leaves_nothing_for_long(prefix_flags, tmp_path):
    flags = prefix_flags | {"cache_frozen_prefix": True}
    assert main(argv(flags)) == 0
    path = next((tmp_path / "cache").glob("*.npy"))
    left = path.with_name(f".{path.name}.99999999.tmp")
    path.rename(left)
    assert main(argv(flags, output_dir=tmp_path / "again")) == 0
    assert path.exists() and not left.exists()


def test_runs_that_need_the_same_states_wait_for_the_one_that_computes_them(tmp_path, monkeypatch, capsys):
    data, collate = examples(), with_prefix(_Collate())
    FrozenPrefix(adapted_in("2-3"), tmp_path, None).with_states(data, collate, 3)
    assert "computing layers 0-1" in capsys.readouterr().out
    [path] = tmp_path.glob("*.npy")
    checksum = path.with_suffix(".sha256").rename(tmp_path / "not there yet")

    def held_by_another(file, operation):
        if operation & fcntl.LOCK_NB:
            raise BlockingIOError
        checksum.rename(path.with_suffix(".sha256"))  # the other run is done

    monkeypatch.setattr(fcntl, "flock", held_by_another)
    FrozenPrefix(adapted_in("2-3"), tmp_path, None).with_states(data, collate, 3)
    assert capsys.readouterr().out == f"waiting for another process that computes {path}\n"


def test_processes_that_share_a_folder_keep_out_of_each_others_files(tmp_path):
    """Process ids do not distinguish them, because two containers or hosts may use the same ones."""
    target = tmp_path / "states.npy"
    with written_then_renamed(target) as first:
        first.write_bytes(b"first")
        with written_then_renamed(target) as second:
            assert second != first and first.read_bytes() == b"first"  # it is being written, not abandoned
            second.write_bytes(b"second")
        assert target.read_bytes() == b"second"
    assert target.read_bytes() == b"first" and list(tmp_path.iterdir()) == [target]


def test_left_padding_and_a_folder_without_use_are_refused(prefix_flags, capsys):
    import json

    error = refused(capsys, argv(prefix_flags), prefix_flags["output_dir"])
    assert "--prefix_cache_dir needs --cache_frozen_prefix: give both" in error
    path = prefix_flags["model_name_or_path"] / "tokenizer_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"padding_side": "left"}))
    words = argv(prefix_flags, cache_frozen_prefix=True)
    assert "pads on the right" in refused(capsys, words, prefix_flags["output_dir"])
