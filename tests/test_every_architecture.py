"""Tests that every supported architecture passes. They fill the cells of architecture_table.py."""

import pytest
import torch
from exhaustive import exhaustive_but
from helpers import argv, assert_equal_runs, logits, refused, save_base_of, tokens, trained_a_little
from tiny_models import CONFIGS, MODELS, build

from run_glue_tensorized import main
from tensorized_adapters import add_adapters, load_adapter, save_adapter
from tensorized_adapters.backbone.parts import site_names

every = pytest.mark.parametrize("name", MODELS)
LABELS = torch.tensor([0, 1])


@pytest.fixture
def of_architecture(flags, name, tmp_path):
    return flags | {"model_name_or_path": save_base_of(tmp_path / "base", name), "max_seq_length": 32}


def gradients(model):
    """Return the gradients of all trained parameters, by name."""
    torch.manual_seed(0)  # of dropout
    model.zero_grad()
    model(input_ids=tokens(), labels=LABELS).loss.backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


@pytest.mark.cells("save, load")
@every
def test_a_fresh_model_with_the_saved_adapter_computes_the_same(name, tmp_path):
    model = trained_a_little(add_adapters(build(name)[0], CONFIGS["tensorized"]))
    save_adapter(model, tmp_path)
    assert torch.equal(logits(load_adapter(build(name)[0], tmp_path)), logits(model))


@pytest.mark.cells("training", "resume")
@pytest.mark.parametrize("name", exhaustive_but(["bert", "deberta-v2", "gpt2"], list(MODELS)))
def test_a_run_resumed_from_its_first_checkpoint_ends_in_the_same_bits(of_architecture, tmp_path):
    complete, resumed = of_architecture["output_dir"], tmp_path / "resumed"
    assert main(argv(of_architecture)) == 0
    assert main(argv(of_architecture, output_dir=resumed, resume_from_checkpoint=complete / "checkpoint-6")) == 0
    assert_equal_runs(complete, resumed)


NOT_IN_BFLOAT16, NOT_CHECKPOINTED = ["deberta"], ["albert", "mpnet"]  # by Transformers' own code


@pytest.mark.cells("bf16")
@pytest.mark.parametrize("name", [name for name in MODELS if name not in NOT_IN_BFLOAT16])
def test_bfloat16(name):
    """The start is the identity bit for bit in bfloat16 too, and gradients have float32's direction."""
    model, _ = build(name)
    with torch.autocast("cpu", torch.bfloat16):
        before = logits(model)
        add_adapters(model, CONFIGS["tensorized"])
        assert torch.equal(logits(model), before)
    exact = gradients(trained_a_little(model))
    with torch.autocast("cpu", torch.bfloat16):
        rounded = gradients(model)
    assert rounded.keys() == exact.keys()
    both = [torch.cat([values[key].flatten() for key in exact]) for values in (exact, rounded)]
    assert torch.cosine_similarity(*both, dim=0) > 0.95


@pytest.mark.cells("bf16", shown="refused")
@pytest.mark.parametrize("name", NOT_IN_BFLOAT16)
def test_bfloat16_is_refused_where_the_model_fails_in_it(of_architecture, capsys):
    error = refused(capsys, argv(of_architecture, bf16=True), of_architecture["output_dir"])
    assert "--bf16 and --fp16 do not work with a deberta model" in error


@pytest.mark.cells("checkpointing", shown="refused")
@pytest.mark.parametrize("name", NOT_CHECKPOINTED)
def test_gradient_checkpointing_is_refused_where_the_model_has_none(of_architecture, capsys):
    error = refused(capsys, argv(of_architecture, gradient_checkpointing=True), of_architecture["output_dir"])
    assert "--activation_checkpointing does not work with" in error


@pytest.mark.cells("checkpointing")
@pytest.mark.parametrize("name", [name for name in MODELS if name not in NOT_CHECKPOINTED])
def test_gradient_checkpointing(name):
    model = trained_a_little(add_adapters(build(name)[0], CONFIGS["tensorized"])).train()
    expected = gradients(model)
    model.gradient_checkpointing_enable({"use_reentrant": False})
    calls = []
    first = site_names(model, model.adaptation.config)[0]
    model.base_model.get_submodule(first).register_forward_hook(lambda *_: calls.append(1))
    got = gradients(model)
    assert len(calls) == 2  # in the pass and, again, in the backward pass
    assert got.keys() == expected.keys()
    for key, gradient in got.items():
        torch.testing.assert_close(gradient, expected[key], rtol=1e-4, atol=1e-6)


# A few different ones, since a compilation takes seconds.
COMPILED = exhaustive_but(["bert"], ["bert", "deberta-v2", "modernbert", "gpt2", "llama"])


@pytest.mark.cells("compile")
@pytest.mark.parametrize("name", COMPILED)
def test_the_compiled_model_computes_the_same(name):
    model = trained_a_little(add_adapters(build(name)[0], CONFIGS["tensorized"]))
    expected = logits(model)
    torch.compiler.reset()
    torch.testing.assert_close(logits(torch.compile(model, backend="eager")), expected, rtol=1e-5, atol=1e-6)
