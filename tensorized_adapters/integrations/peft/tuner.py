"""The tuner that peft calls to insert tensorized adapters into a model, and to load them from a saved folder."""

import re
from contextlib import nullcontext
from typing import Any, Optional

import torch
from peft import TaskType
from peft.tuners.tuners_utils import BaseTuner
from torch import Tensor, nn
from transformers import PreTrainedModel

from ...adaptation.insertion import check_not_adapted
from ...adaptation.lifecycle import check_not_tied
from ...backbone.parts import base_prefix, layer_norm_names
from ...errors import UsageError, quoted
from ...methods.tensorized import Tensorized
from .config import TensorizedAdapterConfig
from .layer import TensorizedLayer

_CHILD = ".tensorized_adapter."


def _is_within(name: str, modules_to_save: set[str]) -> bool:
    """Return whether a module is one of peft's ``modules_to_save`` or lies within one. peft matches ends of names."""
    parts = f"base_model.model.{name}".split(".")
    return any(".".join(parts[:end]).endswith(tuple(modules_to_save)) for end in range(1, len(parts) + 1))


class TensorizedModel(BaseTuner):
    """Wraps the modules at the sites; ``model`` is a Transformers model of a supported architecture."""

    prefix = "tensorized_"
    tuner_layer_cls = TensorizedLayer
    target_module_mapping: dict[str, list[str]] = {}

    def inject_adapter(self, model: nn.Module, adapter_name: str, *args: Any, **kwargs: Any) -> None:
        self._name = adapter_name  # peft does not pass these two to the methods below
        self._low_cpu_mem_usage = kwargs.get("low_cpu_mem_usage", False)
        super().inject_adapter(model, adapter_name, *args, **kwargs)

    def _prepare_adapter_config(self, peft_config: TensorizedAdapterConfig, model_config: dict) -> Any:
        return peft_config

    def _prepare_model(self, peft_config: TensorizedAdapterConfig, model: nn.Module) -> None:
        """Choose sites, make the adapters, and mark LayerNorms and head as trained; raise UsageError if impossible."""
        if not isinstance(model, PreTrainedModel):
            raise UsageError(f"tensorized adapters go into a model of Transformers, not into a {type(model).__name__}")
        check_not_adapted(model)
        with torch.device("meta"):  # without peft's wrappers and without weights, for its names and shapes
            plain = type(model)(model.config)
        method = Tensorized(peft_config.adapter)
        method.check(plain)
        sites, sources = method.sites_and_sources(plain, set())
        prefix = base_prefix(plain)
        names = [prefix + site for site in sites]
        peft_config.target_modules = "|".join(map(re.escape, names))
        with torch.device("meta") if self._low_cpu_mem_usage else nullcontext():
            self._adapters = dict(zip(names, method.new_adapters(plain, sites)))
        self._check_name(plain)
        self._sources = {name: prefix + source for name, source in zip(names, sources or [])}
        saved = set(peft_config.modules_to_save or [])
        self._check_sources(saved)
        if peft_config.train_layer_norm:
            norms = {name.rpartition(".")[0] for name in layer_norm_names(plain, peft_config.adapter.layers)}
            # peft would wrap one within a module of the user's, which is trained already, twice, and load neither.
            saved |= {name for name in norms if not _is_within(name, saved)}
        if peft_config.task_type == TaskType.SEQ_CLS:  # peft would find only its last layer, by usual names
            saved |= {name.split(".")[0] for name, _ in plain.named_parameters() if not name.startswith(prefix)}
        peft_config.modules_to_save = sorted(saved) or None

    def _check_sources(self, saved: set[str]) -> None:
        """Refuse modules to save that take the source from a parallel adapter; raise UsageError. peft copies them, and
        the copy's input is not seen. It inserts no adapter within such a module."""
        for site, source in self._sources.items():
            if _is_within(source, saved) and not _is_within(site, saved):
                raise UsageError(
                    f"modules_to_save={quoted(sorted(saved))} with adapter_placement='parallel': the adapter at "
                    f"{site} takes the input of {source}, of which peft makes a copy; leave it out of "
                    "modules_to_save, or choose adapter_placement='sequential'"
                )

    def _check_name(self, plain: nn.Module) -> None:
        """Refuse a name that torch does not accept, or that is part of other names, where peft would find it too."""
        parts = {"base_model", "model", "base_layer", "modules_to_save", "original_module", "tensorized_adapter"}
        for module in (plain, *self._adapters.values()):
            names = [name for name, _ in (*module.named_modules(), *module.named_parameters())]
            parts |= {part for name in names for part in name.split(".")}
        name = self._name
        if not name or "." in name or name in parts or hasattr(nn.ModuleDict(), name):
            raise UsageError(
                f"adapter_name {quoted(name)}: it must be without dots, and no part of the model or of torch's "
                "modules may be called so; choose another"
            )

    def _create_and_replace(
        self,
        peft_config: TensorizedAdapterConfig,
        adapter_name: str,
        target: nn.Module,
        target_name: str,
        parent: nn.Module,
        current_key: str,
        **_: Any,
    ) -> None:
        adapter = self._adapters.pop(current_key)
        like = next(p for p in self.model.base_model.parameters() if p.is_floating_point())
        if not any(p.is_meta for p in (like, *adapter.parameters())):  # low_cpu_mem_usage uses the meta device
            adapter.to(like.device, like.dtype)
        layer = target if isinstance(target, TensorizedLayer) else TensorizedLayer(target)
        source = self._sources.get(current_key)
        layer.add(
            adapter_name, adapter, peft_config.adapter_placement, self.model.get_submodule(source) if source else None
        )
        if layer is not target:
            self._replace_module(parent, target_name, layer, target)

    def _replace_module(self, parent: nn.Module, child_name: str, new_module: nn.Module, child: nn.Module) -> None:
        """Replace a module. peft's own method would move weights, which a dropout does not have."""
        if isinstance(child, TensorizedLayer):
            child.release()
        setattr(parent, child_name, new_module)

    def _enable_peft_forward_hooks(self, *args: Any, adapter_names: Optional[list[str]] = None, **kwargs: Any):
        """Refuse a mixed batch's adapter names, which peft would ignore silently."""
        if adapter_names is not None:
            raise UsageError(
                "adapter_names: a batch of several adapters does not go through peft; a model with "
                "tensorized_adapters.load_adapter(model, folder, name=...) takes it"
            )
        return nullcontext()

    # Merging

    def merge_adapter(self, adapter_names: Optional[list[str]] = None, safe_merge: bool = False) -> None:
        self._require_mergeable(adapter_names)
        super().merge_adapter(adapter_names, safe_merge)

    def _unload_and_optionally_merge(
        self,
        merge: bool = True,
        progressbar: bool = False,
        safe_merge: bool = False,
        adapter_names: Optional[list[str]] = None,
    ) -> nn.Module:
        if merge:
            self._require_mergeable(adapter_names)
        return super()._unload_and_optionally_merge(merge, progressbar, safe_merge, adapter_names)

    def _require_mergeable(self, adapter_names: Optional[list[str]]) -> None:
        """Raise UsageError for adapters (None: the active ones) that are no updates of weights, or are updates of tied
        ones, before one changes."""
        names = self.active_adapters if adapter_names is None else adapter_names
        for name in names:
            placement = getattr(self.peft_config.get(name), "adapter_placement", "weights")
            if placement != "weights":
                raise UsageError(
                    f"adapter {name!r} has adapter_placement {placement!r}, which is no update of weights and cannot "
                    "be merged; 'weights' can"
                )
        layers = (module for module in self.model.modules() if isinstance(module, TensorizedLayer))
        updated = [layer for layer in layers if set(names) & layer.tensorized_adapter.keys()]
        check_not_tied(self.model, (layer.get_base_layer() for layer in updated))

    # Saving and loading. The file's names are those of the model without the adapter's name.

    @classmethod
    def _get_adapter_state_dict(cls, model: nn.Module, *args: Any, **kwargs: Any) -> dict[str, Tensor]:
        """Return the adapter's tensors. A tensor that all sites share, each under its own name, is returned once."""
        tensors = super()._get_adapter_state_dict(model, *args, **kwargs)
        once = {name for name, _ in model.named_parameters()}
        return {name: tensor for name, tensor in tensors.items() if _CHILD not in name or name in once}

    @classmethod
    def _remove_adapter_name_from_key(cls, key: str, adapter_name: str) -> str:
        # peft's own method searches for the name only at a key's end, and factors lie deeper.
        return key.replace(f"{_CHILD}{adapter_name}.", _CHILD)

    @classmethod
    def _remap_adapter_state_dict_for_load(
        cls, model: nn.Module, config: Any, adapter_name: str, state_dict: dict[str, Tensor]
    ) -> dict[str, Tensor]:
        """Raise UsageError if a tensor of the adapter is missing or foreign, which peft would only report."""
        tensors = super()._remap_adapter_state_dict_for_load(model, config, adapter_name, state_dict)
        names: dict[int, list[str]] = {}
        for name, parameter in model.named_parameters(remove_duplicate=False):
            if f"{_CHILD}{adapter_name}." in name:
                names.setdefault(id(parameter), []).append(name)
        for first, *twins in names.values():
            if twins and first in tensors:
                # low_cpu_mem_usage puts the loaded tensors into the model. One Parameter stays one for all sites.
                shared = nn.Parameter(tensors[first], requires_grad=model.get_parameter(first).requires_grad)
                tensors |= dict.fromkeys((first, *twins), shared)
        wanted = {name for twins in names.values() for name in twins}
        odd = sorted(wanted ^ {name for name in tensors if _CHILD in name})
        if odd:
            raise UsageError(
                f"the saved adapter does not fit its settings and this model: {len(odd)} tensors missing or foreign, "
                f"{quoted(odd[0], 200)} first"
            )
        return tensors
