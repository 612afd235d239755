"""One tensor for the weights of several sites, and each site's weight in it."""

from functools import reduce
from typing import Optional

import torch
from torch import Tensor, nn

from .factorized_weight import FactorizedWeight


class SiteWeight(nn.Module):
    """The matrix of one site: index ``site`` of the mode of sites in the tensor ``joint``, which all sites share."""

    def __init__(self, joint: FactorizedWeight, site: int):
        super().__init__()
        self.joint, self.site, self.view = joint, site, joint.view

    @property
    def gain(self) -> float:
        return self.joint.gain

    def parts(self) -> list[Tensor]:
        """Return the tensor's factors, with the mode of sites narrowed to this site. That mode stays, with size 1."""
        parts, factor = self.joint.parts(), self._site_factor
        parts[factor] = parts[factor].narrow(-2, self.site, 1)
        return parts

    def parts_of_all_sites(self) -> list[Tensor]:
        """Return :meth:`parts` of every site in a leading dimension, of size 1 for the factors that sites share."""
        parts, factor = [part.unsqueeze(0) for part in self.joint.parts()], self._site_factor
        parts[factor] = parts[factor].transpose(0, -2)
        return parts

    @property
    def _site_factor(self) -> int:
        """Return the index of the factor that has the mode of sites."""
        return len(self.joint.parts()) - len(self.view.shape) + self.view.cut

    def matrices(self, parts: Optional[list[Tensor]] = None) -> tuple[Tensor, ...]:
        """Return the matrices whose product is the weight, like :meth:`FactorizedWeight.matrices`."""
        return self.joint.matrices(self.parts() if parts is None else parts)

    def matrix(self) -> Tensor:
        """Return the assembled weight (in x out)."""
        return reduce(torch.matmul, self.matrices())
