"""The fast paths in half precision and under autocast: as accurate as the plain ones."""

from unittest.mock import patch

import pytest
import torch
from fast_cases import CONFIGS, batch, gradients, model_of, name

from tensorized_adapters.adapters import fast
from tensorized_adapters.adapters.insertion import adapters_of

FEW_LAUNCHES = patch.object(fast, "saves_launches", lambda device: True)  # the rule of accelerators


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


@pytest.mark.parametrize("config", CONFIGS, ids=name)
def test_evaluation_with_and_without_autocast(config):
    model = model_of(config).float().eval()
    with torch.no_grad():
        plain = model(**batch()).logits
        with torch.autocast("cpu", torch.bfloat16):
            half = model(**batch()).logits
            with FEW_LAUNCHES:
                few = model(**batch()).logits
        assert torch.equal(model(**batch()).logits, plain)
    for logits in (half, few):
        assert (logits.float() - plain).norm() < 0.1 * plain.norm()


@pytest.mark.parametrize("config", CONFIGS, ids=name)
def test_training_under_autocast_has_the_same_gradients_in_few_launches(config):
    model = model_of(config).float()
    with torch.autocast("cpu", torch.bfloat16):
        _, plain = gradients(model)
        with FEW_LAUNCHES:
            _, few = gradients(model)
    assert plain.keys() == few.keys()
    one, other = (torch.cat([gradient.flatten() for gradient in each.values()]) for each in (plain, few))
    assert one.dtype is other.dtype is torch.float32 and (one - other).norm() < 0.1 * one.norm()
