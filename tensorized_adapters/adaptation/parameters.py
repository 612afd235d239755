"""The parameters of an adapted model: which are pre-trained, which were added, which are trained, and their groups.

Pre-trained parameters have their names before modules were wrapped, added ones their names in the adapted model.
"""

import copy
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any, Optional

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from ..adapters.fast import HALF_PRECISION
from ..backbone.default_rates import default_rates
from ..backbone.parts import base_prefix, is_layer_norm
from ..config import AdapterConfig
from ..errors import UsageError
from ..methods.base import Method
from ..tensors.factorized_weight import FactorizedWeight

# adapters: parameters that the method adds. backbone: pre-trained ones that it trains, or their difference.
GROUPS = ("adapters", "backbone", "layer_norm", "head")


@dataclass
class Adaptation:
    """What was done to a model, as ``model.adaptation``: the data to train it, save it and undo it."""

    method: Method
    in_place: dict[str, set[str]]  # group -> names of the pre-trained parameters that are trained themselves
    plain: dict[str, str]  # name now -> name before, of every pre-trained parameter
    originals: dict[str, Tensor]  # the values before training
    requires_grad: dict[str, bool]  # each pre-trained parameter's flag before adaptation
    labels: dict[str, Any]  # the config's label fields before adaptation
    notes: dict[str, Any] = field(default_factory=dict)  # of the adapter that was loaded; saving it passes them on
    half: Optional[torch.dtype] = None  # the backbone's half precision; trained parameters are in float32 then
    off: bool = False  # within adapters_off(model) or updates_off(model)
    within_adapters_off: bool = False
    merged: Optional[list[tuple[nn.Linear, Tensor]]] = field(default=None, repr=False)  # the weights before merging
    frozen_by_merging: list[nn.Parameter] = field(default_factory=list, repr=False)  # unmerging unfreezes them
    # The names in the adapted model, which named_adapter.trained_by_present_name keeps here.
    trained_names: Optional[list[str]] = field(default=None, repr=False)

    @property
    def config(self) -> AdapterConfig:
        return self.method.config

    @property
    def merged_or_off(self) -> bool:
        """Return whether the adapters are merged into the weights, or switched off for a while."""
        return self.merged is not None or self.off


def labels_of(model: PreTrainedModel) -> dict[str, Any]:
    """Return a copy of the fields of the model's config about its labels."""
    return {name: copy.deepcopy(getattr(model.config, name)) for name in ("id2label", "label2id", "problem_type")}


def unwrapped(model: PreTrainedModel) -> PreTrainedModel:
    """Return the model inside a wrapper of ``torch.compile``, which puts a prefix before parameters' names."""
    return getattr(model, "_orig_mod", model)


def without_autocast(model: PreTrainedModel) -> torch.autocast:
    """Return a context in which products of weights have the weights' own precision, also within ``torch.autocast``.
    In its precision an update would be rounded, and then stored."""
    return torch.autocast(next(model.parameters()).device.type, enabled=False)


def adaptation_of(model: PreTrainedModel) -> Adaptation:
    """Return the record of an adapted model; raise UsageError if it is not adapted."""
    adaptation = getattr(model, "adaptation", None)
    if adaptation is None:
        raise UsageError("the model is not adapted; add_adapters(model, config) first")
    return adaptation


def not_merged(model: PreTrainedModel, before: str) -> Adaptation:
    """Return the record of an adapted model; raise UsageError if it is not adapted, or its adapters are merged.
    ``before`` says in the message what they are unmerged for."""
    adaptation = adaptation_of(model)
    if adaptation.merged is not None:
        raise UsageError(f"the adapters are merged into the weights; unmerge_adapters(model) before {before}")
    return adaptation


def not_off(adaptation: Adaptation) -> Adaptation:
    """Return the record of an adapted model; raise UsageError within ``adapters_off(model)``."""
    if adaptation.within_adapters_off:
        raise UsageError("leave adapters_off(model) first: within it the trained values are not in the model")
    return adaptation


def pretrained_parameters(model: PreTrainedModel) -> dict[str, nn.Parameter]:
    """Return all parameters that the method did not add, head included."""
    adaptation = getattr(model, "adaptation", None)
    if adaptation is None:
        return dict(model.named_parameters())
    named = model.named_parameters()
    return {adaptation.plain[name]: parameter for name, parameter in named if name in adaptation.plain}


def replaced(name: str) -> UsageError:
    """Return the error for a trained parameter in whose place the model has another one now."""
    return UsageError(f"{name} was replaced since add_adapters; put it back, or load a fresh model")


def check_present(adaptation: Adaptation, names: Collection[str]) -> None:
    """Raise UsageError if a trained pre-trained parameter is missing among ``names``, the names before adaptation. The
    parameters of a replaced head would be counted as adapters."""
    for name in adaptation.originals:
        if name not in names:
            raise replaced(name)


def precisions_before(model: PreTrainedModel) -> dict[str, torch.dtype]:
    """Return the dtype that each of the ``originals`` has without adapters. On a half-precision backbone this is the
    dtype of the frozen parameters, or if all are trained the original's, unless the model was converted since."""
    adaptation, pretrained = adaptation_of(model), pretrained_parameters(model)
    check_present(adaptation, pretrained)
    precisions = {name: pretrained[name].dtype for name in adaptation.originals}
    if adaptation.half is not None:
        frozen = next((p.dtype for name, p in pretrained.items() if name not in precisions), None)
        for name, original in adaptation.originals.items():
            if original.dtype in HALF_PRECISION and (frozen or precisions[name] == torch.float32):
                precisions[name] = frozen or original.dtype
    return precisions


def backbone_parameters(model: PreTrainedModel) -> dict[str, nn.Parameter]:
    """Return the base model's pre-trained parameters."""
    prefix = base_prefix(model)
    return {name: p for name, p in pretrained_parameters(model).items() if name.startswith(prefix)}


def added_parameters(model: PreTrainedModel) -> dict[str, nn.Parameter]:
    """Return the parameters that the method added (adapters, LoRA's matrices, differences), in the model's order."""
    plain = adaptation_of(model).plain
    return {name: parameter for name, parameter in model.named_parameters() if name not in plain}


def trained_groups(model: PreTrainedModel) -> dict[str, dict[str, nn.Parameter]]:
    """Return every trained parameter by its group (GROUPS) and its name, in the model's order."""
    adaptation, pretrained = adaptation_of(model), pretrained_parameters(model)
    check_present(adaptation, pretrained)
    in_place = adaptation.in_place
    groups = {group: {n: p for n, p in pretrained.items() if n in in_place.get(group, ())} for group in GROUPS}
    groups[adaptation.method.added_group] |= added_parameters(model)
    return groups


def trained_parameters(model: PreTrainedModel) -> dict[str, nn.Parameter]:
    """Return every trained parameter by its name."""
    return {name: p for group in trained_groups(model).values() for name, p in group.items()}


def count_trained(model: PreTrainedModel) -> dict[str, int]:
    """Return the counts adapters, backbone, layer_norm, head, trained, frozen, and ``model`` (backbone and head).

    ``trained / model`` is the percentage that the paper's tables give (108.31 M for bert-base-cased). Diff pruning
    counts its budget, the size of its final difference.

    Raises:
        UsageError: if the model is not adapted, or its head was replaced by one of another structure.
    """
    model = unwrapped(model)
    method = adaptation_of(model).method
    counts = {group: sum(p.numel() for p in ps.values()) for group, ps in trained_groups(model).items()}
    if method.budget is not None:
        counts[method.added_group] = method.budget
    return with_totals(counts, sum(p.numel() for p in pretrained_parameters(model).values()))


def with_totals(counts: dict[str, int], model: int) -> dict[str, int]:
    """Return the groups' counts with their sum, the number of frozen parameters, and the size of the model."""
    trained = sum(counts.values())
    return counts | {"trained": trained, "frozen": model - (trained - counts["adapters"]), "model": model}


def optimizer_groups(
    model: PreTrainedModel,
    learning_rate: Optional[float] = None,
    layer_norm: Optional[float] = None,
    head: Optional[float] = None,
    weight_decay: float = 0.0,
) -> list[dict[str, Any]]:
    """Return parameter groups for any torch optimizer: ``AdamW(optimizer_groups(model))``.

    The default rates are those of the command line. They depend on the method and on the size of the model.

    Args:
        model: an adapted model.
        learning_rate: of the adapters, as for a dense layer. One value serves every format and rank.
        layer_norm: the LayerNorms' rate as a multiple of ``learning_rate``, by default 2.5 up to MiniLM's size.
        head: the same for the classification head.
        weight_decay: of every weight except LayerNorms, biases, and scales such as (IA)3's vectors. Each factor of a
            weight gets a share of it, so that the assembled weight decays like a dense one.

    Raises:
        UsageError: if the model is not adapted, or its adapters are merged or off.
    """
    model = unwrapped(model)
    rate, multiples = default_rates(adaptation_of(model).config, model.config, learning_rate)
    given = {"layer_norm": layer_norm, "head": head}
    multiples |= {group: multiple for group, multiple in given.items() if multiple is not None}
    rates = {"adapters": rate, "backbone": rate} | {group: rate * multiple for group, multiple in multiples.items()}
    return groups_at(model, rates, weight_decay)


def groups_at(model: PreTrainedModel, rates: dict[str, float], weight_decay: float) -> list[dict[str, Any]]:
    """Return :func:`optimizer_groups` for a learning rate of each of GROUPS."""
    model = unwrapped(model)
    method, groups = not_off(not_merged(model, "training them")).method, trained_groups(model)
    return method.optimizer_groups(groups, rates, weight_decay, _shares_of_decay(model, groups))


def _shares_of_decay(model: PreTrainedModel, groups: dict[str, dict[str, nn.Parameter]]) -> dict[str, float]:
    """Return the share of the weight decay of each trained parameter, by name. LayerNorms and biases get none.

    A product of n factors shrinks n times as fast as each factor, so each factor gets 1 / n of the decay.
    """
    factors = [list(module.parameters()) for module in model.modules() if isinstance(module, FactorizedWeight)]
    of_factors = {id(factor): 1 / len(of_one) for of_one in factors for factor in of_one}
    shares = {name: of_factors.get(id(p), 1.0) for group in groups.values() for name, p in group.items()}
    shares |= adaptation_of(model).method.decay_shares(added_parameters(model))
    norms = tuple(f"{name}." for name, module in model.named_modules() if is_layer_norm(model, module))
    return shares | {name: 0.0 for name in shares if name.endswith("bias") or name.startswith(norms)}
