"""Dense exports give the same outputs on a plain model, through the code beside them."""

import copy
import dataclasses
import json
import runpy
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from exhaustive import exhaustive_but
from helpers import logits, tokens, trained_a_little
from tiny_models import CONFIGS, MODELS, build

from tensorized_adapters import (
    AdapterConfig,
    UsageError,
    adapters_off,
    add_adapters,
    load_adapter,
    merge_adapters,
    save_adapter,
)
from tensorized_adapters.backbone.architectures import ARCHITECTURES
from tensorized_adapters.exporting.dense import write_dense

FORMATS = ("cp", "tucker", "tt", "tr", "matrix")
SQUARE = AdapterConfig(adapter_projection_type="tucker", tensorized_layer_rank=2, if_adapter_like=False)
OF_BERT = {
    kind: AdapterConfig(adapter_projection_type=kind, tensorized_layer_rank=2, adapter_size=8) for kind in FORMATS
}
OF_BERT |= {"one matrix": SQUARE} | {
    name: CONFIGS[name]
    for name in ("interleaved", "joint", "parallel", "weights", "weights, joint", "dense", "compacter", "bitfit")
}
OF_BERT |= {name: CONFIGS[name] for name in ("layer_norm", "lora", "full")}


@pytest.mark.parametrize(
    ("name", "config"),
    exhaustive_but(
        [("bert", config) for config in OF_BERT.values()],
        [("bert", config) for config in OF_BERT.values()]
        + [(name, CONFIGS[key]) for name in MODELS if name != "bert" for key in ("parallel", "compacter")],
    ),
    ids=lambda value: value if isinstance(value, str) else value.describe(),
)
def test_the_code_beside_it_computes_the_same_on_a_plain_model(tmp_path, name, config):
    model, _ = build(name)
    trained_a_little(add_adapters(model, config))
    write_dense(model, tmp_path)
    plain, _ = build(name)
    before = logits(plain)
    again = logits(runpy.run_path(tmp_path / "dense_adapter.py")["attach"](plain, tmp_path))
    torch.testing.assert_close(again, logits(model), rtol=0, atol=1e-5)
    assert (again - before).abs().max() > 1e-2


def attach_of(folder):
    """The function as a user gets it, from the file beside the weights."""
    return runpy.run_path(folder / "dense_adapter.py")["attach"]


def test_it_loads_where_python_skips_assertions(tmp_path):
    model = trained_a_little(add_adapters(build("bert")[0], CONFIGS["tensorized"]))
    write_dense(model, tmp_path)
    build("bert")[0].save_pretrained(tmp_path / "base")
    code = f"""import runpy, torch, transformers
plain = transformers.AutoModelForSequenceClassification.from_pretrained({str(tmp_path / "base")!r})
attach = runpy.run_path({str(tmp_path / "dense_adapter.py")!r})["attach"]
with torch.no_grad():
    print(attach(plain, {str(tmp_path)!r}).eval()(torch.tensor({tokens().tolist()})).logits.tolist())"""
    printed = subprocess.run([sys.executable, "-O", "-c", code], check=True, capture_output=True, text=True).stdout
    torch.testing.assert_close(torch.tensor(eval(printed)), logits(model), rtol=0, atol=1e-5)


@pytest.mark.parametrize("key", ["tensorized", "parallel"])
def test_a_site_may_return_a_tuple(tmp_path, monkeypatch, key):
    monkeypatch.setitem(ARCHITECTURES, "bert", dataclasses.replace(ARCHITECTURES["bert"], attention="attention"))
    model = trained_a_little(add_adapters(build("bert")[0], CONFIGS[key]))
    write_dense(model, tmp_path)
    attached = attach_of(tmp_path)(build("bert")[0], tmp_path)
    torch.testing.assert_close(logits(attached), logits(model), rtol=0, atol=1e-5)


def test_a_newly_initialised_embedding_is_attached_to_a_half_precision_base(tmp_path):
    new = ["bert.embeddings.token_type_embeddings.weight"]
    base = build("bert")[0].bfloat16()
    model = add_adapters(copy.deepcopy(base), CONFIGS["tensorized"], newly_initialized=new)
    write_dense(trained_a_little(model), tmp_path)
    attached = attach_of(tmp_path)(base, tmp_path)
    assert logits(attached).dtype == torch.bfloat16
    torch.testing.assert_close(logits(attached), logits(model), rtol=0, atol=1e-3)


def test_the_model_gets_labels_and_type_of_problem(tmp_path):
    model, plain = build("bert")[0], build("bert")[0]
    model.config.id2label, model.config.label2id = {0: "a", 1: "b", 2: "c"}, {"a": 0, "b": 1, "c": 2}
    model.config.problem_type = "multi_label_classification"
    write_dense(add_adapters(model, CONFIGS["tensorized"]), tmp_path)
    attach_of(tmp_path)(plain, tmp_path)
    assert plain.config.id2label[2] == "c"
    for name in ("id2label", "label2id", "problem_type"):
        assert getattr(plain.config, name) == getattr(model.config, name)


HALF = [("bert", key) for key in ("tensorized", "parallel", "dense", "bitfit", "weights", "full", "layer_norm")]
HALF += [("bert", SQUARE), ("gpt2", "parallel"), ("modernbert", "tensorized"), ("deberta", "tensorized")]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize(("name", "key"), HALF)
def test_on_a_half_precision_base_it_computes_as_a_loaded_adapter_does(tmp_path, name, key, dtype):
    """What is trained is in float32 there. Updates of weights are merged into it, and rounded."""
    model = trained_a_little(add_adapters(build(name)[0], CONFIGS.get(key, key)))
    write_dense(model, tmp_path)
    save_adapter(model, tmp_path / "saved")
    loaded = load_adapter(build(name)[0].to(dtype), tmp_path / "saved")
    attached = attach_of(tmp_path)(build(name)[0].to(dtype), tmp_path)
    assert logits(attached).dtype == logits(loaded).dtype
    wide = {n for n, p in loaded.named_parameters() if p.dtype == torch.float32 and ".adapter." not in n}
    assert key == "bitfit" or wide == {
        n for n, p in attached.named_parameters() if p.dtype == torch.float32 and ".adapter." not in n
    }
    torch.testing.assert_close(logits(attached), logits(loaded), rtol=0, atol=0.02 if key == "weights" else 1e-3)
    assert torch.equal(logits(copy.deepcopy(attached)), logits(attached))
    torch.testing.assert_close(logits(attached.float()), logits(model), rtol=0, atol=0.05)


def test_another_model_and_a_second_adapter_are_refused(tmp_path):
    model = trained_a_little(add_adapters(build("bert")[0], CONFIGS["tensorized"]))
    write_dense(model, tmp_path)
    attach, other, fewer_labels = attach_of(tmp_path), build("bert")[0], build("bert")[0]
    with torch.no_grad():
        other.bert.encoder.layer[1].output.dense.weight.mul_(1.001)
    fewer_labels.classifier = torch.nn.Linear(32, 2)
    for wrong, message in (
        (other, "frozen weights are not those of the adapter's base"),
        (build("roberta")[0], "the model has no .* of size"),
        (fewer_labels, "no classifier.bias of size .3,.; load the adapter's base .*, num_labels=3"),
    ):
        before = logits(wrong)
        with pytest.raises(ValueError, match=message):
            attach(wrong, tmp_path)
        assert torch.equal(logits(wrong), before)
    attached = attach(build("bert")[0], tmp_path)
    with pytest.raises(ValueError, match="has the adapter of .* already"):
        attach(attached, tmp_path)
    torch.testing.assert_close(logits(attached), logits(model), rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_a_decoder_reads_the_last_token_before_its_padding(tmp_path, name):
    """Training may have chosen another token to pad with than the base model's configuration has."""
    model, plain = build(name)[0], build(name)[0]
    model.config.pad_token_id, plain.config.pad_token_id = 2, 0
    trained_a_little(add_adapters(model, CONFIGS["parallel"]))
    write_dense(model, tmp_path)
    attach = runpy.run_path(tmp_path / "dense_adapter.py")["attach"]
    ids = torch.tensor([[5, 6, 7, 8], [9, 10, 2, 2]])
    inputs = {"input_ids": ids, "attention_mask": (ids != 2).long()}
    with torch.no_grad():
        again = attach(plain, tmp_path)(**inputs).logits
        torch.testing.assert_close(again, model.eval()(**inputs).logits, rtol=0, atol=1e-5)
    assert plain.config.pad_token_id == 2


@pytest.mark.parametrize("key", ["ia3", "diff_pruning"])
def test_what_is_no_dense_adapter_is_refused(tmp_path, key):
    model, _ = build("bert")
    with pytest.raises(UsageError, match="cannot be merged"):
        write_dense(add_adapters(model, CONFIGS[key]), tmp_path)
    assert not any(tmp_path.iterdir())


def test_adapters_that_are_merged_or_off_are_refused(tmp_path):
    """Merged updates would be added twice, and original values would be taken for trained ones."""
    model = trained_a_little(add_adapters(build("bert")[0], CONFIGS["lora"]))
    with adapters_off(model), pytest.raises(UsageError, match="merged or off"):
        write_dense(model, tmp_path)
    merge_adapters(model)
    with pytest.raises(UsageError, match="merged or off"):
        write_dense(model, tmp_path)
    assert not any(tmp_path.iterdir())


def test_threads_that_share_a_model_keep_their_own_inputs(tmp_path):
    """Each thread's pass of a parallel adapter waits until both threads have gone through its source module."""
    model, _ = build("bert")
    trained_a_little(add_adapters(model, CONFIGS["parallel"]))
    write_dense(model, tmp_path)
    attached = attach_of(tmp_path)(build("bert")[0], tmp_path).eval()
    texts = [tokens()[:, :4], tokens()]
    with torch.no_grad():
        expected = [attached(ids).logits for ids in texts]
    both = threading.Barrier(2)

    def wait_for_both(*_):
        both.wait(timeout=60)

    attached.bert.encoder.layer[0].intermediate.register_forward_hook(wait_for_both)

    def compute(ids):
        with torch.no_grad():
            return attached(ids).logits

    with ThreadPoolExecutor(2) as threads:
        got = list(threads.map(compute, texts))
    assert all(torch.equal(one, other) for one, other in zip(got, expected))


def test_a_compiled_source_module_gives_its_input_to_an_adapter_that_is_not_compiled(tmp_path):
    model, _ = build("bert")
    trained_a_little(add_adapters(model, CONFIGS["parallel"]))
    write_dense(model, tmp_path)
    attached = attach_of(tmp_path)(build("bert")[0], tmp_path)
    for source in set(json.loads((tmp_path / "dense_adapter.json").read_text())["sites"].values()):
        attached.get_submodule(source).compile(backend="eager")
    torch.testing.assert_close(logits(attached), logits(model), rtol=0, atol=1e-5)
    torch.testing.assert_close(logits(attached), logits(model), rtol=0, atol=1e-5)
