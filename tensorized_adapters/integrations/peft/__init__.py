"""Tensorized adapters as a method of the peft library; importing this registers them there.

>>> from tensorized_adapters.integrations.peft import TensorizedAdapterConfig
>>> model = get_peft_model(model, TensorizedAdapterConfig(adapter_projection_type="cp", task_type="SEQ_CLS"))
>>> model.save_pretrained("adapter")
>>> model = PeftModel.from_pretrained(base, "adapter")

Known to work with peft 0.21. What peft lacks for a method that is not its own is a member of its enumeration of types,
for which ``register_peft_method`` asks; the tables that it fills are keyed by the type's name, ours too.
"""

from importlib.metadata import version

from ...errors import UsageError, need

need("peft", "lora", "tensorized_adapters.integrations.peft")

from peft import mapping
from peft.tuners.tuners_utils import BaseTuner

# By these a saved adapter is found again under any name; with a peft that does not call them it would be drawn anew.
_HOOKS = ("_remove_adapter_name_from_key", "_remap_adapter_state_dict_for_load")
if not all(hasattr(BaseTuner, hook) for hook in _HOOKS):
    raise UsageError(
        f"tensorized_adapters.integrations.peft does not work with peft {version('peft')}, which saves and loads "
        "adapters otherwise; it does with peft 0.21: pip install 'tensorized-adapters[lora]'"
    )

from .config import TensorizedAdapterConfig, TensorizedType
from .tuner import TensorizedModel

__all__ = ["TensorizedAdapterConfig", "TensorizedModel"]

mapping.PEFT_TYPE_TO_CONFIG_MAPPING[TensorizedType.TENSORIZED] = TensorizedAdapterConfig
mapping.PEFT_TYPE_TO_TUNER_MAPPING[TensorizedType.TENSORIZED] = TensorizedModel
mapping.PEFT_TYPE_TO_PREFIX_MAPPING[TensorizedType.TENSORIZED] = TensorizedModel.prefix
