"""The fast paths change no result: batched weights, the fused step, checkpointing."""

import threading
from contextlib import nullcontext
from unittest.mock import patch

import pytest
import torch
from exhaustive import exhaustive_but
from fast_cases import CONFIGS, assert_same, batch, gradients, model_of, name

from tensorized_adapters.adapters import fast
from tensorized_adapters.adapters.insertion import adapters_of
from tensorized_adapters.tensors.formats import CP

FEW_LAUNCHES = patch.object(fast, "saves_launches", lambda device: True)  # the rule of accelerators


@pytest.mark.parametrize("config", CONFIGS, ids=name)
def test_batched_weights_give_the_numbers_of_single_ones(config):
    model = model_of(config)
    merged = gradients(model)
    assert not fast._of_pass.get({})
    with FEW_LAUNCHES:
        assert_same(gradients(model), merged)
    model.adaptation.method.forward_pass = lambda model: nullcontext()  # each weight computes its own matrices
    assert_same(gradients(model), merged)


@pytest.mark.parametrize("config", [c for c in CONFIGS if c.adapter_placement != "weights"], ids=name)
@pytest.mark.parametrize("input_grad", [True, False])
def test_the_fused_step_gives_autograds_numbers(config, input_grad, monkeypatch):
    adapter = model_of(config).bert.encoder.layer[0].output.dropout.adapter
    x = torch.randn(2, 5, 32, dtype=torch.float64, requires_grad=input_grad)
    target = torch.randn(2, 5, 32, dtype=torch.float64)

    def run():
        adapter.zero_grad()
        x.grad = None
        output = adapter(x)
        (output * target).sum().backward()
        grads = {n: p.grad.clone() for n, p in adapter.named_parameters()}
        return output.detach(), grads | ({"x": x.grad.clone()} if input_grad else {})

    fused = run()
    monkeypatch.setattr(fast.FusedBottleneck, "apply", lambda h, *m: fast.add_projection(h, torch.relu(
        fast.project(h, m[:2])), m[2:]))  # fmt: skip
    assert_same(run(), fused)


def test_an_evaluation_in_another_thread_leaves_trainings_gradients_alone():
    """Merged weights belong to one forward pass. Here an evaluation ends in the middle of a training pass."""
    model = model_of(CONFIGS[0])
    expected = gradients(model)
    twin = model.bert.encoder.layer[1]  # the same weights, in the pass of another thread

    def evaluate(*_):
        def run():
            with torch.no_grad():
                model(input_ids=batch()["input_ids"])

        if threading.current_thread() is threading.main_thread():
            thread = threading.Thread(target=run)
            thread.start()
            thread.join()

    handle = twin.register_forward_pre_hook(evaluate)
    assert_same(gradients(model), expected)
    handle.remove()


@pytest.mark.parametrize("interrupt", [KeyboardInterrupt, ValueError])
def test_an_interrupted_pass_leaves_nothing_behind(interrupt):
    model = model_of(CONFIGS[0])

    def stop(*_):
        raise interrupt

    handle = model.bert.encoder.layer[1].register_forward_pre_hook(stop)
    with pytest.raises(interrupt):
        model(**batch())
    handle.remove()
    assert not fast._of_pass.get({})
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(1.1)
        inner = model.bert.eval()(input_ids=batch()["input_ids"]).last_hidden_state  # a part, outside of any pass
        complete = model.eval()(**batch(), output_hidden_states=True).hidden_states[-1]
    torch.testing.assert_close(inner, complete, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("config", CONFIGS, ids=name)
@pytest.mark.parametrize("p", exhaustive_but([0.1], [0.0, 0.1]))
def test_gradient_checkpointing_gives_the_same_numbers(config, p):
    model = model_of(config)
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = p
    plain = gradients(model)
    for reentrant in (False, True):
        model.gradient_checkpointing_enable({"use_reentrant": reentrant})
        model.enable_input_require_grads()
        assert_same(gradients(model), plain)


@pytest.mark.parametrize("reentrant", [False, True])
def test_layers_that_train_in_a_model_that_evaluates_are_checkpointed_too(reentrant):
    """A layer's own mode decides whether it computes its activations again."""
    model = model_of(CONFIGS[0])
    plain = gradients(model)
    model.gradient_checkpointing_enable({"use_reentrant": reentrant})
    model.enable_input_require_grads()

    def forward(**options):
        model.eval().bert.encoder.train()
        return model(**options)

    assert_same(gradients(model, forward), plain)


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("change", ["optimizer", "in place", "loaded", "data", "trained under a compiler"])
def test_evaluation_follows_every_change_of_a_parameter(change, fused):
    model = model_of(CONFIGS[0])

    def logits():
        with torch.no_grad():
            return model.eval()(input_ids=batch()["input_ids"]).logits

    before = logits()
    assert torch.equal(before, logits())
    parameters = [p for _, adapter in adapters_of(model) for p in adapter.parameters()]
    if change == "optimizer":
        optimizer = torch.optim.AdamW(parameters, lr=0.1, fused=fused)
        model.train()(**batch()).loss.backward()
        assert torch.equal(before, logits())  # between the gradient and the step, too
        optimizer.step()
    elif change == "in place":
        with torch.no_grad():
            parameters[0].mul_(2)
    elif change == "loaded":
        model.load_state_dict({key: 2 * value for key, value in model.state_dict().items()})
    elif change == "trained under a compiler":
        optimizer = torch.optim.AdamW(parameters, lr=0.1, fused=fused)
        torch.compile(model.train(), backend="eager")(**batch()).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    else:
        parameters[0].data.mul_(2)
    changed = logits()
    assert not torch.equal(before, changed)
    model.adaptation.method.forward_pass = lambda model: nullcontext()  # each weight computes its own matrices
    torch.testing.assert_close(logits(), changed, rtol=1e-10, atol=1e-12)


def test_the_weights_of_all_sites_are_computed_together(monkeypatch):
    model, calls, pair_of = model_of(CONFIGS[0]).eval(), [], CP.low_rank_pair
    monkeypatch.setattr(CP, "low_rank_pair", staticmethod(lambda *args: calls.append(1) or pair_of(*args)))
    with torch.no_grad():
        model(input_ids=batch()["input_ids"])
    assert len(calls) == 2  # down and up


def test_a_call_of_one_adapter_alone_uses_its_own_factors():
    model = model_of(CONFIGS[0])
    _, adapter = next(adapters_of(model))
    x = torch.randn(2, 3, 32, dtype=torch.float64)
    with torch.no_grad():
        model.eval()(input_ids=batch()["input_ids"])
        before = adapter(x)
        for parameter in adapter.parameters():
            parameter.data = 2 * parameter.data
        assert not torch.equal(adapter(x), before)


def test_transforms_of_torch_func_give_the_same_gradients():
    model = model_of(CONFIGS[0])
    trained = {name: p.detach() for name, p in model.named_parameters() if p.requires_grad}

    def loss(values):
        return torch.func.functional_call(model.train(), values, kwargs=batch()).loss

    _, expected = gradients(model)
    for key, gradient in torch.func.grad(loss)(trained).items():
        torch.testing.assert_close(gradient, expected[key], rtol=1e-8, atol=1e-10)


def test_second_derivatives_of_the_fused_step_are_refused_rather_than_wrong():
    adapter = next(adapters_of(model_of(CONFIGS[0])))[1]
    x = torch.randn(2, 3, 32, dtype=torch.float64, requires_grad=True)
    (first,) = torch.autograd.grad(adapter(x).square().sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        first.sum().backward()
