"""Implements Adafactor for small parameters: each step is a few operations on the lists of all tensors."""

from collections.abc import Callable
from typing import Optional

import torch

_DECAY = -0.8  # the second moment's decay at step t is 1 - t ** _DECAY
_EPSILON = 1e-30  # a gradient of zero gives an update of zero


class UnfactoredAdafactor(torch.optim.Optimizer):
    """Computes Adafactor (Shazeer and Stern, 2018) with given rates, no momentum and unfactored second moments.

    At step t, with gradient G: V = d V + (1 - d) G^2 with d = 1 - t^-0.8 (section 7.2), U = G / sqrt(V),
    and the parameter moves by -rate U / max(1, RMS(U)) (section 6). So the root mean square of a step is never above
    the rate, also when gradients grow faster than V remembers. Transformers' Adafactor computes the same for vectors.
    For matrices it approximates V by row and column means, which saves memory that adapters do not need, and it goes
    through the parameters one by one.

    Args:
        params: parameters or groups of them, in float32 or bfloat16. A group's ``weight_decay`` w moves a parameter P
            by -rate x w x P.
        lr: the rate of groups that have none.
    """

    def __init__(self, params, lr: float = 1e-3, weight_decay: float = 0.0):
        super().__init__(params, {"lr": lr, "weight_decay": weight_decay, "step": 0})

    @torch.no_grad()
    def step(self, closure: Optional[Callable[[], float]] = None) -> Optional[float]:
        """Move all parameters that have a gradient. ``closure`` computes the loss anew, which is returned."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            group["step"] += 1
            if parameters := [parameter for parameter in group["params"] if parameter.grad is not None]:
                self._move(parameters, group)
        return loss

    def _move(self, parameters: list[torch.Tensor], group: dict) -> None:
        gradients = [parameter.grad for parameter in parameters]
        for parameter in parameters:
            if not self.state[parameter]:
                self.state[parameter]["exp_avg_sq"] = torch.zeros_like(parameter)
        moments = [self.state[parameter]["exp_avg_sq"] for parameter in parameters]
        decay, rate = 1 - group["step"] ** _DECAY, group["lr"]
        torch._foreach_mul_(moments, decay)
        torch._foreach_addcmul_(moments, gradients, gradients, 1 - decay)
        updates = torch._foreach_add(moments, _EPSILON)
        torch._foreach_rsqrt_(updates)
        torch._foreach_mul_(updates, gradients)
        sizes = torch._foreach_norm(updates)
        torch._foreach_div_(sizes, [update.numel() ** 0.5 for update in updates])  # root mean squares
        torch._foreach_clamp_min_(sizes, 1.0)
        torch._foreach_div_(updates, sizes)
        if group["weight_decay"]:
            torch._foreach_mul_(parameters, 1 - rate * group["weight_decay"])
        torch._foreach_add_(parameters, updates, alpha=-rate)
