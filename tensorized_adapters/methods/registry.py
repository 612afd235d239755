"""Every method by its name."""

from ..config import AdapterConfig
from ..defaults import METHODS
from .base import Method
from .bitfit import BitFit
from .compacter import Compacter
from .dense import Dense
from .diff_pruning import DiffPruning
from .full import Full
from .head import Head
from .ia3 import IA3
from .layer_norm import LayerNorm
from .lora import LoRA
from .tensorized import Tensorized

REGISTRY: dict[str, type[Method]] = {
    method.name: method
    for method in (Tensorized, Dense, Compacter, BitFit, LayerNorm, Head, LoRA, IA3, DiffPruning, Full)
}
assert set(REGISTRY) == set(METHODS), "defaults.TABLE and the registry name other methods"


def method_of(config: AdapterConfig) -> Method:
    """The method that ``config`` describes."""
    return REGISTRY[config.method](config)
