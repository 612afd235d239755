"""run_glue_tensorized.py with an idea that the program does not have: python results/try_idea.py IDEA FLAGS...

``gelu``, ``tanh``, ``linear``: bottleneck adapters with this function, or none, instead of relu. ``centred``: the mean
of relu(h D) over all tokens of the batch is subtracted, so that the update has no part common to all tokens.
``clipped``, ``clipped_half``, ``clipped_.2``, ``clipped_.1``: the update of each token is at most as long as its input
or that part of it, so that no update can drown the layer's own output, as it does in a collapse. ``orthogonal``: every
factor that does not start at zero has orthogonal columns or rows of one norm (CaRA, AdaLoRA). ``frozen_middle``: only
the first and the last factor of each weight are trained, as in TRAC (ICLR 2026), which also shares the last one
between layers. ``head_dropout``: the head keeps its dropout in a model whose configuration has none.

Four optimizers show which part of Adafactor prevents collapses: ``unclipped`` is Adafactor whose updates are not
clipped. ``stable_adamw`` is AdamW with Adafactor's clipping (Wortsman et al., 2023), ``stable_without_momentum`` is
StableAdamW with a first beta of 0, and ``stable_short_memory`` is StableAdamW with Adafactor's growing memory instead
of a second beta of 0.999.

The records are evidence for docs/experiments.md. Those of the idea ``amsgrad`` were trained before the program had
``--optim_args amsgrad=True``, with the optimizer that is not fused. The saved adapters are not for use: they load as
ordinary ones, and the counts of their parameters include the frozen factors.
"""

import json
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Optional
from unittest import mock

import torch
from torch import Tensor

import run_glue_tensorized
from tensorized_adapters.adapters import tensorized
from tensorized_adapters.runs.folder import RECORD_FILE
from tensorized_adapters.runtime.files import write_atomically
from tensorized_adapters.tensors.factorized_weight import FactorizedWeight, project
from tensorized_adapters.tensors.initialization import calibrated_start_
from tensorized_adapters.training import dropout, settings
from tensorized_adapters.training.dropout import use_cheap_dropout

# What an idea replaces: a module and a name in it.
_BOTTLENECK, _START = (tensorized, "bottleneck"), (tensorized, "calibrated_start_")
_OPTIMIZER = (settings, "UnfactoredAdafactor")


def gelu_bottleneck(hidden: Tensor, down: tuple[Tensor, ...], up: tuple[Tensor, ...]) -> Tensor:
    """Return h + gelu(h D) U for hidden (..., hidden_size)."""
    return tensorized.add_projection(hidden, torch.nn.functional.gelu(project(hidden, down)), up)


def linear_bottleneck(hidden: Tensor, down: tuple[Tensor, ...], up: tuple[Tensor, ...]) -> Tensor:
    """Return h + h D U for hidden (..., hidden_size)."""
    return tensorized.add_projection(hidden, project(hidden, down), up)


def tanh_bottleneck(hidden: Tensor, down: tuple[Tensor, ...], up: tuple[Tensor, ...]) -> Tensor:
    """Return h + tanh(h D) U for hidden (..., hidden_size)."""
    return tensorized.add_projection(hidden, torch.tanh(project(hidden, down)), up)


def centred_bottleneck(hidden: Tensor, down: tuple[Tensor, ...], up: tuple[Tensor, ...]) -> Tensor:
    """Return h + (r - mean(r)) U, r = relu(h D), with the mean over all tokens of the batch."""
    features = torch.relu(project(hidden, down))
    return tensorized.add_projection(hidden, features - features.mean((0, 1), keepdim=True), up)


def clipped_to(ratio: float) -> Callable[..., Tensor]:
    """Return a bottleneck h + u, u = relu(h D) U, in which u is shortened to at most ``ratio`` times the norm of h."""

    def clipped_bottleneck(hidden: Tensor, down: tuple[Tensor, ...], up: tuple[Tensor, ...]) -> Tensor:
        update = project(torch.relu(project(hidden, down)), up)
        longest = ratio * hidden.norm(dim=-1, keepdim=True)
        return hidden + update * (longest / update.norm(dim=-1, keepdim=True).clamp_min(1e-6)).clamp_max(1)

    return clipped_bottleneck


@torch.no_grad()
def orthogonal_start_(weight: FactorizedWeight, std: float, last_factor: float = 1.0) -> None:
    """Start as usual, then make the columns (or rows, if they are fewer) of each factor orthogonal, with its norm."""
    calibrated_start_(weight, std, last_factor)
    for factor in weight.parameters():
        if factor.dim() > 1 and factor.any():
            by_mode = factor.movedim(1, 0) if factor.dim() == 3 else factor  # a core is (bond, mode, bond)
            matrix = torch.nn.init.orthogonal_(torch.empty(by_mode.shape))  # later dimensions count as columns
            by_mode.copy_(matrix * (by_mode.norm() / matrix.norm()))


def start_with_frozen_middle_(weight: FactorizedWeight, std: float, last_factor: float = 1.0) -> None:
    """Start as usual, and set the gradients of all factors but the first and the last to zero."""
    calibrated_start_(weight, std, last_factor)
    for factor in list(weight.parameters())[1:-1]:
        factor.register_hook(torch.zeros_like)


def head_dropout(model: torch.nn.Module) -> None:
    """Draw dropout as usual, and with a probability of 0.1 in the head of a model whose configuration has none."""
    for name, module in model.named_modules():
        if isinstance(module, torch.nn.Dropout) and not name.startswith(f"{model.base_model_prefix}."):
            module.p = 0.1
    use_cheap_dropout(model)


class StableAdamW(torch.optim.Optimizer):
    """Adam with debiased averages, whose steps are clipped as Adafactor's are.

    ``beta`` is of the first moment, ``memory`` of the second one; None is Adafactor's 1 - t^-0.8.
    """

    def __init__(self, params, beta: float = 0.9, memory: Optional[float] = 0.999, clipped: bool = True):
        super().__init__(params, {"lr": 0.0, "step": 0})
        self.beta, self.memory, self.clipped = beta, memory, clipped

    @torch.no_grad()
    def step(self, closure=None) -> None:
        for group in self.param_groups:
            group["step"] += 1
            kept = [_debiased(beta, group["step"]) for beta in (self.beta, self.memory)]
            for parameter in group["params"]:
                state = self.state[parameter]
                if not state:
                    state |= {"first": torch.zeros_like(parameter), "second": torch.zeros_like(parameter)}
                state["first"].lerp_(parameter.grad, 1 - kept[0])
                state["second"].lerp_(parameter.grad**2, 1 - kept[1])
                root = state["second"].sqrt() + 1e-12
                size = (parameter.grad / root).square().mean().sqrt().clamp_min(1) if self.clipped else 1
                parameter.sub_(state["first"] / root * (group["lr"] / size))


def _debiased(beta: Optional[float], step: int) -> float:
    """Return the decay of a moving average at a step (from 1), with Adam's bias correction; Adafactor's for None."""
    return 1 - step**-0.8 if beta is None else beta * (1 - beta ** (step - 1)) / (1 - beta**step)


IDEAS = {
    "unclipped": (_OPTIMIZER, partial(StableAdamW, beta=0.0, memory=None, clipped=False)),
    "stable_adamw": (_OPTIMIZER, StableAdamW),
    "stable_without_momentum": (_OPTIMIZER, partial(StableAdamW, beta=0.0)),
    "stable_short_memory": (_OPTIMIZER, partial(StableAdamW, memory=None)),
    "gelu": (_BOTTLENECK, gelu_bottleneck),
    "linear": (_BOTTLENECK, linear_bottleneck),
    "tanh": (_BOTTLENECK, tanh_bottleneck),
    "centred": (_BOTTLENECK, centred_bottleneck),
    "clipped": (_BOTTLENECK, clipped_to(1.0)),
    "clipped_half": (_BOTTLENECK, clipped_to(0.5)),
    "clipped_.2": (_BOTTLENECK, clipped_to(0.2)),
    "clipped_.1": (_BOTTLENECK, clipped_to(0.1)),
    "head_dropout": ((dropout, "use_cheap_dropout"), head_dropout),
    "orthogonal": (_START, orthogonal_start_),
    "frozen_middle": (_START, start_with_frozen_middle_),
}


def main(idea: str, flags: list[str]) -> int:
    """Run the job with an idea, and name it in the record, so that a report has a row of its own for it."""
    replaced, replacement = IDEAS[idea]
    if replaced == _OPTIMIZER:
        flags = [*flags, "--optim", "adafactor"]
    with mock.patch.object(*replaced, replacement):
        code = run_glue_tensorized.main(flags)
    record = Path(flags[flags.index("--output_dir") + 1]) / RECORD_FILE
    if not code:
        content = json.loads(record.read_bytes())
        content["arguments"]["idea"] = idea
        write_atomically(record, json.dumps(content).encode())
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
