"""What the methods share that come from the peft library: insertion, peft's names, and folders that peft reads."""

import re
from typing import Any

from transformers import PreTrainedModel

from ..architectures import base_prefix
from ..errors import UsageError, need
from .base import Method

_PREFIX = "base_model.model."
ADAPTER = "default"  # peft's name for an only adapter; its files leave it out


class ThroughPeft(Method):
    """A method whose modules are peft's; a saved adapter is also one for ``PeftModel.from_pretrained``."""

    def targets(self, model: PreTrainedModel) -> list[str]:
        """Names of the linear layers that peft wraps; raises UsageError if there are none."""
        raise NotImplementedError

    def config_of_peft(self, model: PreTrainedModel, targets: list[str]) -> Any:
        """peft's own configuration of the method. peft is imported here alone: it takes a second."""
        raise NotImplementedError

    def insert(self, model: PreTrainedModel, head: set[str]) -> None:
        """Let peft wrap the layers. One whose weight is ``head``, for it was newly initialised, is trained whole."""
        need("peft", "lora", f"--method {self.name}")
        from peft import inject_adapter_in_model

        targets = [layer for layer in self.targets(model) if f"{layer}.weight" not in head]
        if not targets:
            raise UsageError(
                f"--method {self.name}: each of its layers is newly initialised and so trained whole; name others"
            )
        inject_adapter_in_model(self.config_of_peft(model, targets), model)

    def remove(self, model: PreTrainedModel) -> None:
        for name, module in self._wrapped(model):
            model.set_submodule(name, module.base_layer)
        del model.peft_config

    def switch(self, model: PreTrainedModel, on: bool) -> None:
        for _, module in self._wrapped(model):
            module._disable_adapters = not on  # enable_adapters(on) would also set requires_grad

    def file_name(self, name: str) -> str:
        return _PREFIX + name.replace(f".{ADAPTER}", "")

    def name_of_file(self, name: str) -> str:
        return re.sub(r"\.(lora_[AB]|ia3_l)(?=\.|$)", rf".\1.{ADAPTER}", name.removeprefix(_PREFIX))

    def peft_config(self, model: PreTrainedModel, head: set[str]) -> dict[str, Any]:
        prefix = base_prefix(model)
        modules = {name.rpartition(".")[0] for name in head}
        saved = {name if name.startswith(prefix) else name.split(".")[0] for name in modules}
        values = model.peft_config[ADAPTER].to_dict() | {"modules_to_save": saved, "inference_mode": True}
        return {key: sorted(value) if isinstance(value, set) else value for key, value in values.items()}

    @staticmethod
    def _wrapped(model: PreTrainedModel) -> list[tuple[str, Any]]:
        from peft.tuners.tuners_utils import BaseTunerLayer

        return [(name, module) for name, module in model.named_modules() if isinstance(module, BaseTunerLayer)]
