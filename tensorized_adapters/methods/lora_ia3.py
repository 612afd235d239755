"""LoRA and (IA)3 through the peft library."""

import math
from collections.abc import Iterator
from typing import Any

from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from ..backbone.parts import architecture_of, linear_names, sizes_of, target_names
from ..errors import UsageError
from .base import Method
from .peft import ADAPTER, Peft


class LoRA(Peft):
    """W + (alpha / r) B A for some linear layers; peft's initialisation: A uniform (Kaiming), B zero."""

    name, prefix = "lora", "lora_"

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

    def settings(self, model: PreTrainedModel, layers: list[str]) -> dict[str, Any]:
        return {
            "r": self.config.lora_r,
            "lora_alpha": self.config.lora_alpha,
            "lora_dropout": self.config.lora_dropout,
            "target_modules": layers,
            "fan_in_fan_out": all(isinstance(model.get_submodule(name), Conv1D) for name in layers),
        }

    def deltas(self, model: PreTrainedModel) -> Iterator[tuple[nn.Linear, Tensor]]:
        for _, module in self._wrapped(model):
            yield module.base_layer, module.get_delta_weight(ADAPTER)


class IA3(Peft):
    """Vectors that rescale the keys, the values and the input of the feed-forward network's last layer."""

    name, prefix = "ia3", "ia3_"
    deltas = Method.deltas  # it also rescales biases

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
