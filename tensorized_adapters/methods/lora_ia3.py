"""LoRA and (IA)3 through the peft library."""

import math
from collections.abc import Iterator
from typing import Any

from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from ..backbone.parts import ia3_names, sizes_of, target_names
from ..errors import UsageError
from .base import Method
from .peft import ADAPTER, Peft


class LoRA(Peft):
    """Adds (alpha / r) B A to the weights of some linear layers. peft draws A (Kaiming, uniform), and B is zero."""

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
    """Trains vectors that rescale the keys, the values and the input of the feed-forward network's last layer."""

    name, prefix = "ia3", "ia3_"
    deltas = Method.deltas  # which refuses: the vectors also rescale biases

    def targets(self, model: PreTrainedModel) -> list[str]:
        outer, inner = ia3_names(model, self.flag)
        return outer + inner

    def added_count(self, model: PreTrainedModel) -> int:
        outer, inner = ia3_names(model, self.flag)
        count = sum(model.get_submodule(name).out_features for name in outer)
        return count + sum(model.get_submodule(name).in_features for name in inner)
