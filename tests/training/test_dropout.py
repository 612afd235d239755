"""Cheaper dropout on CPU is inverted dropout, for every module that was torch's own."""

import pytest
import torch
from helpers import logits, tiny_model

from tensorized_adapters import AdapterConfig, add_adapters
from tensorized_adapters.training.dropout import CheapDropout, use_cheap_dropout


@pytest.mark.parametrize("p", [0.1, 0.5, 0.999])
def test_it_is_inverted_dropout(p):
    module = torch.nn.Sequential(torch.nn.Dropout(p))
    use_cheap_dropout(module)
    assert type(module[0]) is CheapDropout
    x = torch.randn(5, 1000, 32, dtype=torch.float64, requires_grad=True)
    first, second = module(x), module(x)
    first.sum().backward()
    kept = first != 0
    assert abs(kept.double().mean() - (1 - p)) < 5 * (p * (1 - p) / x.numel()) ** 0.5 + 1e-5
    torch.testing.assert_close(first[kept], x[kept] / (1 - p), rtol=1e-4, atol=0)
    torch.testing.assert_close(x.grad, first / x, rtol=1e-10, atol=1e-12)
    assert not torch.equal(kept, second != 0)
    if p < 0.9:  # rows, columns and neighbours share no draws
        for dim in (0, 1, 2):
            both = (kept & kept.roll(1, dim)).double().mean()
            assert abs(both - (1 - p) ** 2) < 0.01
    torch.testing.assert_close(module.eval()(x), x, rtol=1e-15, atol=0)


def test_every_dropout_of_a_model_takes_it_and_adapters_stay():
    model = add_adapters(tiny_model(), AdapterConfig(adapter_projection_type="cp", adapter_size=8))
    names, before = list(model.state_dict()), logits(model)
    count = sum(type(m) is torch.nn.Dropout for m in model.modules())
    use_cheap_dropout(model)
    assert sum(type(m) is CheapDropout for m in model.modules()) == count > 4
    assert list(model.state_dict()) == names and torch.equal(logits(model), before)
    model.train()(input_ids=torch.randint(5, 20, (2, 9)), labels=torch.tensor([0, 1])).loss.backward()
    trained = [p for name, p in model.named_parameters() if ".up.factors." in name and "factor_2" in name]
    assert trained and all(p.grad.abs().max() > 0 for p in trained)
