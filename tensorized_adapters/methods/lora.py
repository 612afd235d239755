"""LoRA (Hu et al., 2021), through peft."""

from typing import Any

from torch import nn
from transformers import PreTrainedModel

from ..architectures import base_prefix, linear_names
from ..errors import UsageError
from .peft import ThroughPeft


class LoRA(ThroughPeft):
    """W + (alpha / r) B A for some linear layers; peft's initialisation: A uniform (Kaiming), B zero."""

    name = "lora"

    def check(self, model: PreTrainedModel) -> None:
        super().check(model)
        for name in self.targets(model):
            layer = model.get_submodule(name)
            largest = layer.in_features * layer.out_features // (layer.in_features + layer.out_features)
            if self.config.lora_r > largest:
                raise UsageError(
                    f"--lora_r {self.config.lora_r} stores more than {name} itself; the largest is {largest}"
                )

    def targets(self, model: PreTrainedModel) -> list[str]:
        """By ``--lora_targets``, names in which the layers' end; else queries and values.

        Raises:
            UsageError: for a name that no linear layer ends in.
        """
        names = self.config.lora_target_names
        if not names:
            return linear_names(model, "query", "value")
        prefix = base_prefix(model)
        linear = [n for n, module in model.named_modules() if isinstance(module, nn.Linear) and n.startswith(prefix)]
        for name in names:
            if not any(_ends_in(layer, name) for layer in linear):
                known = sorted({".".join(layer.split(".")[-2:]) for layer in linear})
                raise UsageError(f"--lora_targets {name}: no linear layer is called so; known: {', '.join(known)}")
        return [layer for layer in linear if any(_ends_in(layer, name) for name in names)]

    def added_count(self, model: PreTrainedModel) -> int:
        layers = [model.get_submodule(name) for name in self.targets(model)]
        return sum(self.config.lora_r * (layer.in_features + layer.out_features) for layer in layers)

    def config_of_peft(self, model: PreTrainedModel, targets: list[str]) -> Any:
        from peft import LoraConfig

        return LoraConfig(
            task_type="SEQ_CLS",
            r=self.config.lora_r,
            lora_alpha=self.config.lora_alpha,
            lora_dropout=self.config.lora_dropout,
            target_modules=sorted(targets),
            base_model_name_or_path=model.config._name_or_path,
        )


def _ends_in(layer: str, name: str) -> bool:
    return layer == name or layer.endswith(f".{name}")
