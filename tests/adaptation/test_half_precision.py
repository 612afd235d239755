"""On a backbone in float16 or bfloat16 the trained parameters are in float32, and the backbone computes as before."""

import copy
import io

import pytest
import torch
from exhaustive import exhaustive_but
from helpers import logits, tokens
from tiny_models import CONFIGS, REFUSED, build

from tensorized_adapters import (
    AdapterConfig,
    adapters_off,
    add_adapters,
    load_adapter,
    merge_adapters,
    optimizer_groups,
    remove_adapters,
    save_adapter,
    set_adapter,
    unmerge_adapters,
)

HALF = (torch.float16, torch.bfloat16)
PEFT_TYPES = {kind: AdapterConfig(method="peft", peft_type=kind) for kind in ("ln_tuning", "oft", "boft", "glora")}
PEFT_TYPES["dora"] = AdapterConfig(method="peft", peft_type="lora", peft_config={"use_dora": True, "r": 2})
EVERY = CONFIGS | PEFT_TYPES
MODELS = ("bert", "roberta", "distilbert", "deberta", "deberta-v2", "modernbert", "mpnet", "gpt2")
METHODS = ("tensorized", "dense", "bitfit", "lora", "full", "parallel", "weights", "diff_pruning")
COMBINATIONS = [("bert", key, dtype) for key in EVERY for dtype in HALF]
COMBINATIONS += [(name, key, torch.float16) for name in MODELS[1:] for key in METHODS if (name, key) not in REFUSED]


def adapted(name, key, dtype):
    return add_adapters(build(name)[0].to(dtype), EVERY[key])


def trained(model, steps=4):
    """Train in a loop. AdamW's usual epsilon would be zero in float16."""
    optimizer = torch.optim.AdamW(optimizer_groups(model, 1e-2))
    for _ in range(steps):
        optimizer.zero_grad()
        model.train()(input_ids=tokens(), labels=torch.tensor([0, 1])).loss.backward()
        gradients = [p.grad for p in model.parameters() if p.grad is not None]
        assert gradients and all(g.dtype == torch.float32 and g.isfinite().all() for g in gradients)
        optimizer.step()
    return model.eval()


FEW = [case for case in COMBINATIONS if case[0] == "bert"]


@pytest.mark.parametrize(("name", "key", "dtype"), exhaustive_but(FEW, COMBINATIONS))
def test_what_is_trained_is_in_float32_and_everything_is_undone(name, key, dtype):
    model = build(name)[0].to(dtype)
    classes = [type(module) for module in model.modules()]
    plain, state = logits(model), {n: t.clone() for n, t in model.state_dict().items()}
    add_adapters(model, EVERY[key])
    assert {p.dtype for p in model.parameters() if p.requires_grad} == {torch.float32}
    if key != "full":
        assert {p.dtype for p in model.parameters() if not p.requires_grad} == {dtype}
    assert logits(model).dtype == (torch.float32 if key == "full" else dtype)
    trained(model)
    assert not torch.equal(logits(model), plain) and logits(model).isfinite().all()
    with adapters_off(model):
        assert torch.equal(logits(model), plain)
    remove_adapters(model)
    assert [type(module) for module in model.modules()] == classes
    assert all(t.dtype == state[n].dtype and torch.equal(t, state[n]) for n, t in model.state_dict().items())
    assert torch.equal(logits(model), plain)


@pytest.mark.parametrize("key", ["tensorized", "layer_norm", "bitfit"])
def test_hidden_states_stay_in_half_precision(key):
    model = trained(adapted("bert", key, torch.bfloat16))
    hidden = model(input_ids=tokens(), output_hidden_states=True).hidden_states
    assert {each.dtype for each in hidden} == {torch.bfloat16}


@pytest.mark.parametrize("key", ["tensorized", "dense", "lora", "bitfit", "diff_pruning"])
def test_a_half_precision_backbone_computes_about_what_a_float32_one_does(key):
    half = build("bert")[0].bfloat16()
    wide = copy.deepcopy(half).float()
    torch.manual_seed(0)
    trained(add_adapters(half, EVERY[key]), 1)
    torch.manual_seed(0)
    trained(add_adapters(wide, EVERY[key]), 1)
    torch.testing.assert_close(logits(half).float(), logits(wide), atol=0.03, rtol=0.03)


@pytest.mark.parametrize("key", ["tensorized", "lora", "bitfit", "diff_pruning", "full"])
def test_float32_values_are_saved_and_loaded_onto_either_precision(tmp_path, key):
    model = trained(adapted("bert", key, torch.bfloat16))
    save_adapter(model, tmp_path)
    again = load_adapter(build("bert")[0].bfloat16(), tmp_path)
    assert torch.equal(logits(again), logits(model))
    assert load_adapter(build("bert")[0].bfloat16().float(), tmp_path).dtype == torch.float32


def test_add_adapters_says_so_once(capsys):
    model = build("bert")[0].half()
    add_adapters(model, CONFIGS["tensorized"], name="one")
    assert capsys.readouterr().err == "note: the model is in float16; what is trained is kept in float32\n"
    set_adapter(model, None)
    set_adapter(model, "one")
    add_adapters(build("bert")[0], CONFIGS["tensorized"])
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("key", ["tensorized", "bitfit", "lora", "diff_pruning"])
def test_named_adapters_and_mixed_batches(key):
    model, expected = build("bert")[0].bfloat16(), {}
    expected[None] = logits(model)
    for name, of in (("a", key), ("b", key), ("c", "dense")):
        add_adapters(model, CONFIGS[of], name=name)
        expected[name] = logits(trained(model))
    for name in ("a", "b", None, "c", "a"):
        set_adapter(model, name)
        assert torch.equal(logits(model), expected[name])
    with torch.no_grad():
        mixed = model(input_ids=tokens(), adapter_names=["b", None]).logits
    assert mixed.dtype == torch.bfloat16
    torch.testing.assert_close(mixed[0], expected["b"][0], atol=0.03, rtol=0.03)
    torch.testing.assert_close(mixed[1], expected[None][1], atol=0.03, rtol=0.03)


@pytest.mark.parametrize("key", ["weights", "lora"])
def test_merging(key):
    model = trained(adapted("bert", key, torch.bfloat16))
    before = logits(model)
    merge_adapters(model)
    assert logits(model).dtype == torch.bfloat16
    torch.testing.assert_close(logits(model), before, atol=0.05, rtol=0.05)
    unmerge_adapters(model)
    assert torch.equal(logits(model), before)


@pytest.mark.parametrize("key", ["tensorized", "layer_norm", "bitfit", "lora"])
def test_copies_pickles_and_conversions(key):
    model = trained(adapted("bert", key, torch.bfloat16))
    stream = io.BytesIO()
    torch.save(model.bert.encoder, stream)
    stream.seek(0)
    unpickled = torch.load(stream, weights_only=False)
    assert [type(m) for m in unpickled.modules()] == [type(m) for m in model.bert.encoder.modules()]
    copied = copy.deepcopy(model)
    assert torch.equal(logits(copied), logits(model))
    assert logits(copied.float()).dtype == torch.float32
    torch.testing.assert_close(logits(copied), logits(model).float(), atol=0.05, rtol=0.05)
    remove_adapters(copied)
    assert {p.dtype for p in copied.parameters()} == {torch.float32}
    model.bfloat16()
    assert logits(model).dtype == torch.bfloat16


@pytest.mark.parametrize("key", ["full", "bitfit"])
def test_a_model_that_was_converted_keeps_that_precision_without_adapters(key):
    model = adapted("bert", key, torch.bfloat16).double()
    remove_adapters(model)
    assert {p.dtype for p in model.parameters()} == {torch.float64}
    assert torch.equal(logits(model), logits(build("bert")[0].bfloat16().double()))


@pytest.mark.parametrize("key", ["tensorized", "bitfit", "lora"])
def test_under_the_callers_own_autocast_and_with_gradient_checkpointing(key):
    for name in ("bert", "modernbert") if key != "bitfit" else ("bert",):
        model = adapted(name, key, torch.bfloat16)
        with torch.autocast("cpu", torch.bfloat16):
            trained(model)
        model.gradient_checkpointing_enable()
        trained(model, 2)


@pytest.mark.parametrize("key", exhaustive_but([], ["tensorized", "bitfit"]))
def test_a_compiled_model_computes_the_same(key):
    model = trained(adapted("bert", key, torch.bfloat16))
    before = logits(model)
    compiled = torch.compile(model, backend="aot_eager")
    torch.testing.assert_close(logits(compiled), before, atol=0.03, rtol=0.03)
    compiled.train()(input_ids=tokens(), labels=torch.tensor([0, 1])).loss.backward()


@pytest.mark.parametrize("dtype", HALF)
def test_a_newly_initialised_embedding_takes_ids_and_returns_half_precision(tmp_path, dtype):
    new = ["bert.embeddings.token_type_embeddings.weight"]
    model = build("bert")[0].to(dtype)
    plain, buffers = logits(model), dict(model.named_buffers())
    add_adapters(model, CONFIGS["tensorized"], newly_initialized=new)
    assert torch.equal(logits(model), plain) and logits(model).dtype == dtype
    trained(model)
    save_adapter(model, tmp_path)
    assert torch.equal(logits(load_adapter(build("bert")[0].to(dtype), tmp_path)), logits(model))
    copied = copy.deepcopy(model)
    assert torch.equal(logits(copied), logits(model)) and logits(copied.float()).dtype == torch.float32
    remove_adapters(model)
    assert torch.equal(logits(model), plain) and dict(model.named_buffers()).keys() == buffers.keys()
