"""Tensorized adapters as a method of the peft library; importing this registers them there.

>>> from tensorized_adapters.integrations.peft import TensorizedAdapterConfig
>>> model = get_peft_model(model, TensorizedAdapterConfig(adapter_projection_type="cp", task_type="SEQ_CLS"))
>>> model.save_pretrained("adapter")
>>> model = PeftModel.from_pretrained(base, "adapter")

Known to work with peft 0.21. ``register_peft_method`` wants a member of peft's enumeration of types, which a foreign
method cannot have. The tables that it fills are keyed by the type's name, so our own type works.
"""

from importlib.metadata import version

from ...errors import UsageError, need

need("peft", "lora", "tensorized_adapters.integrations.peft")

from peft import mapping
from peft.tuners.tuners_utils import BaseTuner

# peft calls these to find a saved adapter under any name. Otherwise its parameters would stay random.
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
