"""The fast paths change no result: merged weights, the fused step, torch.compile, checkpointing, autocast."""

import threading

import pytest
import torch
from exhaustive import exhaustive_but
from helpers import tiny_model

from tensorized_adapters import AdapterConfig, add_adapters
from tensorized_adapters.adapters import fast
from tensorized_adapters.adapters.insertion import adapters_of
from tensorized_adapters.tensors.formats import CP

CONFIGS = [
    AdapterConfig(adapter_projection_type=kind, tensorized_layer_rank=2, adapter_size=8, if_adapter_like=mode)
    for kind in ("cp", "tucker", "tt", "tr", "matrix")
    for mode in (True, False)
]
COMPACTER = AdapterConfig(method="compacter", adapter_size=8)
CONFIGS += [COMPACTER]
CONFIGS += [
    AdapterConfig(adapter_projection_type=kind, tensorized_layer_rank=2, adapter_size=8, tensor_split="interleaved")
    for kind in ("cp", "tr")
]
CONFIGS += [
    AdapterConfig(adapter_projection_type=kind, tensorized_layer_rank=2, adapter_size=8, tensor_scope="model", **more)
    for kind, more in (("cp", {}), ("tucker", {"if_adapter_like": False}), ("tt", {"tensor_split": "interleaved"}))
]
CONFIGS += [
    AdapterConfig(adapter_projection_type="cp", tensorized_layer_rank=2, adapter_size=8, adapter_placement="parallel"),
    AdapterConfig(adapter_projection_type="tt", tensorized_layer_rank=2, adapter_placement="weights"),
]


def name(config):
    return config.describe()


def batch():
    generator = torch.Generator().manual_seed(1)
    return {"input_ids": torch.randint(5, 20, (3, 9), generator=generator), "labels": torch.tensor([0, 1, 1])}


def model_of(config, **changes):
    """Return an adapted model without dropout, in which every trained number differs from its start."""
    backbone = tiny_model(hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0, **changes)
    model = add_adapters(backbone, config).double()
    torch.manual_seed(2)
    for parameter in model.parameters():
        if parameter.requires_grad:
            torch.nn.init.normal_(parameter, std=0.3)
    return model


def gradients(model, forward=None, **options):
    model.train().zero_grad()
    torch.manual_seed(4)
    output = (model if forward is None else forward)(**batch(), **options)
    output.loss.backward()
    return output.logits.detach(), {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}


def assert_same(one, other):
    torch.testing.assert_close(one[0], other[0], rtol=1e-10, atol=1e-12)
    assert one[1].keys() == other[1].keys()
    for key, gradient in one[1].items():
        torch.testing.assert_close(gradient, other[1][key], rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("config", CONFIGS, ids=name)
def test_merged_weights_give_the_numbers_of_single_ones(config):
    model = model_of(config)
    merged = gradients(model)
    assert not fast._passes.stack
    with fast.few_launches(True):  # the rule of accelerators
        assert_same(gradients(model), merged)
    model.adaptation.method.unmerge(model)
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


@pytest.mark.parametrize("times", [1, 10, 100])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_in_half_precision_a_large_update_costs_no_accuracy_of_the_gradient(times, dtype):
    """The gradient of the fused step is as near to float64's as that of the plain one."""
    generator = torch.Generator().manual_seed(0)
    shapes = (64, 48), (48, 4), (4, 16), (16, 4), (4, 48)
    exact = [torch.randn(shape, generator=generator, dtype=torch.float64) / shape[0] ** 0.5 for shape in shapes]
    exact[0] *= 64**0.5
    update = torch.relu(exact[0] @ exact[1] @ exact[2]) @ exact[3] @ exact[4]
    exact[4] *= times * exact[0].norm() / update.norm()
    target = torch.randn((64, 48), generator=generator, dtype=torch.float64)
    exact = [tensor.to(dtype).double() for tensor in exact]

    def gradients_by(compute, kind):
        leaves = [tensor.to(kind, copy=True).requires_grad_() for tensor in exact]
        (compute(leaves) * target.to(kind)).sum().backward()
        return [leaf.grad.double() for leaf in leaves]

    def plain(leaves):
        hidden, *matrices = leaves
        return fast.add_projection(hidden, torch.relu(fast.project(hidden, matrices[:2])), matrices[2:])

    right = gradients_by(plain, torch.float64)
    errors = [
        [((ours - true).norm() / true.norm()).item() for ours, true in zip(gradients_by(compute, dtype), right)]
        for compute in (lambda leaves: fast.FusedBottleneck.apply(*leaves), plain)
    ]
    assert all(fused <= 1.2 * unfused + 1e-3 for fused, unfused in zip(*errors)), errors


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
    assert not fast._passes.stack
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


# Each format once, with one matrix or two, and each other choice once: compiling takes five seconds.
COMPILED = [CONFIGS[0], CONFIGS[3], CONFIGS[4], CONFIGS[7], CONFIGS[8], *CONFIGS[10:12], *CONFIGS[-3:]]


@pytest.mark.parametrize("config", exhaustive_but([], COMPILED), ids=name)
def test_the_whole_model_compiles_and_gives_the_same_numbers(config):
    """Tracing a second layer takes seconds and is the same code, so only one format and shared matrices have one."""
    model = model_of(config, num_hidden_layers=2 if config in (CONFIGS[0], COMPACTER) else 1)
    torch.compiler.reset()
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    assert_same(gradients(model, compiled), gradients(model))
    model.eval()
    with torch.no_grad():
        torch.testing.assert_close(compiled(**batch()).logits, model(**batch()).logits, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(
    "change",
    exhaustive_but(
        [{}], [{}, {"adapter_placement": "parallel"}, {"adapter_placement": "weights"}, {"tensor_scope": "model"}]
    ),
    ids=lambda change: " ".join(change.values()) or "sequential",
)
def test_batches_of_any_size_are_compiled_twice_and_never_again(change):
    """Like the plain model, they are compiled once for the first shape and once for all others."""
    config = AdapterConfig(adapter_projection_type="tt", tensorized_layer_rank=2, adapter_size=8, **change)
    model = model_of(config, num_hidden_layers=1).train()
    torch.compiler.reset()
    counters = torch._dynamo.utils.counters
    counters.clear()
    compiled = torch.compile(model, fullgraph=True, backend="eager")
    for rows, length in [(4, 16), (3, 24), (2, 17), (7, 9), (6, 33)]:
        ids = torch.randint(0, model.config.vocab_size, (rows, length))
        compiled(input_ids=ids, attention_mask=torch.ones_like(ids)).logits.sum().backward()
    assert counters["stats"]["unique_graphs"] == 2 and not counters["graph_break"]


@pytest.mark.parametrize("part", ["attention.self.value", "attention.output"])
def test_compiling_one_end_of_a_sublayer_leaves_the_adapter_beside_it_its_input(part):
    model = model_of(next(config for config in CONFIGS if config.adapter_placement == "parallel"), num_hidden_layers=1)
    plain = gradients(model)
    torch.compiler.reset()
    model.bert.encoder.layer[0].get_submodule(part).compile(backend="eager")
    assert_same(gradients(model), plain)


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
    model.adaptation.method.unmerge(model)
    torch.testing.assert_close(logits(), changed, rtol=1e-10, atol=1e-12)


def test_the_weights_of_all_sites_are_computed_together(monkeypatch):
    model, calls, pair_of = model_of(CONFIGS[0]).eval(), [], CP.low_rank_pair
    monkeypatch.setattr(CP, "low_rank_pair", staticmethod(lambda *args: calls.append(1) or pair_of(*args)))
    with torch.no_grad():
        model(input_ids=batch()["input_ids"])
    assert len(calls) == 2  # down and up


@pytest.mark.parametrize("config", CONFIGS, ids=name)
def test_autocast_gives_bfloat16_outputs_and_float32_gradients(config):
    model = model_of(config).float()
    adapter = next(adapters_of(model))[1]
    hidden = torch.randn(2, 5, 32, dtype=torch.bfloat16, requires_grad=True)
    with torch.autocast("cpu", torch.bfloat16):
        output = adapter(hidden)
    assert output.dtype is torch.bfloat16
    output.float().sum().backward()
    assert all(p.grad.dtype is torch.float32 for p in adapter.parameters() if p.grad is not None)
    reference = adapter(hidden.detach().float())
    assert (output.float() - reference).norm() < 0.03 * reference.norm()


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


@pytest.mark.parametrize("config", CONFIGS, ids=name)
def test_evaluation_with_and_without_autocast(config):
    model = model_of(config).float().eval()
    with torch.no_grad():
        plain = model(**batch()).logits
        with torch.autocast("cpu", torch.bfloat16):
            half = model(**batch()).logits
            with fast.few_launches(True):
                few = model(**batch()).logits
        assert torch.equal(model(**batch()).logits, plain)
    for logits in (half, few):
        assert (logits.float() - plain).norm() < 0.1 * plain.norm()


@pytest.mark.parametrize("config", CONFIGS, ids=name)
def test_training_under_autocast_has_the_same_gradients_in_few_launches(config):
    model = model_of(config).float()
    with torch.autocast("cpu", torch.bfloat16):
        _, plain = gradients(model)
        with fast.few_launches(True):
            _, few = gradients(model)
    assert plain.keys() == few.keys()
    one, other = (torch.cat([gradient.flatten() for gradient in each.values()]) for each in (plain, few))
    assert one.dtype is other.dtype is torch.float32 and (one - other).norm() < 0.1 * one.norm()


def test_second_derivatives_of_the_fused_step_are_refused_rather_than_wrong():
    adapter = next(adapters_of(model_of(CONFIGS[0])))[1]
    x = torch.randn(2, 3, 32, dtype=torch.float64, requires_grad=True)
    (first,) = torch.autograd.grad(adapter(x).square().sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        first.sum().backward()
