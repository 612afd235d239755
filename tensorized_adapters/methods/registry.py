"""Every method by its name."""

from ..config import METHODS, AdapterConfig
from .base import Method
from .diff_pruning import DiffPruning
from .in_place import BitFit, Full, Head, LayerNorm
from .lora_ia3 import IA3, LoRA
from .peft import Peft
from .residual import Compacter, Dense
from .tensorized import Tensorized

REGISTRY: dict[str, type[Method]] = {
    method.name: method
    for method in (Tensorized, Dense, Compacter, BitFit, LayerNorm, Head, LoRA, IA3, Peft, DiffPruning, Full)
}
assert set(REGISTRY) == set(METHODS), "method_table.TABLE and the registry name different methods"


def method_of(config: AdapterConfig) -> Method:
    """Return the method that ``config`` describes."""
    return REGISTRY[config.method](config)
