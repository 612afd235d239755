"""The settings of a tensorized adapter as one of peft's configurations."""

from dataclasses import dataclass, field, fields, make_dataclass
from enum import Enum
from typing import Any, Optional

from peft import PeftConfig

from ...config import METHOD_FIELDS, AdapterConfig
from ...errors import UsageError, quoted

_OWNED = [each for each in fields(AdapterConfig) if each.name in METHOD_FIELDS["tensorized"]]
_Settings = make_dataclass(
    "_Settings",
    [(each.name, each.type, field(default=each.default, metadata=each.metadata)) for each in _OWNED],
    bases=(PeftConfig,),
)


class TensorizedType(str, Enum):  # noqa: UP042
    """peft's name of the method. It equals the text in a saved folder, as members of peft's own enumeration do.

    It is no StrEnum, because peft reads the method's name from ``str(member)``, after the class's name and a dot.
    """

    TENSORIZED = "TENSORIZED"


@dataclass
class TensorizedAdapterConfig(_Settings):
    """The fields of tensorized adapters, with the names and defaults of :class:`AdapterConfig`, and peft's own.

    Sites follow from ``adapter_placement``, ``adapter_sites``, ``adapter_layers`` and ``lora_targets``, so that there
    are no ``target_modules`` to give. With ``train_layer_norm`` LayerNorms are among peft's ``modules_to_save``, with
    ``task_type="SEQ_CLS"`` the head is.

    Raises:
        UsageError: for a setting outside its range, and for ``target_modules``.
    """

    modules_to_save: Optional[list[str]] = field(
        default=None, metadata={"help": "Modules that are trained and saved completely, beside LayerNorms and head."}
    )
    target_modules: Optional[str] = field(default=None, metadata={"help": "Leave it out: the model has the sites."})

    def __post_init__(self) -> None:
        super().__post_init__()
        self.peft_type = TensorizedType.TENSORIZED
        if self.target_modules is not None:
            raise UsageError(
                f"target_modules={quoted(self.target_modules)}: sites follow from adapter_placement, adapter_sites, "
                "adapter_layers and lora_targets; leave it out"
            )
        self.adapter_projection_type = self.adapter.adapter_projection_type

    @property
    def adapter(self) -> AdapterConfig:
        """Return the same settings as an AdapterConfig; raise UsageError for settings that it refuses."""
        return AdapterConfig(method="tensorized", **{each.name: getattr(self, each.name) for each in _OWNED})

    def to_dict(self) -> dict[str, Any]:
        """Return the contents of ``adapter_config.json``, without the sites, which follow from the model."""
        values = super().to_dict()
        del values["target_modules"]
        return values
