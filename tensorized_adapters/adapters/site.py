"""What stands in the place of a backbone's dropout: that dropout, and then an adapter."""

from collections import OrderedDict

from torch import Tensor, nn

from .base import Adapter
from .dropout import dropout
from .tensorized import BottleneckAdapter


class AdapterSite(nn.Sequential):
    """h -> adapter(dropout(h))."""

    def __init__(self, module: nn.Module, adapter: Adapter):
        super().__init__(OrderedDict(dropout=module, adapter=adapter))

    def forward(self, hidden: Tensor) -> Tensor:
        """hidden: (..., hidden_size); returns the same shape."""
        if type(self.dropout) is not nn.Dropout:
            return super().forward(hidden)
        p = self.dropout.p if self.dropout.training else 0.0
        if isinstance(self.adapter, BottleneckAdapter):
            return self.adapter(hidden, p)
        return self.adapter(dropout(hidden, p) if p else hidden)
