"""Wraps a module of the model, with the tensorized adapters behind or beside it under peft's names."""

from typing import Any, Optional

import torch
from peft.tuners.tuners_utils import BaseTunerLayer, check_adapters_to_merge
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from ...adapters.base import Adapter
from ...adapters.insertion import changed, kept_inputs


class TensorizedLayer(nn.Module, BaseTunerLayer):
    """Wraps the module at a site, ``base_layer``. Its adapters may have different placements."""

    adapter_layer_names = ("tensorized_adapter",)
    other_param_names = ("placements",)

    def __init__(self, base_layer: nn.Module):
        super().__init__()
        self.base_layer = base_layer
        self.tensorized_adapter = nn.ModuleDict()
        self.placements: dict[str, str] = {}
        self.merged_adapters: list[str] = []
        self._active_adapter: list[str] = []
        self._weight_before: Optional[Tensor] = None  # merging
        self._hook: Optional[RemovableHandle] = None  # on the module whose input parallel adapters take

    def add(self, name: str, adapter: Adapter, placement: str, source: Optional[nn.Module] = None) -> None:
        """Add an adapter under peft's name. ``source`` is the module whose input a parallel adapter takes."""
        self.tensorized_adapter[name] = adapter
        self.placements[name] = placement
        if placement == "parallel" and self._hook is None:
            self._hook = source.register_forward_pre_hook(self._keep_input)

    def release(self) -> None:
        """Remove the hook from the module whose input was taken."""
        if self._hook is not None:
            self._hook.remove()

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        if self.disable_adapters and self.merged:
            self.unmerge()
        output, kept = self.base_layer(*args, **kwargs), kept_inputs.by_id.pop(id(self), None)
        if self.disable_adapters or self.merged:
            return output
        for name in self.active_adapters:
            if name in self.tensorized_adapter:
                placement = self.placements[name]
                if placement == "sequential":
                    x = None
                elif (x := args[0] if placement == "weights" else kept) is None:
                    raise RuntimeError(f"adapter {name!r} stands beside a sublayer whose input was not seen")
                output = changed(output, lambda hidden, name=name, x=x: self._through(name, x, hidden))
        return output

    def _through(self, name: str, x: Optional[Tensor], hidden: Tensor) -> Tensor:
        """Return ``hidden`` plus an adapter's update of ``x``, or of ``hidden`` if ``x`` is None, in its own dtype."""
        adapter = self.tensorized_adapter[name]
        dtype = next(adapter.parameters()).dtype
        wide = hidden.to(dtype)
        return (adapter(wide) if x is None else adapter.beside(x.to(dtype), wide)).to(hidden.dtype)

    def _keep_input(self, _: nn.Module, args: tuple[Tensor, ...]) -> None:
        if not self.disable_adapters and any(self.placements.get(n) == "parallel" for n in self.active_adapters):
            kept_inputs.by_id[id(self)] = args[0]

    @torch.no_grad()
    def merge(self, safe_merge: bool = False, adapter_names: Optional[list[str]] = None) -> None:
        """Add updates to the weight, as peft's tuners do; the tuner has checked that all adapters are such updates.
        With ``safe_merge``, raise ValueError for numbers that are not finite."""
        for name in check_adapters_to_merge(self, adapter_names):
            if name not in self.tensorized_adapter:
                continue
            layer = self.get_base_layer()
            delta = self.tensorized_adapter[name].delta(layer)
            # Summed in a precision that rounds only once, when the sum is stored in the weight.
            merged = (layer.weight.to(torch.promote_types(delta.dtype, torch.float32)) + delta).to(layer.weight.dtype)
            if safe_merge and not merged.isfinite().all():
                raise ValueError(f"the weights merged with adapter {name!r} are not finite")
            if not self.merged:
                self._weight_before = layer.weight.detach().clone()
            layer.weight.copy_(merged)
            self.merged_adapters.append(name)

    @torch.no_grad()
    def unmerge(self) -> None:
        """Undo :meth:`merge`, bit for bit."""
        if self.merged:
            self.get_base_layer().weight.copy_(self._weight_before)
            self.merged_adapters.clear()
            self._weight_before = None

    def __getattr__(self, name: str) -> Any:
        """Forward attributes that this layer lacks to the wrapped module, as the model may read them."""
        try:
            return super().__getattr__(name)
        except AttributeError:
            if name == "base_layer":
                raise
            return getattr(self.base_layer, name)
