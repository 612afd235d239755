"""(IA)^3 (Liu et al., "Few-Shot Parameter-Efficient Fine-Tuning is Better and Cheaper than In-Context Learning",
2022), through peft."""

from typing import Any

from transformers import PreTrainedModel

from ..architectures import architecture_of, linear_names
from ..errors import UsageError
from .peft import ThroughPeft


class IA3(ThroughPeft):
    """One vector each that rescales the keys, the values and the input of the feed-forward network's last layer."""

    name = "ia3"

    def check(self, model: PreTrainedModel) -> None:
        super().check(model)
        row = architecture_of(model.config.model_type)
        if row.key in (row.query, row.value):
            raise UsageError(
                f"--method ia3 rescales keys and values, which a {model.config.model_type} model computes in one "
                "layer with others; choose another method"
            )

    def targets(self, model: PreTrainedModel) -> list[str]:
        return linear_names(model, "key", "value", "output")

    def added_count(self, model: PreTrainedModel) -> int:
        outer = sum(model.get_submodule(name).out_features for name in linear_names(model, "key", "value"))
        return outer + sum(model.get_submodule(name).in_features for name in linear_names(model, "output"))

    def config_of_peft(self, model: PreTrainedModel, targets: list[str]) -> Any:
        from peft import IA3Config

        feedforward = set(linear_names(model, "output")) & set(targets)
        return IA3Config(
            task_type="SEQ_CLS",
            target_modules=sorted(targets),
            feedforward_modules=sorted(feedforward),
            base_model_name_or_path=model.config._name_or_path,
        )
