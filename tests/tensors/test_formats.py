"""Each format against tensorly, against a dense layer, and against the published arithmetic."""

import functools
import math

import pytest
import torch
from helpers import matricizations, reconstruction

from tensorized_adapters import UsageError
from tensorized_adapters.tensors.factorized_weight import pair_is_cheaper, project
from tensorized_adapters.tensors.formats import FORMATS, new_weight
from tensorized_adapters.tensors.ranks import check_rank, largest_rank
from tensorized_adapters.tensors.shapes import balanced_split
from tensorized_adapters.tensors.sites import SiteWeight

PAPER_FORMATS = ("cp", "tucker", "tt", "tr")


def random_weight(kind, view, rank):
    weight = new_weight(kind, view, rank).double()
    torch.manual_seed(rank)
    for parameter in weight.parameters():
        torch.nn.init.normal_(parameter)
    weight.gain = 0.7
    return weight


def all_weights(hidden=48, bottleneck=10):
    for kind in FORMATS:
        for interleaved in (False, True)[: 1 if kind == "matrix" else 2]:
            for size in (bottleneck, None):
                for view in matricizations(kind, hidden, size, interleaved):
                    for rank in (1, 2, 5):
                        name = f"{kind}-{'x'.join(map(str, view.shape))}-{rank}"
                        yield pytest.param(kind, view, rank, id=name)


@pytest.mark.parametrize("kind, view, rank", all_weights())
def test_the_low_rank_pair_is_the_tensorly_reconstruction_at_every_cut(kind, view, rank):
    weight = random_weight(kind, view, rank)
    tensor, shape = weight.to_tensor(), view.shape
    for position in range(1, len(shape)):
        a, b = weight.low_rank_pair(list(weight.parameters()), position)
        expected = tensor.reshape(math.prod(shape[:position]), -1)
        assert torch.allclose(weight.gain * a @ b, expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("interleaved", [False, True])
@pytest.mark.parametrize("bottleneck", [12, None])
@pytest.mark.parametrize("rank", [1, 3, 5])
def test_a_sites_matrix_is_its_slice_of_the_tensor_for_all(kind, interleaved, bottleneck, rank):
    """tensorly assembles the tensor. Sites are compared alone and stacked, with the gradients of a dense tensor."""
    if kind == "matrix" and interleaved:
        return
    sites = 4
    for view in matricizations(kind, 48, bottleneck, interleaved, sites):
        joint = random_weight(kind, view, rank)
        tensor = joint.to_tensor().movedim(view.cut, 0)
        expected = torch.stack([view.matrix_of(tensor[site]) for site in range(sites)])
        weights = [SiteWeight(joint, site) for site in range(sites)]
        singly = torch.stack([weight.matrix() for weight in weights])
        parts = [torch.stack(part) for part in zip(*(weight.parts() for weight in weights))]
        stacked = functools.reduce(torch.matmul, joint.matrices(parts))
        upstream = torch.randn_like(expected)
        theirs = torch.autograd.grad(expected, list(joint.parameters()), upstream)
        for ours in (singly, stacked):
            assert torch.allclose(ours, expected, rtol=1e-10, atol=1e-10)
            for one, other in zip(torch.autograd.grad(ours, list(joint.parameters()), upstream), theirs):
                assert torch.allclose(one, other, rtol=1e-9, atol=1e-9)
        assert FORMATS[kind].parameter_count(view.shape, rank) == sum(p.numel() for p in joint.parameters())


@pytest.mark.parametrize("kind", ["cp", "tt"])
@pytest.mark.parametrize("bottleneck", [12, None])
def test_an_interleaved_tensor_is_a_sum_of_kronecker_products(kind, bottleneck):
    """Its matrix rank is full at rank 1."""
    for view in matricizations(kind, 48, bottleneck, interleaved=True):
        weight = random_weight(kind, view, 2)
        parts = list(weight.parameters())
        scales = parts.pop(0) if kind == "cp" else torch.ones(2)
        left, right = (p.squeeze(0).squeeze(-1) if kind == "tt" else p for p in parts)
        right = right.mT if kind == "tt" else right
        blocks = [
            torch.kron(*(p[:, r].reshape(i, o) for p, i, o in zip((left, right), view.inputs, view.outputs)))
            for r in range(2)
        ]
        expected = weight.gain * sum(scale * block for scale, block in zip(scales, blocks))
        assert torch.allclose(weight.matrix(), expected, rtol=1e-10, atol=1e-12)
        full = min(view.in_features, view.out_features)
        assert torch.linalg.matrix_rank(random_weight(kind, view, 1).matrix()) == full


@pytest.mark.parametrize("kind, view, rank", all_weights())
def test_outputs_and_gradients_are_a_dense_layers(kind, view, rank):
    weight = random_weight(kind, view, rank)
    x = torch.randn(3, 4, view.in_features, dtype=torch.float64, requires_grad=True)
    out = project(x, weight.matrices())
    upstream = torch.randn_like(out)
    ours = torch.autograd.grad(out, [x, *weight.parameters()], upstream)

    dense = reconstruction(weight)
    expected = x @ dense
    theirs = torch.autograd.grad(expected, [x, *weight.parameters()], upstream)
    assert torch.allclose(out, expected, rtol=1e-10, atol=1e-10)
    for one, other in zip(ours, theirs):
        assert torch.allclose(one, other, rtol=1e-10, atol=1e-9)


def test_both_sides_of_the_crossover_are_taken_by_the_tensor_ring():
    """From rank 8 on, k (in + out) of a ring exceeds in * out at 768 x 64 and the matrix is formed once."""
    view = matricizations("tr", 768, 64)[0]
    assert len(random_weight("tr", view, 7).matrices()) == 2
    assert len(random_weight("tr", view, 8).matrices()) == 1
    for rank in (7, 8):
        weight = random_weight("tr", view, rank)
        assert pair_is_cheaper(*weight.low_rank_pair(list(weight.parameters()), view.cut)) == (rank == 7)
        x = torch.randn(2, 768, dtype=torch.float64)
        assert torch.allclose(project(x, weight.matrices()), x @ reconstruction(weight), rtol=1e-10)


@pytest.mark.parametrize("kind, view, rank", all_weights())
def test_closed_form_counts_what_is_built(kind, view, rank):
    weight = new_weight(kind, view, rank)
    assert FORMATS[kind].parameter_count(view.shape, rank) == sum(p.numel() for p in weight.parameters())


@pytest.mark.parametrize(
    "size, split", [(768, (24, 32)), (384, (16, 24)), (1024, (32, 32)), (128, (8, 16)), (312, (13, 24))]
)
def test_balanced_split(size, split):
    assert balanced_split(size) == split


@pytest.mark.parametrize("size", [37, 254, 1018])
def test_a_size_without_a_useful_split_is_refused_but_for_matrix(size):
    with pytest.raises(UsageError, match=f"hidden size {size}"):
        check_rank("cp", 2, matricizations("cp", size, 64))
    check_rank("matrix", 2, matricizations("matrix", size, 64))


@pytest.mark.parametrize(
    "kind, bottleneck, largest",
    [("tucker", 64, 24), ("tt", 64, 24), ("tr", 64, 20), ("cp", 64, 406), ("matrix", 64, 59), ("tucker", 16, 16)]
    + [("tucker", None, 24), ("tt", None, 24), ("tr", None, 72), ("cp", None, 5219), ("matrix", None, 384)],
)
def test_the_largest_usable_rank_is_named(kind, bottleneck, largest):
    views = matricizations(kind, 768, bottleneck)
    check_rank(kind, largest, views)
    with pytest.raises(UsageError, match=f"--tensorized_layer_rank {largest + 1} .* the largest is {largest}$"):
        check_rank(kind, largest + 1, views)


@pytest.mark.parametrize("kind", FORMATS)
def test_the_largest_rank_stores_no_more_than_the_matrix(kind):
    for view in matricizations(kind, 768, 64):
        assert FORMATS[kind].parameter_count(view.shape, largest_rank(kind, [view])) <= 768 * 64
