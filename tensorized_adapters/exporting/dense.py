"""Exports adapters as ordinary dense ones, with all other trained parameters under their plain names."""

import json
from pathlib import Path
from typing import Optional

import safetensors.torch
import torch
from torch import Tensor
from transformers import PreTrainedModel

from ..adaptation.lifecycle import updates_of
from ..adaptation.parameters import adaptation_of, added_parameters, pretrained_parameters, unwrapped, without_autocast
from ..adapters.insertion import CHILD, adapters_of, source_names
from ..errors import UsageError
from ..methods.residual import ResidualAdapters
from .attach_dense import numbers_of

SETTINGS_FILE, WEIGHTS_FILE, CODE_FILE = "dense_adapter.json", "dense_adapter.safetensors", "dense_adapter.py"


@torch.no_grad()
def dense_weights(model: PreTrainedModel) -> tuple[dict[str, Optional[str]], dict[str, Tensor]]:
    """Return the sites of dense adapters that compute the same as the model's own, and all their weights.

    Args:
        model: adapted, and not merged.

    Returns:
        Each site's module with the module whose input its adapter takes (None for the site's own output), and tensors
        by name. They are ``SITE.adapter.down.weight`` (m x hidden), ``.down.bias``, ``.up.weight`` (hidden x m) and
        ``.up.bias``, or for one square matrix ``SITE.adapter.weight`` (out x in, as in nn.Linear). LayerNorms, head,
        other trained parameters, and weights with their updates added have their names in the plain model.

    Raises:
        UsageError: if the model is not adapted, its adapters are merged or off, or its method adds neither adapters
            nor updates of weights, or adds updates of tied ones.
    """
    model = unwrapped(model)
    adaptation, pretrained = adaptation_of(model), pretrained_parameters(model)
    if adaptation.merged_or_off:
        raise UsageError("the adapters are merged or off; undo that before exporting them")
    tensors = {name: pretrained[name] for names in adaptation.in_place.values() for name in sorted(names)}
    sites: dict[str, Optional[str]] = {}
    if isinstance(adaptation.method, ResidualAdapters) and adaptation.config.adapter_placement != "weights":
        sources = source_names(model)
        for name, adapter in adapters_of(model):
            sites[name.removesuffix(f".{CHILD}")] = sources.get(id(adapter))
            tensors |= {f"{name}.{part}": weight for part, weight in adapter.dense_weights().items()}
    elif added_parameters(model):
        names = {id(parameter): name for name, parameter in pretrained.items()}
        tensors |= {names[id(layer.weight)]: layer.weight + delta for layer, delta in updates_of(model)}
    return sites, {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}


def write_dense(model: PreTrainedModel, folder: Path) -> None:
    """Write :func:`dense_weights` into ``folder``, with the code that attaches them without this package."""
    with without_autocast(model):
        sites, tensors = dense_weights(model)
    pretrained = pretrained_parameters(unwrapped(model))
    settings = {
        "base_model": str(model.config._name_or_path),
        "num_labels": model.config.num_labels,
        "id2label": model.config.id2label,
        "problem_type": model.config.problem_type,
        "pad_token_id": getattr(model.config.get_text_config(), "pad_token_id", None),
        "sites": sites,
        "base_numbers": numbers_of({n: p for n, p in pretrained.items() if n not in tensors}).tolist(),
    }
    (folder / SETTINGS_FILE).write_text(json.dumps(settings, indent=1) + "\n")
    (folder / CODE_FILE).write_bytes(Path(__file__).with_name("attach_dense.py").read_bytes())
    # save_file would write a file that no other user can read.
    (folder / WEIGHTS_FILE).write_bytes(safetensors.torch.save(tensors, metadata={"format": "pt"}))
