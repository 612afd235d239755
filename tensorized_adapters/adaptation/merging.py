"""Merges updates of weights into the weights, and undoes it. Inference with merged weights costs no more than without
adapters."""

import torch
from torch import Tensor
from transformers import PreTrainedModel

from ..errors import UsageError
from .parameters import adaptation_of, added_parameters, unwrapped


@torch.no_grad()
def merge_adapters(model: PreTrainedModel) -> None:
    """Add each trained update to its weight, so that outputs stay equal up to rounding. The model itself is changed.

    For ``--adapter_placement weights`` and LoRA. A merged model is for inference: it cannot be saved as an adapter nor
    trained further, and :func:`unmerge_adapters` restores the model before it, bit for bit.

    Raises:
        UsageError: if the model is not adapted, is merged already, or its adapters are no update of weights.
    """
    model = unwrapped(model)
    adaptation = adaptation_of(model)
    if adaptation.merged is not None or adaptation.switched_off:
        raise UsageError("the adapters are merged already, or off; undo that first")
    deltas = [(layer, delta.to(_wide(delta))) for layer, delta in adaptation.method.deltas(model)]
    adaptation.merged = [(layer, layer.weight.detach().clone()) for layer, _ in deltas]
    for layer, delta in deltas:
        layer.weight.copy_(layer.weight.to(_wide(layer.weight)) + delta)
    adaptation.method.switch(model, on=False)
    adaptation.frozen_by_merging = [p for p in added_parameters(model).values() if p.requires_grad]
    for parameter in adaptation.frozen_by_merging:
        parameter.requires_grad = False


@torch.no_grad()
def unmerge_adapters(model: PreTrainedModel) -> None:
    """Undo :func:`merge_adapters`, bit for bit. A model that is not merged stays as it is."""
    model = unwrapped(model)
    adaptation = getattr(model, "adaptation", None)
    if adaptation is None or adaptation.merged is None:
        return
    for layer, weight in adaptation.merged:
        layer.weight.copy_(weight)
    adaptation.merged = None
    adaptation.method.switch(model, on=True)
    for parameter in adaptation.frozen_by_merging:
        parameter.requires_grad = True
    adaptation.frozen_by_merging = []


def _wide(values: Tensor) -> torch.dtype:
    """Return the precision for the sum, so that it is rounded only once, when it is stored in the weight."""
    return torch.promote_types(values.dtype, torch.float32)
