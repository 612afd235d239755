"""LoRA and (IA)3 through the peft library."""

import math
import re
from collections.abc import Iterator
from typing import Any

from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from ..backbone.parts import architecture_of, base_prefix, linear_names, sizes_of, target_names
from ..errors import UsageError, need
from .base import Method

PREFIX = "base_model.model."

ADAPTER = "default"  # peft's default name of an adapter; its files leave it out


class ThroughPeft(Method):
    """A method whose modules are peft's; a saved adapter is also one for ``PeftModel.from_pretrained``."""

    def targets(self, model: PreTrainedModel) -> list[str]:
        """Return the names of the linear layers that peft wraps; raise UsageError if there are none."""
        raise NotImplementedError

    def settings_of_peft(self, model: PreTrainedModel, targets: list[str]) -> dict[str, Any]:
        """Return peft's settings of the method, beside the layers."""
        raise NotImplementedError

    def insert(self, model: PreTrainedModel, head: set[str]) -> dict[str, Tensor] | None:
        """Let peft wrap the layers. A layer that belongs to ``head``, because it was newly initialised, is trained in
        full."""
        need("peft", "lora", f"--method {self.name}")
        from peft import get_peft_config, inject_adapter_in_model  # not above: that takes a second
        from peft.tuners.tuners_utils import cast_adapter_dtype

        targets = [layer for layer in self.targets(model) if f"{layer}.weight" not in head]
        if not targets:
            raise UsageError(
                f"--method {self.name}: each of its layers is newly initialised and so trained in full; name others"
            )
        settings = {"peft_type": self.name.upper(), "task_type": "SEQ_CLS", "target_modules": sorted(targets)}
        settings["base_model_name_or_path"] = model.config._name_or_path
        inject_adapter_in_model(get_peft_config(settings | self.settings_of_peft(model, targets)), model)
        cast_adapter_dtype(model, ADAPTER)

    def remove(self, model: PreTrainedModel) -> None:
        for name, module in self._wrapped(model):
            model.set_submodule(name, module.base_layer)
        del model.peft_config

    def switch(self, model: PreTrainedModel, on: bool) -> None:
        for _, module in self._wrapped(model):
            module._disable_adapters = not on  # enable_adapters(on) would also set requires_grad

    def file_name(self, name: str) -> str:
        return PREFIX + name.replace(f".{ADAPTER}", "")

    def name_of_file(self, name: str) -> str:
        return re.sub(r"\.(lora_[AB]|ia3_l)(?=\.|$)", rf".\1.{ADAPTER}", name.removeprefix(PREFIX))

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


class LoRA(ThroughPeft):
    """W + (alpha / r) B A for some linear layers; peft's initialisation: A uniform (Kaiming), B zero."""

    name = "lora"
    decay_share = 1 / 2  # the update is a product of two matrices, A and B

    def check(self, model: PreTrainedModel) -> None:
        super().check(model)
        for name in self.targets(model):
            sizes = sizes_of(model.get_submodule(name))
            largest = math.prod(sizes) // sum(sizes)
            if self.config.lora_r > largest:
                raise UsageError(
                    f"--lora_r {self.config.lora_r} stores more than {name} itself; the largest is {largest}"
                )

    def targets(self, model: PreTrainedModel) -> list[str]:
        return target_names(model, self.config)

    def added_count(self, model: PreTrainedModel) -> int:
        return sum(self.config.lora_r * sum(sizes_of(model.get_submodule(name))) for name in self.targets(model))

    def settings_of_peft(self, model: PreTrainedModel, targets: list[str]) -> dict[str, Any]:
        return {
            "r": self.config.lora_r,
            "lora_alpha": self.config.lora_alpha,
            "lora_dropout": self.config.lora_dropout,
            "fan_in_fan_out": all(isinstance(model.get_submodule(name), Conv1D) for name in targets),
        }

    def deltas(self, model: PreTrainedModel) -> Iterator[tuple[nn.Linear, Tensor]]:
        for _, module in self._wrapped(model):
            yield module.base_layer, module.get_delta_weight(ADAPTER)


class IA3(ThroughPeft):
    """Vectors that rescale the keys, the values and the input of the feed-forward network's last layer."""

    name = "ia3"
    decay_share = 0.0  # the vectors start at 1, and decay towards 0 would switch the layers off

    def check(self, model: PreTrainedModel) -> None:
        super().check(model)
        architecture = architecture_of(model.config.model_type)
        if architecture.key in (architecture.query, architecture.value):
            raise UsageError(
                f"--method ia3 rescales keys and values, which a {model.config.model_type} model computes in one "
                "layer with others; choose another method"
            )

    def targets(self, model: PreTrainedModel) -> list[str]:
        return linear_names(model, "key", "value", "output")

    def added_count(self, model: PreTrainedModel) -> int:
        outer = sum(model.get_submodule(name).out_features for name in linear_names(model, "key", "value"))
        return outer + sum(model.get_submodule(name).in_features for name in linear_names(model, "output"))

    def settings_of_peft(self, model: PreTrainedModel, targets: list[str]) -> dict[str, Any]:
        return {"feedforward_modules": sorted(set(linear_names(model, "output")) & set(targets))}
