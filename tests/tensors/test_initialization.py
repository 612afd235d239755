"""The calibrated start and its gain; the published start."""

import copy
import math

import numpy as np
import pytest
import torch
from exhaustive import exhaustive_but

from tensorized_adapters import AdapterConfig
from tensorized_adapters.adapters.fast import factorized_weights
from tensorized_adapters.adapters.tensorized import new_adapters
from tensorized_adapters.tensors.formats import FORMATS

SPLIT_FORMATS = [(kind, "separate") for kind in FORMATS] + [
    (kind, "interleaved") for kind in ("cp", "tucker", "tt", "tr")
]


def adapter(kind, rank, hidden, **changes):
    torch.manual_seed(rank + hidden)
    config = AdapterConfig(adapter_projection_type=kind, tensorized_layer_rank=rank, **changes)
    return next(new_adapters(config, hidden))


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
def test_the_start_of_a_tensor_for_all_sites_is_a_dense_layers_too(kind, if_adapter_like):
    config = AdapterConfig(
        adapter_projection_type=kind, tensor_scope="model", tensorized_layer_rank=4, if_adapter_like=if_adapter_like
    )
    torch.manual_seed(0)
    adapters = list(new_adapters(config, 384, sites=24))
    x = torch.randn(2, 7, 384)
    if if_adapter_like:
        every = torch.stack([adapter.down.matrix() for adapter in adapters])
        assert every.std().item() == pytest.approx(1 / math.sqrt(384), rel=1e-3)
        assert all(torch.equal(adapter(x), x) for adapter in adapters)
    else:
        gains = torch.stack([(adapter(x) - x).norm() / x.norm() for adapter in adapters])
        assert 2e-5 < gains.pow(2).mean().sqrt() < 5e-4
    parameters = {id(p): p for adapter in adapters for p in adapter.parameters()}
    assert len(parameters) == len(list(adapters[0].parameters()))
    if not if_adapter_like:
        return
    with torch.no_grad():  # a coherent step of the rate moves the sites' matrices by about the rate
        for parameter in adapters[0].down.parameters():
            parameter += 1e-4 * torch.sign(parameter)
    moved = torch.stack([adapter.down.matrix() for adapter in adapters]) - every
    assert 0.4e-4 < moved.std() < 1.6e-4


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("if_adapter_like", [True, False])
def test_every_factor_that_can_learn_at_once_gets_a_gradient(kind, if_adapter_like):
    """In the bottleneck only U's last factor, which is zero, moves at first. After one step every factor has a
    gradient."""
    module = adapter(kind, 4, 128, if_adapter_like=if_adapter_like).double()
    optimizer = torch.optim.SGD(module.parameters(), lr=0.1)
    x, target = torch.randn(2, 5, 8, 128, dtype=torch.float64)
    for _ in range(2):
        optimizer.zero_grad()
        (module(x) * target).sum().backward()
        optimizer.step()
    assert all(p.grad.abs().max() > 0 for p in module.parameters())


@pytest.mark.parametrize("kind, split", SPLIT_FORMATS)
@pytest.mark.parametrize("rank", [1, 4])
def test_one_learning_rate_moves_every_format_like_a_dense_layer(kind, split, rank):
    """A sign step of each factor by the rate changes the down weight by the rate, within a factor of two."""
    module = adapter(kind, rank, 384, tensor_split=split)
    before, rate = module.down.matrix().detach().double(), 1e-4
    with torch.no_grad():
        for parameter in module.down.parameters():
            parameter += rate * torch.sign(parameter)  # coherent, as the formula assumes
    change = (module.down.matrix().double() - before).std().item()
    assert 0.4 * rate < change < 1.6 * rate


@pytest.mark.parametrize("kind, split", SPLIT_FORMATS)
def test_a_step_in_the_zero_factor_moves_the_up_weight_by_the_rate(kind, split):
    module = adapter(kind, 4, 384, tensor_split=split)
    *_, last = module.parameters()
    assert torch.count_nonzero(last) == 0
    rate = 1e-3
    with torch.no_grad():
        last += rate * torch.randn_like(last).sign()
    assert module.up.matrix().std().item() == pytest.approx(rate, rel=0.35)


@pytest.mark.parametrize("projection", ["down", "up"])
def test_no_format_and_rank_goes_twice_as_far_along_a_gradient_as_tr_4(projection):
    """Compare the fall of the loss in 30 Adam steps at twice the default rate along a constant gradient. With factors
    of one width, tr-8 moved twice as far, and tr-15 and matrix-15 four times, so that training could collapse."""
    taken_off = {}
    for kind in FORMATS:
        for rank in (4, 8, 15):
            weight = getattr(adapter(kind, rank, 384), projection)
            n_in, n_out = weight.view.in_features, weight.view.out_features
            gradient = torch.outer(torch.randn(n_in), torch.randn(n_out)) / math.sqrt(n_in * n_out)
            optimizer, start = torch.optim.Adam(weight.parameters(), lr=4e-3), weight.matrix().detach()
            for _ in range(30):
                optimizer.zero_grad()
                (weight.matrix() * gradient).sum().backward()
                optimizer.step()
            taken_off[kind, rank] = ((start - weight.matrix().detach()) * gradient).sum().item()
    far = {key: value / taken_off["tr", 4] for key, value in taken_off.items()}
    assert all(0.2 < value < 2 for value in far.values()), far


def factor_wise_rates(weight, kind, rank, std, small_last):
    """The rule that the gain replaced. Factors have no gain and equal widths, and each has a multiple of the rate.

    A factor of standard deviation s trains at s / (n s_W) times the rate, one that starts near zero at
    1 / (sqrt(k) std(product of the others)), for it has no size to be relative to.
    """
    n, order = len(list(weight.parameters())), len(weight.shape)
    terms = {"cp": rank, "tucker": rank**order, "tt": rank ** (order - 1), "tr": rank**order, "matrix": rank}[kind]
    columns = rank**2 if kind == "tr" else rank  # of the product of all but the last factor
    size = (std / math.sqrt(terms)) ** (1 / n)
    scales = [size / (n * std)] * n
    if small_last:
        scales[-1] = 1 / (math.sqrt(columns) * size ** (n - 1) * math.sqrt(terms / columns))
    harmless = 1 if kind == "matrix" else 16 if order == 2 else 64
    slower = max(1.0, math.sqrt(terms / harmless)) ** (1 / n)  # if many terms add up
    return [scale / slower for scale in scales]


@pytest.mark.parametrize("kind, split", SPLIT_FORMATS)
@pytest.mark.parametrize("if_adapter_like", exhaustive_but([True], [True, False]))
def test_the_gain_gives_the_trajectory_of_factor_wise_rates(kind, split, if_adapter_like):
    """In float64, without Adam's epsilon, step by step: 60 of them."""
    ours = adapter(kind, 3, 96, if_adapter_like=if_adapter_like, adapter_size=16, tensor_split=split).double()
    theirs, groups = copy.deepcopy(ours), []
    for name, weight in theirs.named_children():
        std = 1 / math.sqrt(weight.view.in_features)
        scales = factor_wise_rates(weight, kind, 3, std, small_last=name != "down")
        weight.gain = 1.0
        for parameter, scale in zip(weight.parameters(), scales):
            parameter.data.mul_(scale)
            groups.append({"params": [parameter], "lr": 2e-3 * scale})
    x, target = torch.randn(2, 64, 96, dtype=torch.float64)
    losses = []
    for module, parameters in ((ours, [{"params": list(ours.parameters()), "lr": 2e-3}]), (theirs, groups)):
        optimizer = torch.optim.Adam(parameters, eps=1e-30)
        losses.append([])
        for _ in range(60):
            optimizer.zero_grad()
            loss = (module(x) - target).square().mean()
            loss.backward()
            optimizer.step()
            losses[-1].append(loss.item())
    assert losses[0][-1] < losses[0][0]  # it has learnt something
    assert np.abs(np.subtract(*losses)).max() < 1e-9


@pytest.mark.parametrize("kind", ["cp", "tucker", "tt", "tr"])
def test_published_start(kind):
    module = adapter(kind, 2, 768, adapter_init="published")
    assert all(weight.gain == 1.0 for weight in factorized_weights(module))
    assert all(parameter.abs().max() <= 0.1 for parameter in module.parameters())
    everything = torch.cat([p.flatten() for p in module.parameters()])
    assert everything.std().item() == pytest.approx(0.1 / math.sqrt(3), rel=0.1)
    if kind == "cp":  # measured of the published code: 1.6e-5
        stds = [adapter("cp", 2, 768, adapter_init="published").down.matrix().std().item()]
        assert 2e-6 < stds[0] < 6e-5
