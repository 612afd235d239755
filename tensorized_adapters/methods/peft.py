"""--method peft: any method of the peft library that classifies sequences, by PEFT's type and PEFT's own settings."""

import json
import re
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from ..backbone.parts import base_prefix, ia3_names, linear_names
from ..config import AdapterConfig
from ..errors import UsageError, did_you_mean, need, quoted
from .base import Method
from .peft_settings import CAUSES_OF_SHAPES, REFUSED, check_settings, decay_shares, note_once, types_of

PREFIX = "base_model.model."  # of the names in peft's files
ADAPTER = "default"  # peft's default name of an adapter; its files leave it out

_MAGNITUDE = "lora_magnitude_vector"  # DoRA's vector, whose ".weight" PEFT's files leave out


class Peft(Method):
    """A method whose modules and settings are PEFT's. ``PeftModel.from_pretrained`` reads its saved adapters too."""

    name = "peft"

    def __init__(self, config: AdapterConfig):
        super().__init__(config)
        self.kind = config.peft_type or self.name
        self.flag = f"--peft_type {config.peft_type}" if config.peft_type else f"--method {self.name}"
        self.cause_of_shapes = CAUSES_OF_SHAPES.get(self.kind, "")
        self._tried: tuple[list[str], int] | None = None  # the result of _trial, which takes long

    def check(self, model: PreTrainedModel) -> None:
        super().check(model)
        self.targets(model)

    def targets(self, model: PreTrainedModel) -> list[str]:
        """Return the names of the layers that PEFT wraps; raise UsageError if there are none."""
        return self._trial(model)[0]

    def added_count(self, model: PreTrainedModel) -> int:
        return self._trial(model)[1]

    def settings(self, model: PreTrainedModel, layers: list[str]) -> dict[str, Any]:
        """Return PEFT's settings for the target ``layers``; :meth:`_config` completes them."""
        return self.given

    @property
    def given(self) -> dict[str, Any]:
        """Return the settings of ``--peft_config``."""
        return json.loads(self.config.peft_config)

    @property
    def prefix(self) -> str:
        """Return the beginning of the names of PEFT's parameters."""
        need("peft", "lora", "--method peft")
        from peft.mapping import PEFT_TYPE_TO_PREFIX_MAPPING

        return PEFT_TYPE_TO_PREFIX_MAPPING[self._type()]

    @torch.no_grad()
    def insert(self, model: PreTrainedModel, head: set[str]) -> dict[str, Tensor]:
        """Let PEFT wrap the layers. A newly initialised one, which belongs to ``head``, is trained in full instead."""
        need("peft", "lora", f"--method {self.name}")
        from peft.tuners.tuners_utils import cast_adapter_dtype

        layers = self.targets(model)
        excluded = [layer for layer in layers if f"{layer}.weight" in head]
        config = self._config(model, layers, excluded)
        before = {}
        if isinstance(getattr(config, "init_lora_weights", None), str):  # PiSSA and OLoRA change the weights
            before = {f"{layer}.weight": model.get_submodule(layer).weight.detach().clone() for layer in layers}
        self._inject(model, config)
        cast_adapter_dtype(model, ADAPTER)
        plain = {name.replace(".base_layer.", "."): parameter for name, parameter in model.named_parameters()}
        return {name: weight for name, weight in before.items() if not torch.equal(plain[name], weight)}

    def remove(self, model: PreTrainedModel) -> None:
        for name, module in self._wrapped(model):
            model.set_submodule(name, module.base_layer)
        del model.peft_config

    def switch(self, model: PreTrainedModel, on: bool) -> None:
        for _, module in self._wrapped(model):
            module._disable_adapters = not on  # enable_adapters(on) would also set requires_grad

    def decay_shares(self, names: Iterable[str]) -> dict[str, float]:
        return decay_shares(self.kind, self.prefix, list(names))

    def file_name(self, name: str) -> str:
        name = name.replace(f"{_MAGNITUDE}.{ADAPTER}.weight", f"{_MAGNITUDE}.{ADAPTER}")
        return PREFIX + name.replace(f".{ADAPTER}", "")

    def name_of_file(self, name: str) -> str:
        parameter = rf"\.({re.escape(self.prefix)}\w+)(?=\.|$)"
        name = re.sub(parameter, rf".\1.{ADAPTER}", name.removeprefix(PREFIX), count=1)
        return f"{name}.weight" if name.endswith(f"{_MAGNITUDE}.{ADAPTER}") else name

    def peft_config(self, model: PreTrainedModel, head: set[str]) -> dict[str, Any]:
        prefix = base_prefix(model)
        modules = {name.rpartition(".")[0] for name in head}
        saved = {name if name.startswith(prefix) else name.split(".")[0] for name in modules}
        values = model.peft_config[ADAPTER].to_dict() | {"modules_to_save": saved, "inference_mode": True}
        if "save_projection" in values:  # the frozen random projections of VeRA and its kin follow from the seed
            values["save_projection"] = False
        return {key: sorted(value) if isinstance(value, set) else value for key, value in values.items()}

    @staticmethod
    def _wrapped(model: PreTrainedModel) -> list[tuple[str, Any]]:
        from peft.tuners.tuners_utils import BaseTunerLayer

        return [(name, module) for name, module in model.named_modules() if isinstance(module, BaseTunerLayer)]

    def deltas(self, model: PreTrainedModel) -> Iterator[tuple[nn.Linear, Tensor]]:
        """Return each layer's update, which is the difference of its weight after and before PEFT merges it."""
        for name, module in self._wrapped(model):
            layer = module.get_base_layer()
            before = {n: p.detach().clone() for n, p in layer.named_parameters()}
            reason = "it changes more than weights of linear layers"
            try:
                module.merge()
                after = {n: p.detach().clone() for n, p in module.get_base_layer().named_parameters()}
                module.unmerge()
            except Exception as error:  # the type depends on the tuner
                after, reason = {}, f"PEFT does not merge it: {quoted(str(error), 200)}"
            for n, parameter in layer.named_parameters():
                parameter.copy_(before[n])
            module.merged_adapters.clear()
            only_weight = after and all(n == "weight" or torch.equal(after[n], before[n]) for n in before)
            if not only_weight or not isinstance(layer, (nn.Linear, Conv1D)):
                raise UsageError(f"{self.config.describe()} cannot be merged into {name}: {reason}")
            yield layer, after["weight"] - before["weight"]

    def _type(self) -> str:
        """Return PEFT's name of the type; raise UsageError if it is unknown or cannot be used here."""
        from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING

        known = [kind.value.lower() for kind in PEFT_TYPE_TO_CONFIG_MAPPING]
        if self.kind not in known:
            hint = did_you_mean(self.kind, known, f"it has {', '.join(sorted(known))}")
            raise UsageError(f"--peft_type {quoted(self.kind)}: PEFT has no such method; {hint}")
        if self.kind in REFUSED:
            raise UsageError(f"{self.flag} cannot be used: {REFUSED[self.kind]}; choose another")
        return self.kind.upper()

    def _config(self, model: PreTrainedModel, layers: list[str] = (), excluded: list[str] = ()) -> Any:
        """Return PEFT's configuration for the ``layers``, or for a trial that finds them. Raise UsageError for a
        setting that is unknown, set by us, or refused by PEFT."""
        from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING, PEFT_TYPE_TO_TUNER_MAPPING
        from peft.utils.constants import TRANSFORMERS_MODELS_TO_IA3_FEEDFORWARD_MODULES_MAPPING as FEEDFORWARD

        kind = self._type()
        known = types_of(PEFT_TYPE_TO_CONFIG_MAPPING[kind])
        values = self.settings(model, layers)
        check_settings(values, known, self.flag)
        if not layers and "init_lora_weights" in known:
            values["init_lora_weights"] = True  # some starts compute an SVD of each weight
        tuner = PEFT_TYPE_TO_TUNER_MAPPING[kind]
        targets = getattr(tuner, "target_module_mapping", {})
        if self.kind == "ia3" and not {"target_modules", "feedforward_modules"} & set(values):
            outer, inner = ia3_names(model, self.flag)
            values |= {"target_modules": outer + inner, "feedforward_modules": inner}
        elif self.kind == "ia3" and values.get("feedforward_modules") is None:
            # PEFT chooses the layers whose inputs are rescaled. It loads no file whose targets lack one of their
            # names, so both settings get the complete names of the layers.
            inner = tuple(FEEDFORWARD.get(model.config.model_type, ()))
            if layers:
                values |= {"target_modules": layers, "feedforward_modules": [n for n in layers if n.endswith(inner)]}
            elif not inner:
                values["feedforward_modules"] = []
        elif "target_modules" in known and "target_modules" not in values and model.config.model_type not in targets:
            values["target_modules"] = linear_names(model, "query", "value")
        if excluded:
            if excluded == layers or "exclude_modules" not in known:
                raise UsageError(f"{self.flag}: {excluded[0]} is newly initialised, so trained in full; name others")
            values["exclude_modules"] = [*(values.get("exclude_modules") or []), *excluded]
        with self._refusing():
            return PEFT_TYPE_TO_CONFIG_MAPPING[kind](
                task_type="SEQ_CLS", base_model_name_or_path=model.config._name_or_path, **values
            )

    def _trial(self, model: PreTrainedModel) -> tuple[list[str], int]:
        """Return the layers that PEFT wraps, and how many numbers it adds, by a trial on a copy of the model. The copy
        has no weights, or random ones if PEFT needs weights to start from."""
        if self._tried is None:
            need("peft", "lora", "--method peft")
            with torch.random.fork_rng(devices=[]):
                with torch.device("meta"):
                    copy = type(model)(model.config)
                config = self._config(model)
                try:
                    with torch.device("meta"):
                        self._inject(copy, config)
                except UsageError:
                    copy = type(model)(model.config)
                    self._inject(copy, self._config(model))
            layers = [name for name, _ in self._wrapped(copy)]
            self._check_start(copy)
            if outside := [name for name in layers if not name.startswith(base_prefix(model))]:
                raise UsageError(f"--peft_config: target_modules has {outside[0]}, which is trained in full")
            before = {name for name, _ in model.named_parameters()}
            new = [p for n, p in copy.named_parameters() if n.replace(".base_layer.", ".") not in before]
            self._tried = layers, sum(p.numel() for p in new)
        return self._tried

    def _check_start(self, copy: PreTrainedModel) -> None:
        """Refuse a rank above the number of singular vectors from which PiSSA and OLoRA start. PEFT would take fewer
        than the settings say, and a saved adapter could not be loaded."""
        start = self.given.get("init_lora_weights")
        if start not in ("pissa", "olora"):
            return
        for name, module in self._wrapped(copy):
            rank, largest = module.r[ADAPTER], min(module.get_base_layer().weight.shape)
            if rank > largest:
                raise UsageError(
                    f"--peft_config: init_lora_weights {start!r}: {name} has {largest} singular vectors, and r is "
                    f"{rank}; choose at most {largest}"
                )

    def _inject(self, model: PreTrainedModel, config: Any) -> None:
        """Insert the adapters by the tuner's class. PEFT's inject_adapter_in_model refuses tuners whose layers share
        projections."""
        from peft.mapping import PEFT_TYPE_TO_TUNER_MAPPING

        with self._refusing():
            PEFT_TYPE_TO_TUNER_MAPPING[config.peft_type](model, config, adapter_name=ADAPTER)

    @contextmanager
    def _refusing(self) -> Iterator[None]:
        """Turn any error of PEFT about the settings into one line, and its warnings about settings that the user gave
        into notes."""
        try:
            with warnings.catch_warnings(record=True, action="always") as heard:
                yield
        except UsageError:
            raise
        except Exception as error:  # PEFT raises several types
            text = " ".join(str(error).split())[:300]
            if not isinstance(error, (ValueError, TypeError)):  # such as ZeroDivisionError: "float division by zero"
                text = f"{type(error).__name__}{text and ': '}{text}"
            raise UsageError(f"{self.flag}, --peft_config: PEFT does not take it: {text}") from None
        for text in (" ".join(str(warning.message).split()) for warning in heard):
            if any(re.search(rf"\b{re.escape(key)}\b", text) for key in self.given):
                note_once(f"--peft_config: PEFT says: {text}")
