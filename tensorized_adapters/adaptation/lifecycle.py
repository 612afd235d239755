"""Remove adapters, merge them into the weights, and the context managers that switch them off for a while."""

from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from ..errors import UsageError
from ..methods.residual import ResidualAdapters
from .forward import alone
from .insertion import check_removable, take_out_method
from .named import active_adapter, forget_names
from .parameters import (
    Adaptation,
    adaptation_of,
    added_parameters,
    not_merged,
    precisions_before,
    pretrained_parameters,
    unwrapped,
    without_autocast,
)


def remove_adapters(model: PreTrainedModel) -> None:
    """Make the model what it was before ``add_adapters``, bit for bit, head and labels included.

    All named adapters are removed. A model that is not adapted stays as it is.

    Raises:
        UsageError: within :func:`adapters_off`, while another thread computes with the model, or if a trained
            parameter has another shape now and cannot be restored. Nothing was changed then.
    """
    model = unwrapped(model)
    if getattr(model, "adaptation", None) is not None:
        with alone(model):
            check_removable(model)
            unmerge_adapters(model)
            if active_adapter(model) is None:
                take_out_method(model)
    forget_names(model)


@torch.no_grad()
def merge_adapters(model: PreTrainedModel) -> None:
    """Add each trained update to its weight, so that outputs stay equal up to rounding. The model itself is changed.

    For ``--adapter_placement weights`` and LoRA. A merged model is for inference: it cannot be saved as an adapter nor
    trained further, and :func:`unmerge_adapters` restores the model before it, bit for bit.

    Raises:
        UsageError: if the model is not adapted, is merged already, its adapters are no update of weights, one of these
            weights is tied to another module's, or another thread computes with the model.
    """
    model = unwrapped(model)
    with alone(model), without_autocast(model):
        adaptation = adaptation_of(model)
        if adaptation.merged_or_off:
            raise UsageError("the adapters are merged already, or off; undo that first")
        # The sum is in this precision too, so that it is rounded only once, when it is stored in the weight.
        updates = updates_of(model)
        deltas = [(layer, delta.to(torch.promote_types(delta.dtype, torch.float32))) for layer, delta in updates]
        adaptation.merged = [(layer, layer.weight.detach().clone()) for layer, _ in deltas]
        for layer, delta in deltas:
            layer.weight.copy_(layer.weight + delta)
        adaptation.method.switch(model, on=False)
        adaptation.frozen_by_merging = [p for p in added_parameters(model).values() if p.requires_grad]
        for parameter in adaptation.frozen_by_merging:
            parameter.requires_grad = False


def updates_of(model: PreTrainedModel) -> list[tuple[nn.Linear, Tensor]]:
    """Return each linear layer that is updated with the change of its weight. Raise UsageError if the method adds no
    updates of weights, or a weight cannot hold its update alone."""
    updates = list(adaptation_of(model).method.deltas(model))
    check_not_tied(model, (layer for layer, _ in updates))
    return updates


def check_not_tied(model: nn.Module, layers: Iterable[nn.Module]) -> None:
    """Raise UsageError if the weight of one of the layers is another module's too, which would get its update."""
    holders = Counter(id(parameter) for module in model.modules() for parameter in module._parameters.values())
    if any(holders[id(layer.weight)] > 1 for layer in layers):
        raise UsageError(
            "an updated layer shares its weight with another module, which would get the update too; use the adapters "
            "without merging them, or give each layer a weight of its own before they are added"
        )


@torch.no_grad()
def unmerge_adapters(model: PreTrainedModel) -> None:
    """Undo :func:`merge_adapters`, bit for bit. A model that is not merged stays as it is.

    Raises:
        UsageError: if another thread computes with the model.
    """
    model = unwrapped(model)
    adaptation = getattr(model, "adaptation", None)
    if adaptation is None or adaptation.merged is None:
        return
    with alone(model):
        if adaptation.merged is None:  # another thread was faster
            return
        for layer, weight in adaptation.merged:
            layer.weight.copy_(weight)
        adaptation.merged = None
        adaptation.method.switch(model, on=True)
        for parameter in adaptation.frozen_by_merging:
            parameter.requires_grad = True
        adaptation.frozen_by_merging = []


@contextmanager
def adapters_off(model: PreTrainedModel) -> Iterator[None]:
    """Let the model compute as before ``add_adapters``, head included, within the block.

    Constants replace the trained pre-trained parameters. So a later backward pass gives no gradients to what was
    computed without adapters, and the right ones to what was computed with them.

    Raises:
        UsageError: if the model is not adapted, its adapters are merged, or another thread computes with it or saves
            another adapter. A forward pass in another thread is refused within the block, unless the model is
            compiled.
    """
    model = unwrapped(model)
    with _switched_off(model) as adaptation:
        if adaptation.within_adapters_off:  # nested
            yield
            return
        adaptation.within_adapters_off = True
        try:
            with _originals_in_place(model):
                yield
        finally:
            adaptation.within_adapters_off = False


@contextmanager
def updates_off(model: PreTrainedModel) -> Iterator[None]:
    """Make every adapter h -> h + update(h) return h, bit for bit, within the block.

    LayerNorms and head stay as trained, so the difference in the outputs is due to the adapters.

    Raises:
        UsageError: if the model is not adapted, its adapters are merged, or its method inserts no such adapters.
    """
    model = unwrapped(model)
    adaptation = adaptation_of(model)
    if not isinstance(adaptation.method, ResidualAdapters):
        raise UsageError(f"--method {adaptation.config.method} inserts no adapters h + update(h); use adapters_off")
    with _switched_off(model):
        yield


@contextmanager
def _switched_off(model: PreTrainedModel) -> Iterator[Adaptation]:
    """Switch the inserted modules off within the block. If blocks are nested, only the outermost one switches."""
    with alone(model):
        adaptation = not_merged(model, "they are switched off")
        if adaptation.off:
            yield adaptation
            return
        adaptation.off = True
        try:
            adaptation.method.switch(model, on=False)
            yield adaptation
        finally:
            adaptation.method.switch(model, on=True)
            adaptation.off = False


@contextmanager
def _originals_in_place(model: PreTrainedModel) -> Iterator[None]:
    """Replace the trained pre-trained parameters by constants with their original values, within the block.

    Overwriting the values instead would give wrong gradients, because autograd reads them in the backward pass.
    """
    pretrained, precisions = pretrained_parameters(model), precisions_before(model)
    constants: dict[int, tuple[nn.Parameter, torch.dtype]] = {}  # with the precision in which they were made
    for name, original in adaptation_of(model).originals.items():
        trained, dtype = pretrained[name], precisions[name]
        constants[id(trained)] = nn.Parameter(original.to(trained.device, dtype), requires_grad=False), dtype
    # All modules that hold a parameter, since layers may share it.
    slots = [
        (module, name, parameter)
        for module in model.modules()
        for name, parameter in module._parameters.items()
        if id(parameter) in constants
    ]
    try:
        for module, name, trained in slots:
            module._parameters[name], _ = constants[id(trained)]
        yield
    finally:
        for module, name, trained in slots:
            constant = module._parameters[name]
            converted = constant.dtype != constants[id(trained)][1]
            if constant.device != trained.device or converted:  # the model was moved meanwhile
                trained.data = trained.data.to(constant.device, constant.dtype if converted else trained.dtype)
            module._parameters[name] = trained
