"""Makes a trained dense adapter a tensorized one by decomposing its matrices. Other trained parameters stay."""

import bisect
import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Optional

import torch
from transformers import PreTrainedModel

from ..adaptation.lifecycle import remove_adapters
from ..adaptation.named import active_adapter
from ..adaptation.parameters import adaptation_of, labels_of, not_off, pretrained_parameters, unwrapped
from ..adapters.dense import DenseAdapter
from ..adapters.insertion import CHILD, adapters_of
from ..adapters.tensorized import BottleneckAdapter, new_adapters
from ..backbone.parts import base_prefix
from ..config import AdapterConfig
from ..errors import UsageError, quoted
from ..methods.tensorized import Tensorized
from ..saving.pretrained import add_adapters
from ..tensors.decompositions import decompose_
from ..tensors.ranks import largest_rank

# The notes that a compressed adapter keeps. The dense adapter's measurements are left out.
_KEPT_NOTES = ("task", "texts", "text_column_delimiter", "label", "label_separator", "max_seq_length", "tokenizer")
_KEPT_NOTES += ("seed", "validation_fraction", "trained_texts")  # they tell which texts it was trained on


@dataclass(frozen=True)
class CompressedSite:
    """The result for one site's adapter: |W - dense| / |dense| (Frobenius) of both weights, and parameters."""

    site: str
    down_error: float
    up_error: float
    parameters_before: int
    parameters_after: int


_Found = list[tuple[BottleneckAdapter, CompressedSite]]
_Dense = list[tuple[str, DenseAdapter]]


def compress_adapter(
    model: PreTrainedModel,
    adapter_projection_type: str,
    rank: Optional[int] = None,
    target_error: Optional[float] = None,
) -> list[CompressedSite]:
    """Turn the dense adapters of ``model`` into tensorized ones, which can be evaluated, saved and trained as usual.

    LayerNorms and head stay as trained. The biases of dense adapters are left out, as tensorized ones have none. The
    notes of a loaded adapter stay, but for its measurements.

    Args:
        model: adapted by the method "dense", and trained.
        adapter_projection_type: cp, tucker, tt, tr or matrix.
        rank: of every weight. Give this or ``target_error``.
        target_error: between 0 and 1. The rank is the smallest at which no weight's relative error is above it.

    Returns:
        Each site's errors and sizes, from the first layer to the last.

    Raises:
        UsageError: if the adapters are not dense ones or have a name, if the format cannot use the rank, if no rank
            reaches the target, or if not exactly one of the two is given. The model is as before then.
    """
    model = unwrapped(model)
    adaptation = adaptation_of(model)
    if (name := active_adapter(model)) is not None:  # the next steps remove every adapter of the model
        raise UsageError(
            f"the adapter {quoted(name)} is one of several with names on this model; to compress it, "
            f"save_adapter(model, folder, name={quoted(name)}) and load_adapter without name= on a fresh base model"
        )
    if adaptation.config.method != "dense":
        flaw = f"only dense adapters are compressed, and this one is {adaptation.config.describe()}"
        raise UsageError(f"{flaw}; take one that was trained with --method dense")
    not_off(adaptation)
    if (rank is None) == (target_error is None):
        raise UsageError("give either --rank or --target_error")
    if target_error is not None and not 0 < target_error < 1:
        raise UsageError(f"--target_error must be a number above 0 and below 1, got {quoted(target_error)}")
    dense = [(name.removesuffix(f".{CHILD}"), adapter) for name, adapter in adapters_of(model)]
    # The drawn starts are overwritten. The matrices of least squares are far too small for threads.
    with torch.random.fork_rng(devices=[]), _one_thread():
        config = compressed_config(model, adapter_projection_type, 1 if rank is None else rank)
        if target_error is None:
            found = list(_decomposed(config, model, dense))
        else:
            config, found = _within(config, model, dense, target_error)
        _replace(model, config, [adapter for adapter, _ in found])
    return [site for _, site in found]


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    """Limit the block to one thread. Two took forty times as long, and one gives the same result on any machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def compressed_config(model: PreTrainedModel, adapter_projection_type: str, rank: int) -> AdapterConfig:
    """Return the config after compression; raise UsageError if the format cannot use the ``--rank``."""
    fields = ("adapter_size", "adapter_sites", "adapter_layers", "train_layer_norm")
    same = {name: getattr(adaptation_of(model).config, name) for name in fields}
    config = AdapterConfig(adapter_projection_type=adapter_projection_type, tensorized_layer_rank=rank, **same)
    try:
        Tensorized(config).check(model)
    except UsageError as error:
        raise UsageError(str(error).replace("--tensorized_layer_rank", "--rank")) from None
    return config


def _within(
    config: AdapterConfig, model: PreTrainedModel, dense: _Dense, target: float
) -> tuple[AdapterConfig, _Found]:
    """Return the smallest rank whose errors are all within the target, by bisection, as errors fall with the rank."""
    kind = config.adapter_projection_type
    largest = largest_rank(kind, [view for view, _ in Tensorized(config).tensors_of(model)])
    tried: dict[int, _Found | float] = {}

    def fits(rank: int) -> bool:
        tried[rank] = _attempt(config, model, dense, rank, target)
        return isinstance(tried[rank], list)

    rank = 1 + bisect.bisect_left(range(1, largest + 1), True, key=fits)
    if rank > largest:  # the bisection then tried the largest last
        raise UsageError(
            f"--target_error {target:g} is out of reach: at its largest rank, {largest}, {kind} leaves an error of "
            f"{tried[largest]:.3f} in a weight; give a larger one, or another --adapter_projection_type"
        )
    return replace(config, tensorized_layer_rank=rank), tried[rank]


def _attempt(config: AdapterConfig, model: PreTrainedModel, dense: _Dense, rank: int, target: float) -> _Found | float:
    """Return the adapters of all sites, decomposed at a rank, or the first error of a site above the target."""
    found: _Found = []
    for adapter, site in _decomposed(replace(config, tensorized_layer_rank=rank), model, dense):
        if (error := max(site.down_error, site.up_error)) > target:
            return error
        found.append((adapter, site))
    return found


def _decomposed(
    config: AdapterConfig, model: PreTrainedModel, dense: _Dense
) -> Iterator[tuple[BottleneckAdapter, CompressedSite]]:
    for (name, old), new in zip(dense, new_adapters(config, model.config.hidden_size, len(dense))):
        pairs = ((new.down, old.down), (new.up, old.up))
        errors = [decompose_(weight, layer.weight.detach().cpu().mT) for weight, layer in pairs]
        sizes = [sum(parameter.numel() for parameter in adapter.parameters()) for adapter in (old, new)]
        yield new, CompressedSite(name, *errors, *sizes)


@torch.no_grad()
def _replace(model: PreTrainedModel, config: AdapterConfig, adapters: list[BottleneckAdapter]) -> None:
    """Replace the model's adapters. Other trained parameters keep their values and their requires_grad."""
    adaptation, pretrained, labels = adaptation_of(model), pretrained_parameters(model), labels_of(model)
    trained = {name: (pretrained[name].clone(), pretrained[name].requires_grad) for name in adaptation.originals}
    new = [name for name in adaptation.in_place["head"] if name.startswith(base_prefix(model))]
    notes = {name: adaptation.notes[name] for name in _KEPT_NOTES if name in adaptation.notes}
    remove_adapters(model)
    add_adapters(model, config, newly_initialized=new)
    adaptation_of(model).notes = notes | {"compressed_from": adaptation.config.describe()}
    for (_, new_one), adapter in zip(adapters_of(model), adapters):
        new_one.load_state_dict(adapter.state_dict())
    for name, parameter in pretrained_parameters(model).items():
        if name in trained:
            value, parameter.requires_grad = trained[name]
            parameter.copy_(value)
    model.config.update(labels)
