"""Diff pruning from Python: its gates, its budget, and the parameters that stay as they are."""

import copy
import io
import pickle

import pytest
import safetensors.torch
import torch
from helpers import (
    difference_of,
    logits,
    tiny_model,
    tokens,
    trained_a_little,
)
from transformers import AutoModelForSequenceClassification

from tensorized_adapters import (
    AdapterConfig,
    UsageError,
    add_adapters,
    load_adapter,
    optimizer_groups,
    remove_adapters,
    save_adapter,
)
from tensorized_adapters.methods.diff_pruning import budget_of
from tensorized_adapters.methods.sparse_difference import GATE_START, Difference

CONFIG = AdapterConfig(method="diff_pruning", diff_sparsity=0.01)


def test_gates_are_hard_concrete():
    """Louizos et al. (2018), equations 10 to 12, with the stretch (-1.5, 1.5): P(z > 0) = sigmoid(gate)."""
    torch.manual_seed(0)
    part = Difference(torch.zeros(200_000), structured=False)
    with torch.no_grad():
        part.value.fill_(1.0)
        part.gate.fill_(0.4)
    z = part.train()(torch.zeros(200_000)).detach()
    assert z.min() == 0 and z.max() == 1
    assert (z > 0).float().mean().item() == pytest.approx(torch.sigmoid(torch.tensor(0.4)).item(), abs=5e-3)
    assert part.expected_count().item() == pytest.approx(200_000 * torch.sigmoid(torch.tensor(0.4)).item(), rel=1e-4)


def test_structured_gates_multiply():
    part = Difference(torch.zeros(50), structured=True)
    with torch.no_grad():
        part.value.fill_(2.0)
        part.module_gate.fill_(-10.0)
    assert torch.count_nonzero(part.train()(torch.zeros(50))) == 0
    open_ = 50 * torch.sigmoid(torch.tensor(GATE_START)) * torch.sigmoid(torch.tensor(-10.0))
    assert part.expected_count().item() == pytest.approx(open_.item(), rel=1e-4)


def test_pruning_keeps_exactly_the_largest_within_the_budget():
    model = trained_a_little(add_adapters(tiny_model(), CONFIG))
    parts = difference_of(model).parts
    expected = {name: part.expected().flatten() for name, part in parts.items()}
    kept = difference_of(model).prune()
    assert sum(len(indices) for indices, _ in kept.values()) == difference_of(model).budget
    least = min(values.abs().min() for _, values in kept.values() if len(values))
    everything = torch.cat(list(expected.values())).abs()
    assert (everything > least).sum() < difference_of(model).budget <= (everything >= least).sum()
    for name, (indices, values) in kept.items():
        assert torch.equal(expected[name][indices], values)


def test_pruning_follows_an_optimizer_that_leaves_no_version_behind():
    model = add_adapters(tiny_model(), CONFIG)
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=0.05, fused=True)
    seen = []
    for _ in range(2):
        model.train()(input_ids=tokens(), labels=torch.tensor([0, 1])).loss.backward()
        optimizer.step()
        seen.append(logits(model))
    assert not torch.equal(*seen)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_a_model_that_is_converted_after_an_evaluation_in_the_search_computes(dtype):
    model = trained_a_little(add_adapters(tiny_model(), CONFIG))
    before = logits(model)
    converted = logits(model.to(dtype))
    assert converted.dtype == dtype and converted.isfinite().all()
    if dtype == torch.float64:  # in half precision others of nearly equal entries are kept
        torch.testing.assert_close(converted.float(), before)
    assert logits(model.float()).isfinite().all()
    part = next(iter(difference_of(model).parts.values()))
    indices, values = part.kept()
    assert torch.equal(values, part.expected().flatten()[indices])


def test_what_evaluation_sees_while_searching_is_what_is_kept():
    model = trained_a_little(add_adapters(tiny_model(), CONFIG))
    before = logits(model)
    difference_of(model).end_search()
    assert torch.equal(logits(model), before)


@pytest.mark.parametrize("searching", [True, False])
def test_base_plus_stored_difference_is_the_model_and_the_rest_is_pretrained(base, tmp_path, searching):
    model = trained_a_little(add_adapters(AutoModelForSequenceClassification.from_pretrained(base), CONFIG))
    if not searching:
        difference_of(model).end_search()
        trained_a_little(model)
    save_adapter(model, tmp_path)
    stored = safetensors.torch.load_file(tmp_path / "adapter_model.safetensors")
    plain = AutoModelForSequenceClassification.from_pretrained(base)
    changed = 0
    with torch.no_grad():
        for name, parameter in plain.named_parameters():
            if name in stored:
                parameter.copy_(stored[name])
            elif f"{name}.indices" in stored:
                indices = stored[f"{name}.indices"].long()
                parameter.view(-1)[indices] += stored[f"{name}.values"]
                changed += len(indices)
    assert changed == difference_of(model).budget == int(0.01 * sum(p.numel() for p in plain.bert.parameters()))
    assert torch.equal(logits(plain), logits(model))
    remove_adapters(model)
    for name, parameter in AutoModelForSequenceClassification.from_pretrained(base).bert.named_parameters():
        assert torch.equal(parameter, dict(model.bert.named_parameters())[name])


@pytest.mark.parametrize("searching", [True, False])
def test_a_model_is_pickled_in_both_phases(base, searching):
    plain = AutoModelForSequenceClassification.from_pretrained(base)
    model = trained_a_little(add_adapters(copy.deepcopy(plain), CONFIG))
    if not searching:
        difference_of(model).end_search()
    stream = io.BytesIO()
    torch.save(model, stream)
    stream.seek(0)
    for copied in (torch.load(stream, weights_only=False), pickle.loads(pickle.dumps(model)), copy.copy(model)):
        assert torch.equal(logits(copied), logits(model))
    again = pickle.loads(pickle.dumps(pickle.loads(pickle.dumps(model))))
    before = logits(model)
    trained_a_little(again)
    assert not torch.equal(logits(again), before) and torch.equal(logits(model), before)
    remove_adapters(again)
    assert torch.equal(logits(again), logits(plain))


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda t: t | {"bert.nothing.indices": torch.zeros(1, dtype=torch.int32)}, "does not have in full"),
        (
            lambda t: {n: v for n, v in t.items() if not n.endswith("pooler.dense.weight.values")},
            "does not have in full",
        ),
        (lambda t: {n: -v if n.endswith(".indices") else v for n, v in t.items()}, "are not positions"),
        (lambda t: {n: v * 0 if n.endswith(".indices") else v for n, v in t.items()}, "are not positions"),
        (lambda t: {n: v[1:] if n.startswith("bert") else v for n, v in t.items()}, "it changes|are not positions"),
    ],
)
def test_a_difference_written_by_hand_is_refused(base, tmp_path, change, message):
    import hashlib

    from helpers import rewrite

    model = add_adapters(AutoModelForSequenceClassification.from_pretrained(base), CONFIG)
    with torch.no_grad():  # the largest differences lie in the pooler and, in number, everywhere
        for part in difference_of(model).parts.values():
            torch.nn.init.normal_(part.value)
    save_adapter(model, tmp_path)
    path = tmp_path / "adapter_model.safetensors"
    weights = safetensors.torch.save({n: t.clone() for n, t in change(safetensors.torch.load_file(path)).items()})
    path.write_bytes(weights)
    rewrite(tmp_path / "adapter_config.json", {"weights_sha256": hashlib.sha256(weights).hexdigest()})
    fresh = AutoModelForSequenceClassification.from_pretrained(base)
    before = list(fresh.state_dict())
    with pytest.raises(UsageError, match=message):
        load_adapter(fresh, tmp_path)
    assert list(fresh.state_dict()) == before


def test_the_budget_is_the_decimal_share_rounded_down():
    assert budget_of(AdapterConfig(method="diff_pruning", diff_sparsity=0.29), 100) == 29
    with pytest.raises(UsageError, match="is less than one of them"):
        budget_of(CONFIG, 99)


def test_a_parameter_that_is_used_twice_has_one_noise_a_pass():
    """DeBERTa-v2 with shared projections reads its query weight twice in a forward pass."""
    from tiny_models import build

    model, _ = build("deberta-v2")
    add_adapters(model, CONFIG).train()
    layer = model.deberta.encoder.layer[0].attention.self.query_proj
    with torch.no_grad():
        layer.parametrizations.weight[0].value.fill_(1.0)
        layer.parametrizations.weight[0].gate.zero_()
    model(input_ids=tokens())
    one, again = layer.weight, layer.weight
    assert torch.equal(one, again)
    model(input_ids=tokens())
    assert not torch.equal(one, layer.weight)


def test_an_evaluation_of_the_search_sees_values_that_were_changed_by_data(tmp_path):
    """Averaged weights are put into a model so, and PyTorch counts no change of the version then."""
    model = trained_a_little(add_adapters(tiny_model(), CONFIG))
    values = [p for name, p in model.named_parameters() if name.endswith(".value")]
    before = logits(model)
    for parameter in values:
        parameter.data.mul_(3)
    changed = logits(model)
    assert not torch.equal(changed, before)
    for parameter in values:
        parameter.data = parameter.data / 3
    save_adapter(model, tmp_path)
    torch.testing.assert_close(logits(load_adapter(tiny_model(), tmp_path)), before)
    torch.testing.assert_close(logits(model), before)


@pytest.mark.parametrize("training, expected", [(False, 1), (True, 0)])
def test_a_loop_in_evaluation_mode_that_trains_no_difference_gets_a_note(tmp_path, capsys, training, expected):
    model = add_adapters(tiny_model(), CONFIG).train(training)
    save_adapter(model, tmp_path)  # an untrained one gets none
    optimizer = torch.optim.AdamW(optimizer_groups(model))
    model(input_ids=tokens(), labels=torch.tensor([0, 1])).loss.backward()
    optimizer.step()
    assert capsys.readouterr().err == ""
    save_adapter(model, tmp_path)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == expected and all("call model.train() before training" in line for line in lines)
