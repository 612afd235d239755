"""The calibrated start and its learning rates; the published start."""

import math

import pytest
import torch

from tensorized_adapters import AdapterConfig
from tensorized_adapters.adapters.tensorized import new_adapter
from tensorized_adapters.tensors.formats import FORMATS


def adapter(kind, rank, hidden, **changes):
    torch.manual_seed(rank + hidden)
    return new_adapter(AdapterConfig(adapter_projection_type=kind, tensorized_layer_rank=rank, **changes), hidden)


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("rank", [1, 2, 4, 8, 16])
@pytest.mark.parametrize("hidden", [128, 384, 768, 1024])
def test_calibrated_start_is_that_of_a_dense_layer_for_every_format(kind, rank, hidden):
    bottleneck = adapter(kind, rank, hidden)
    assert bottleneck.down.matrix().std().item() == pytest.approx(1 / math.sqrt(hidden), rel=1e-3)
    x = torch.randn(2, 7, hidden)
    assert torch.equal(bottleneck(x), x)

    one_matrix = adapter(kind, rank, hidden, if_adapter_like=False)
    gain = (one_matrix(x) - x).norm() / x.norm()
    assert 2e-5 < gain < 5e-4


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("if_adapter_like", [True, False])
def test_every_factor_that_can_learn_at_once_gets_a_gradient(kind, if_adapter_like):
    """In the bottleneck only U's last factor moves at first, for it is zero; nothing is dead after one step."""
    module = adapter(kind, 4, 128, if_adapter_like=if_adapter_like).double()
    optimizer = torch.optim.SGD(module.parameters(), lr=0.1)
    x, target = torch.randn(2, 5, 8, 128, dtype=torch.float64)
    for _ in range(2):
        optimizer.zero_grad()
        (module(x) * target).sum().backward()
        optimizer.step()
    assert all(p.grad.abs().max() > 0 for p in module.parameters())


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("rank", [1, 4])
def test_one_learning_rate_moves_every_format_like_a_dense_layer(kind, rank):
    """A sign step of each factor by rate x scale changes the down weight by the rate, within a factor of two."""
    module = adapter(kind, rank, 384)
    before, rate = module.down.matrix().detach().double(), 1e-4
    scales = list(module.learning_rate_scales())[: len(list(module.down.parameters()))]
    with torch.no_grad():
        for parameter, scale in scales:
            parameter += rate * scale * torch.sign(parameter)  # coherent, as the formula assumes
    change = (module.down.matrix().double() - before).std().item()
    assert 0.4 * rate < change < 1.6 * rate


@pytest.mark.parametrize("kind", FORMATS)
def test_the_zero_factors_rate_moves_the_up_weight_by_the_rate(kind):
    module = adapter(kind, 4, 384)
    *_, (last, scale) = module.learning_rate_scales()
    assert torch.count_nonzero(last) == 0
    rate = 1e-3
    with torch.no_grad():
        last += rate * scale * torch.randn_like(last).sign()
    assert module.up.matrix().std().item() == pytest.approx(rate, rel=0.35)


@pytest.mark.parametrize("kind", ["cp", "tucker", "tt", "tr"])
def test_published_start(kind):
    module = adapter(kind, 2, 768, adapter_init="published")
    for parameter, scale in module.learning_rate_scales():
        assert scale == 1.0
        assert parameter.abs().max() <= 0.1
    everything = torch.cat([p.flatten() for p in module.parameters()])
    assert everything.std().item() == pytest.approx(0.1 / math.sqrt(3), rel=0.1)
    if kind == "cp":  # measured of the published code: 1.6e-5
        stds = [adapter("cp", 2, 768, adapter_init="published").down.matrix().std().item()]
        assert 2e-6 < stds[0] < 6e-5
