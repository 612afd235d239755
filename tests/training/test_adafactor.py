"""Our Adafactor computes what Transformers' does for vectors, where neither factorises the second moments."""

import copy
from functools import partial

import pytest
import torch
from helpers import argv, refused, spoil_step
from transformers.optimization import Adafactor

from run_glue_tensorized import main
from tensorized_adapters.training import settings
from tensorized_adapters.training.adafactor import UnfactoredAdafactor

SHAPES = ((4, 8, 4), (16,), (6, 5), (2,))
RATES = (3e-2, 1e-2)


def groups_of(parameters, weight_decay):
    halves = parameters[:2], parameters[2:]
    return [{"params": half, "lr": lr, "weight_decay": weight_decay} for half, lr in zip(halves, RATES)]


def gradients():
    """Gradients that grow, so that updates are clipped, some that are zero at first, and one that is missing."""
    generator = torch.Generator().manual_seed(1)
    for step in range(12):
        of_step = [torch.randn(shape, generator=generator) * 3.0**step / 100 for shape in SHAPES]
        if step < 3:
            of_step[0] = torch.zeros(SHAPES[0])
        of_step[3] = None if step == 5 else of_step[3]
        yield of_step


def test_it_is_the_adafactor_of_transformers_for_vectors():
    for weight_decay in (0.0, 0.1):
        start = [torch.randn(shape, generator=torch.Generator().manual_seed(2)) for shape in SHAPES]
        ours = [torch.nn.Parameter(values.clone()) for values in start]
        theirs = [torch.nn.Parameter(values.flatten().clone()) for values in start]
        optimizer = UnfactoredAdafactor(groups_of(ours, weight_decay))
        options = dict(scale_parameter=False, relative_step=False)
        oracle = Adafactor(groups_of(theirs, weight_decay), lr=1.0, **options)
        for step, of_step in enumerate(gradients()):
            for one, other, gradient in zip(ours, theirs, of_step):
                one.grad = gradient
                other.grad = None if gradient is None else gradient.flatten()
            if step == 5:  # a parameter without a gradient stays, and for Transformers no step has passed for it
                assert optimizer.step() is None
                oracle.step()
                oracle.state[theirs[3]]["step"] += 1
                continue
            before = [values.detach().clone() for values in ours]
            optimizer.step()
            oracle.step()
            for one, other, old, lr in zip(ours, theirs, before, (RATES[0], RATES[0], RATES[1], RATES[1])):
                torch.testing.assert_close(one.flatten(), other, rtol=1e-5, atol=1e-6)
                moved = (one - old * (1 - lr * weight_decay)).square().mean().sqrt()
                assert moved <= lr * 1.001


def test_it_goes_on_from_its_state_and_takes_a_closure():
    parameters = [torch.nn.Parameter(torch.ones(shape)) for shape in SHAPES]
    optimizer = UnfactoredAdafactor(groups_of(parameters, 0.0))
    copies, resumed = None, None
    for step, of_step in enumerate(gradients()):
        if step == 6:
            copies = [torch.nn.Parameter(values.detach().clone()) for values in parameters]
            resumed = UnfactoredAdafactor(groups_of(copies, 0.0))
            resumed.load_state_dict(copy.deepcopy(optimizer.state_dict()))
        for optimizing, trained in ((optimizer, parameters), (resumed, copies)):
            if optimizing is not None:
                for parameter, gradient in zip(trained, of_step):
                    parameter.grad = gradient
                assert optimizing.step(lambda: 0.5) == 0.5
    assert all(torch.equal(one, other) for one, other in zip(parameters, copies))


@pytest.mark.parametrize(
    "method, moments", [("dense", {"exp_avg_sq"}), ("full", {"exp_avg_sq_row", "exp_avg_sq_col"})]
)
def test_second_moments_are_factorised_where_the_backbone_is_trained(flags, method, moments):
    changes = dict.fromkeys(("adapter_projection_type", "tensorized_layer_rank", "adapter_size")) | {"method": method}
    assert main(argv(flags, optim="adafactor", num_train_epochs=1, **changes)) == 0
    (checkpoint,) = flags["output_dir"].glob("checkpoint-*")
    states = torch.load(checkpoint / "optimizer.pt", weights_only=False)["state"].values()
    of_matrices = [state for state in states if not (method == "full" and "exp_avg_sq" in state)]
    assert of_matrices and all(moments <= state.keys() for state in of_matrices)


def test_a_checkpoint_of_the_factorised_adafactor_is_one_line(flags, capsys, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(settings, "UnfactoredAdafactor", partial(Adafactor, scale_parameter=False, relative_step=False))
        spoil_step(patch, 9, lambda output: 1 / 0)
        assert main(argv(flags, optim="adafactor")) == 1  # after its first checkpoint
    capsys.readouterr()
    assert main(argv(flags, optim="adafactor")) == 1
    assert "optimizer.pt is of another Adafactor; start anew with" in capsys.readouterr().err


def test_flags_of_adam_are_refused_beside_it(flags, capsys):
    error = refused(capsys, argv(flags, optim="adafactor", adam_beta2=0.99))
    assert "--adam_beta2 has no effect with --optim adafactor" in error
