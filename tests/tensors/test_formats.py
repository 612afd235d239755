"""Each format against tensorly, against a dense layer, and against the published arithmetic."""

import math

import pytest
import tensorly
import torch
from helpers import reconstruction

from tensorized_adapters import UsageError
from tensorized_adapters.tensors.formats import FORMATS, new_weight
from tensorized_adapters.tensors.shapes import balanced_split, check_rank, max_rank, weight_shapes

PAPER_FORMATS = ("cp", "tucker", "tt", "tr")


def random_weight(kind, shape, cut, rank):
    weight = new_weight(kind, shape, cut, rank).double()
    torch.manual_seed(rank)
    for parameter in weight.parameters():
        torch.nn.init.normal_(parameter)
    return weight


def all_weights(hidden=48, bottleneck=10):
    for kind in FORMATS:
        for size in (bottleneck, None):
            for shape, cut in weight_shapes(kind, hidden, size):
                for rank in (1, 2, 5):
                    yield pytest.param(kind, shape, cut, rank, id=f"{kind}-{'x'.join(map(str, shape))}-{rank}")


@pytest.mark.parametrize("kind, shape, cut, rank", all_weights())
def test_thin_pair_is_the_tensorly_reconstruction_at_every_cut(kind, shape, cut, rank):
    weight = random_weight(kind, shape, cut, rank)
    tensor = reconstruction(kind, weight)
    for position in range(1, len(shape)):
        a, b = weight.thin_pair(cut=position)
        assert torch.allclose(a @ b, tensor.reshape(math.prod(shape[:position]), -1), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("kind, shape, cut, rank", all_weights())
def test_outputs_and_gradients_are_a_dense_layers(kind, shape, cut, rank):
    weight = random_weight(kind, shape, cut, rank)
    x = torch.randn(3, 4, weight.in_features, dtype=torch.float64, requires_grad=True)
    out = weight.project(x)
    upstream = torch.randn_like(out)
    ours = torch.autograd.grad(out, [x, *weight.parameters()], upstream)

    dense = reconstruction(kind, weight)
    expected = x @ dense
    theirs = torch.autograd.grad(expected, [x, *weight.parameters()], upstream)
    assert torch.allclose(out, expected, rtol=1e-10, atol=1e-10)
    for one, other in zip(ours, theirs):
        assert torch.allclose(one, other, rtol=1e-10, atol=1e-9)


def test_both_sides_of_the_crossover_are_taken_by_the_tensor_ring():
    """From rank 8 on, k (in + out) of a ring exceeds in * out at 768 x 64 and the matrix is formed once."""
    from tensorized_adapters.tensors.formats import pair_is_cheaper

    shape, cut = weight_shapes("tr", 768, 64)[0]
    assert pair_is_cheaper(*random_weight("tr", shape, cut, 7).thin_pair())
    assert not pair_is_cheaper(*random_weight("tr", shape, cut, 8).thin_pair())
    for rank in (7, 8):
        weight = random_weight("tr", shape, cut, rank)
        x = torch.randn(2, 768, dtype=torch.float64)
        assert torch.allclose(weight.project(x), x @ reconstruction("tr", weight), rtol=1e-10)


@pytest.mark.parametrize("kind, shape, cut, rank", all_weights())
def test_closed_form_counts_what_is_built(kind, shape, cut, rank):
    weight = new_weight(kind, shape, cut, rank)
    assert FORMATS[kind].parameter_count(shape, rank) == sum(p.numel() for p in weight.parameters())


@pytest.mark.parametrize(
    "size, split", [(768, (24, 32)), (384, (16, 24)), (1024, (32, 32)), (128, (8, 16)), (312, (13, 24))]
)
def test_balanced_split(size, split):
    assert balanced_split(size) == split


@pytest.mark.parametrize("size", [37, 254, 1018])
def test_a_size_without_a_useful_split_is_refused_but_for_matrix(size):
    with pytest.raises(UsageError, match=f"hidden size {size}"):
        check_rank("cp", 2, size, 64)
    check_rank("matrix", 2, size, 64)


@pytest.mark.parametrize(
    "kind, bottleneck, largest",
    [("tucker", 64, 24), ("tt", 64, 24), ("tr", 64, 20), ("cp", 64, 406), ("matrix", 64, 59), ("tucker", 16, 16)]
    + [("tucker", None, 24), ("tt", None, 24), ("tr", None, 72), ("cp", None, 5219), ("matrix", None, 384)],
)
def test_the_largest_usable_rank_is_named(kind, bottleneck, largest):
    check_rank(kind, largest, 768, bottleneck)
    with pytest.raises(UsageError, match=f"--tensorized_layer_rank {largest + 1} .* the largest is {largest}$"):
        check_rank(kind, largest + 1, 768, bottleneck)


@pytest.mark.parametrize("kind", FORMATS)
def test_the_largest_rank_stores_no_more_than_the_matrix(kind):
    for shape, cut in weight_shapes(kind, 768, 64):
        assert FORMATS[kind].parameter_count(shape, max_rank(kind, shape, cut)) <= 768 * 64


def test_importing_leaves_tensorlys_backend_alone():
    assert tensorly.get_backend() == "numpy"
