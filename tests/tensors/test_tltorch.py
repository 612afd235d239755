"""Our formats in tensorly-torch: its indexing and decompositions, and its state after our import."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from exhaustive import exhaustive_but

from tensorized_adapters.tensors.formats import FORMATS, LowRankMatrix

# np.s_ writes indices as they are between brackets.
INDICES = [np.s_[1], np.s_[1:], np.s_[:, 2, :], np.s_[2:, :2, :, 0], np.s_[0, 2, 1, 3], np.s_[-1, :, :, ::2]]
INDICES += [np.s_[:, 1, 0], np.s_[0, 1], np.s_[:, 1, :, 2]]
SINGLE_MODES = [((3, 4, 5), index) for index in (np.s_[0, 1], np.s_[:, 2, 0], np.s_[0, :, 1])]
SINGLE_MODES += [((3, 4), index) for index in (np.s_[1], np.s_[:, 2])]
PAPER_FORMATS = [kind for kind in FORMATS if FORMATS[kind] is not LowRankMatrix]


def python(code):
    """What a fresh process prints."""
    return subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split()


def drawn(kind, shape=(4, 3, 2, 5), rank=3):
    torch.manual_seed(0)
    weight = FORMATS[kind].new(shape, FORMATS[kind].ranks(len(shape), rank)).double()
    for parameter in weight.parameters():
        torch.nn.init.normal_(parameter)
    weight.gain = 0.7
    return weight


@pytest.mark.parametrize("index", INDICES, ids=str)
@pytest.mark.parametrize("kind", PAPER_FORMATS)
def test_indices_pick_the_entries_of_the_tensor_with_the_gain(kind, index):
    weight = drawn(kind)
    part, expected = weight[index], weight.to_tensor()[index]
    assert tuple(part.shape) == tuple(expected.shape)
    torch.testing.assert_close(part if isinstance(part, torch.Tensor) else part.to_tensor(), expected)


@pytest.mark.parametrize("shape, index", SINGLE_MODES)
@pytest.mark.parametrize("kind", [kind for kind in PAPER_FORMATS if kind != "tucker"])  # tltorch's needs two modes
def test_one_mode_is_left(kind, shape, index):
    weight = drawn(kind, shape, 2)
    torch.testing.assert_close(weight[index].to_tensor(), weight.to_tensor()[index])


def test_a_ring_refuses_indices_that_are_none_of_its():
    with pytest.raises(IndexError, match="5 indices for a tensor of order 4"):
        drawn("tr")[0, 0, 0, 0, 0]
    with pytest.raises(ValueError, match="Ellipsis"):
        drawn("tr")[..., 0]


@pytest.mark.parametrize("kind, shape, rank", [(k, (4, 3, 5), 2) for k in PAPER_FORMATS] + [("matrix", (6, 5), 2)])
def test_a_weight_takes_a_tensor_over_with_its_gain(kind, shape, rank):
    tensor, weight = drawn(kind, shape, rank).to_tensor().detach(), drawn(kind, shape, rank)
    weight.gain = 2.5
    settings = {"n_iter_max": 1000} if kind in ("cp", "tr") else {}
    assert weight.init_from_tensor(tensor, **settings) is weight
    assert (weight.to_tensor() - tensor).norm() < (0.2 if kind in ("cp", "tr") else 1e-6) * tensor.norm()
    assert all(isinstance(p, torch.nn.Parameter) for p in weight.parameters())


def test_a_ring_is_made_of_a_tensor():
    tensor = drawn("tr", (4, 3, 5), 1).to_tensor().detach()
    ring = FORMATS["tr"].from_tensor(tensor, 2)
    assert ring.rank == (2, 2, 2) and (ring.to_tensor() - tensor).norm() < 0.05 * tensor.norm()


@pytest.mark.parametrize("tltorch_first", exhaustive_but([False], [False, True]))
def test_importing_us_changes_nothing_and_tltorch_works_afterwards(tltorch_first):
    code = "import sys, tensorly; before = set(sys.meta_path); import tensorized_adapters.tensors.formats as ours; "
    code += "print(tensorly.get_backend(), 'tltorch' in sys.modules); "
    use = "t = tltorch.FactorizedTensor.new((4, 3), rank=2, factorization='CP').normal_(); t[0].to_tensor(); "
    same = "print(tensorly.get_backend(), issubclass(ours.CP, tltorch.CPTensor), set(sys.meta_path) == before, "
    same += "tltorch.__spec__.origin is not None)"
    order = "import tltorch; " + code if tltorch_first else code + "import tltorch.utils, tltorch; "
    before = ["pytorch", "True"] if tltorch_first else ["numpy", "False"]
    assert python(order + use + same) == [*before, "pytorch", "True", "True", "True"]


def test_a_backend_that_was_chosen_stays():
    code = "import tltorch, tensorly; tensorly.set_backend('numpy'); import tensorized_adapters.tensors.formats; "
    assert python(code + "print(tensorly.get_backend())") == ["numpy"]
