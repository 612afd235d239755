"""Every method by its name."""

from ..config import METHODS, AdapterConfig
from .base import Method
from .bottleneck import Compacter, Dense
from .diff_pruning import DiffPruning
from .full import BitFit, Full, Head, LayerNorm
from .peft import IA3, LoRA
from .peft_types import Peft
from .tensorized import Tensorized

REGISTRY: dict[str, type[Method]] = {
    method.name: method
    for method in (Tensorized, Dense, Compacter, BitFit, LayerNorm, Head, LoRA, IA3, Peft, DiffPruning, Full)
}
assert set(REGISTRY) == set(METHODS), "method_table.TABLE and the registry name different methods"


def method_of(config: AdapterConfig) -> Method:
    """Return the method that ``config`` describes."""
    return REGISTRY[config.method](config)
