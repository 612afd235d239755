"""LoRA (Hu et al., 2021), through peft."""

import math
from collections.abc import Iterator
from typing import Any

from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from ..errors import UsageError
from .peft import ADAPTER, ThroughPeft
from .targets import sizes_of, target_names


class LoRA(ThroughPeft):
    """W + (alpha / r) B A for some linear layers; peft's initialisation: A uniform (Kaiming), B zero."""

    name = "lora"

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

    def config_of_peft(self, model: PreTrainedModel, targets: list[str]) -> Any:
        from peft import LoraConfig

        return LoraConfig(
            task_type="SEQ_CLS",
            r=self.config.lora_r,
            lora_alpha=self.config.lora_alpha,
            lora_dropout=self.config.lora_dropout,
            target_modules=sorted(targets),
            fan_in_fan_out=all(isinstance(model.get_submodule(name), Conv1D) for name in targets),
            base_model_name_or_path=model.config._name_or_path,
        )

    def deltas(self, model: PreTrainedModel) -> Iterator[tuple[nn.Linear, Tensor]]:
        for _, module in self._wrapped(model):
            yield module.base_layer, module.get_delta_weight(ADAPTER)
