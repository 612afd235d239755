"""LoRA (Hu et al., 2021) through the peft library: what is updated, peft's names, and peft's own files."""

import json

from torch import nn
from transformers import PreTrainedModel

from ..architectures import architecture_of, base_prefix
from ..config import AdapterConfig
from ..errors import UsageError

_PEFT_PREFIX = "base_model.model."


def lora_layers(model: PreTrainedModel, config: AdapterConfig) -> dict[str, nn.Linear]:
    """The linear layers of the base model that LoRA updates, by name.

    Raises:
        UsageError: for a name of ``--lora_targets`` that no linear layer ends in.
    """
    names = config.lora_target_names or architecture_of(model.config.model_type).query_and_value
    linear = {name: module for name, module in model.named_modules() if isinstance(module, nn.Linear)}
    linear = {name: module for name, module in linear.items() if name.startswith(base_prefix(model))}
    for name in names:
        if not any(_ends_in(layer, name) for layer in linear):
            known = sorted({".".join(layer.split(".")[-2:]) for layer in linear})
            raise UsageError(f"--lora_targets {name}: no linear layer is called so; known: {', '.join(known)}")
    return {layer: module for layer, module in linear.items() if any(_ends_in(layer, name) for name in names)}


def check_lora(config: AdapterConfig, model: PreTrainedModel) -> None:
    """Refuse unknown ``--lora_targets``, and an r that stores more than the matrix it updates; raises UsageError."""
    for name, layer in lora_layers(model, config).items():
        largest = layer.in_features * layer.out_features // (layer.in_features + layer.out_features)
        if config.lora_r > largest:
            raise UsageError(f"--lora_r {config.lora_r} stores more than {name} itself; the largest is {largest}")


def parameter_count(layers: dict[str, nn.Linear], r: int) -> int:
    """r (in + out) for each updated layer."""
    return sum(r * (layer.in_features + layer.out_features) for layer in layers.values())


def insert_lora(model: PreTrainedModel, config: AdapterConfig, head: set[str]) -> None:
    """Let peft wrap the updated layers, in place. Its initialisation: A uniform (Kaiming), B zero.

    A layer whose weight is ``head``, for it was newly initialised, is trained whole and gets no update.
    """
    from peft import LoraConfig, inject_adapter_in_model  # a second of imports that no other method needs

    layers = lora_layers(model, config)
    peft_config = LoraConfig(
        task_type="SEQ_CLS",
        r=config.lora_r,
        lora_alpha=config.lora_alpha,
        lora_dropout=config.lora_dropout,
        target_modules=sorted(layer for layer in layers if f"{layer}.weight" not in head),
        base_model_name_or_path=model.config._name_or_path,
    )
    inject_adapter_in_model(peft_config, model)


def take_out_lora(model: PreTrainedModel) -> None:
    """Put the wrapped layers back."""
    if not hasattr(model, "peft_config"):
        return
    from peft.tuners.lora import LoraLayer

    for name, module in list(model.named_modules()):
        if isinstance(module, LoraLayer):
            model.set_submodule(name, module.base_layer)
    del model.peft_config


def peft_name(name: str) -> str:
    """A parameter's name in the files of ``PeftModel.save_pretrained``."""
    for matrix in ("lora_A", "lora_B"):
        name = name.replace(f".{matrix}.default.", f".{matrix}.")
    return _PEFT_PREFIX + name


def name_of_peft(name: str) -> str:
    """The inverse of :func:`peft_name`."""
    for matrix in ("lora_A", "lora_B"):
        name = name.replace(f".{matrix}.weight", f".{matrix}.default.weight")
    return name.removeprefix(_PEFT_PREFIX)


def peft_file(model: PreTrainedModel, head: set[str]) -> bytes:
    """The ``adapter_config.json`` with which ``PeftModel.from_pretrained`` loads the adapter and its ``head``."""
    prefix = base_prefix(model)
    modules = {name.rpartition(".")[0] for name in head}
    saved = {name if name.startswith(prefix) else name.split(".")[0] for name in modules}
    values = model.peft_config["default"].to_dict() | {"modules_to_save": saved, "inference_mode": True}
    plain = {key: sorted(value) if isinstance(value, set) else value for key, value in values.items()}
    return json.dumps(plain, indent=1, sort_keys=True).encode()


def _ends_in(layer: str, name: str) -> bool:
    return layer == name or layer.endswith(f".{name}")
