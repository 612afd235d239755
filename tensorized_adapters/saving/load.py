"""Loading a saved adapter onto a model."""

from collections import Counter
from pathlib import Path
from typing import Any, Literal, Optional

import torch
from torch import Tensor
from transformers import MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING, PreTrainedModel

from ..adaptation.forward import alone
from ..adaptation.insertion import trainable_in_inference_mode
from ..adaptation.lifecycle import remove_adapters
from ..adaptation.named import load_named
from ..adaptation.parameters import (
    adaptation_of,
    added_parameters,
    not_merged,
    not_off,
    pretrained_parameters,
    trained_groups,
    trained_parameters,
    unwrapped,
)
from ..backbone.parts import base_prefix, check_not_offloaded
from ..config import MULTI_LABEL, REGRESSION, AdapterConfig
from ..errors import UsageError, quoted
from ..methods.registry import method_of
from .fingerprint import config_differences, is_base, token_count
from .hub import resolved_revision
from .manifest import read_adapter
from .pretrained import add_adapters


def load_adapter(
    model: PreTrainedModel,
    folder: str | Path,
    name: Optional[str] = None,
    *,
    new_head: bool = False,
    revision: Optional[str] = None,
    token: Optional[str] = None,
) -> PreTrainedModel:
    """Adapt ``model`` as the folder says and load every trained tensor. Tensors must fit exactly.

    With a name, the model can hold several adapters, which share the backbone and may be of any method. The loaded one
    is active until ``set_adapter``.

    Args:
        model: the base model with a head for the same number of labels; plain, or adapted with equal settings.
        folder: a folder that :func:`save_adapter` wrote, a checkpoint or run folder with one as ``adapter/``, or on
            the Hugging Face hub "owner/name" or "owner/name@revision".
        name: for ``set_adapter`` and ``model(..., adapter_names=[...])``. The model must have no adapter yet, or named
            ones.
        new_head: start another task from this adapter. Everything is loaded but the head: the model keeps its head
            and labels, whose number may differ.
        revision: branch, tag or commit of the hub's repository; without a commit, a line says which one is used.
        token: for a private repository, if it is not the one of ``hf auth login`` or ``HF_TOKEN``.

    Returns:
        The same model, with ``config.id2label``, ``label2id`` and ``problem_type`` of the adapter, and with its notes
        as ``adaptation.notes``, which :func:`save_adapter` passes on. With ``new_head`` the model keeps its labels,
        and the notes are left out, since they describe another task.

    Raises:
        UsageError: missing, truncated or altered files, another base model, another number of labels (without
            ``new_head``), tensors that do not fit; the model's own adapters are merged or off; another thread computes
            with them; the name is taken; or the hub does not give the repository.
    """
    folder = resolved_revision(folder, revision, token)
    if name is not None:
        load_named(model, name, lambda plain: load_adapter(plain, folder, new_head=new_head))
        return model
    model = unwrapped(model)
    with alone(model):
        return _loaded(model, folder, new_head)


def _loaded(model: PreTrainedModel, folder: Path, new_head: bool) -> PreTrainedModel:
    """Return the model with the adapter of a local folder; see :func:`load_adapter`."""
    adaptation = getattr(model, "adaptation", None)
    if adaptation is not None:
        not_off(not_merged(model, "loading others"))
    check_not_offloaded(model)
    record, tensors = read_adapter(folder)
    config = check_adapter_fits(model, record, tensors, folder, labels="any" if new_head else "same number")
    id2label, problem_type = {int(key): value for key, value in record["id2label"].items()}, record["problem_type"]
    notes = {} if new_head else record["notes"]
    fresh = adaptation is None
    if fresh:  # check the sizes before memory is allocated
        method, held = method_of(config), sum(tensor.numel() for tensor in tensors.values())
        try:
            method.check(model)
            if (wanted := method.added_count(model)) > held:
                raise UsageError(f"{wanted:,} numbers in the adapters of its settings, {held:,} in its file")
            add_adapters(model, config, newly_initialized=record["newly_initialized"])
        except UsageError as error:
            raise UsageError(f"{folder} does not fit the model: {error}") from None
    method, trained = adaptation_of(model).method, trained_parameters(model)
    try:
        if new_head:
            tensors = _with_head_of(model, tensors)
        method.check_tensors(trained, tensors)
        _check_finite(model, trained, tensors)
        with trainable_in_inference_mode(model):
            method.put_tensors(trained, tensors)
    except BaseException as error:
        if fresh:
            remove_adapters(model)
        if isinstance(error, UsageError):
            raise UsageError(f"{folder} {error}") from None
        raise
    adaptation_of(model).notes = notes
    if new_head:
        return model
    model.config.id2label, model.config.label2id = id2label, {value: key for key, value in id2label.items()}
    model.config.problem_type = problem_type
    return model


def _with_head_of(model: PreTrainedModel, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the file's tensors with the model's present head; raise UsageError if the file holds only a head."""
    prefix, added = base_prefix(model), added_parameters(model)
    pretrained = pretrained_parameters(model)
    kept = {name: tensor for name, tensor in tensors.items() if name.startswith(prefix) or name in added}
    if not kept:
        raise UsageError("holds only a head, so nothing of it would remain with a new head")
    head = {name for name in adaptation_of(model).in_place["head"] if not name.startswith(prefix)}
    return kept | {name: pretrained[name].detach().clone() for name in head}


def _check_finite(model: PreTrainedModel, trained: dict[str, Tensor], tensors: dict[str, Tensor]) -> None:
    """Refuse numbers that are not finite in the precision of the model; raise UsageError."""
    for name, tensor in tensors.items():
        dtype = trained[name].dtype if name in trained else model.dtype
        if tensor.is_floating_point() and not torch.isfinite(tensor.to(dtype)).all():
            raise UsageError(f"does not fit: {name} holds numbers that are too large for {dtype}")


def check_adapter_fits(
    model: PreTrainedModel,
    record: dict[str, Any],
    tensors: dict[str, Tensor],
    folder: str | Path,
    labels: Literal["same number", "same names", "any"],
) -> AdapterConfig:
    """Return the settings of an adapter that was read, if it fits the model, adapted or not; raise UsageError if not.

    Args:
        labels: what the adapter and the model must share of their labels. A checkpoint is only resumed for the same
            names; a new head takes any labels, since the stored head is not loaded.
    """
    config = AdapterConfig.from_dict(record["adapter"])
    _check_base(model, record, tensors, folder, labels)
    names = {str(key): value for key, value in model.config.id2label.items()}
    task = names, model.config.problem_type
    if labels == "same names" and (record["id2label"], record["problem_type"]) != task:
        raise UsageError(f"{folder} is of another task: its labels are {list(record['id2label'].values())}")
    adaptation = getattr(model, "adaptation", None)
    if adaptation is not None and (present := adaptation.config.to_dict()) != (stored := config.to_dict()):
        changed = sorted(name for name in stored.keys() & present.keys() if stored[name] != present[name])
        changes = ", ".join(f"{name} {stored[name]} there, {present[name]} here" for name in changed)
        raise UsageError(
            f"{folder} holds {config.describe()}, the model was adapted with {adaptation.config.describe()} "
            f"({changes})"
        )
    return config


def _check_base(
    model: PreTrainedModel, record: dict[str, Any], tensors: dict[str, Tensor], folder: str | Path, labels: str
) -> None:
    """Refuse a model that is not the base of an adapter that was read, or has another head; raise UsageError."""
    base, another = record["base_model"], f"{folder} was trained on another base model"
    stored, present = quoted(base["name"]), quoted(model.config._name_or_path or "this model")
    if base["model_type"] != model.config.model_type:
        raise UsageError(
            f"{another}: {stored} is a {base['model_type']} model, and {present} a {model.config.model_type} model"
        )
    kind, classifier = type(model), MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING.get(type(model.config), None)
    other_kind = classifier is not None and not issubclass(kind, classifier)
    not_a_classifier = (
        f"{folder} is for a model that classifies sequences, and a {kind.__name__} is a model of another kind; load "
        "it with AutoModelForSequenceClassification"
    )
    head = {name for name in tensors if not name.startswith(f"{model.base_model_prefix}.")}
    lacking = head - pretrained_parameters(model).keys()
    if other_kind and lacking and (base_prefix(model) or lacking == head):  # a bare model lacks the added ones as well
        raise UsageError(not_a_classifier)
    if labels != "any" and model.config.num_labels != record["num_labels"]:
        raise UsageError(
            f"{folder} was trained for {record['num_labels']} labels, the model's head has {model.config.num_labels}"
        )
    if found := config_differences(base, model, new_head=labels == "any"):
        fields = ", ".join(f"{name}: {quoted(there)} there, {quoted(here)} here" for name, there, here in found)
        raise UsageError(f"{another}: the configuration of {present} is not that of {stored} ({fields})")
    if is_base(base, model, tensors, record["newly_initialized"]):
        return
    if other_kind:  # such as BertForTokenClassification: equal names of the head, and no pooler
        raise UsageError(not_a_classifier)
    here, there = token_count(model), base["tokens"]
    if here != there:
        trained = f"{folder} was trained on a base model of {there:,} tokens, {stored}, and {present} has {here:,}"
        without = "without resize_token_embeddings, or resize it after load_adapter"
        advice = without if here > there else "with the tokens that were added to it before the training"
        raise UsageError(f"{trained}; load the model {advice}")
    raise UsageError(f"{another}: the frozen weights of {present} are not those of {stored}")


def kept_and_new(model: PreTrainedModel, saved: dict[str, Any]) -> str:
    """Return a line about ``--new_head``: how many parameters come from the adapter of ``saved``, how many are new."""
    kept, new = Counter(), 0
    for group, parameters in trained_groups(model).items():
        for name, parameter in parameters.items():
            if group == "head" and not name.startswith(base_prefix(model)):
                new += parameter.numel()
            else:
                kept[{"layer_norm": "LayerNorms", "head": "pooler"}.get(group, group)] += parameter.numel()
    task = quoted(saved["notes"].get("task") or "a task")
    before = _predicted(saved["problem_type"], saved["num_labels"])
    now = _predicted(model.config.problem_type, model.config.num_labels)
    numbers = ", ".join(f"{name} ({count:,})" for name, count in kept.items())
    return f"--new_head: kept from {task} ({before}): {numbers}; new: the head ({new:,}), for {now}"


def _predicted(problem_type: Optional[str], count: int) -> str:
    """Return what a model of that type of problem predicts."""
    if problem_type == REGRESSION:
        return "scores"
    return f"{count} labels" if problem_type == MULTI_LABEL else f"{count} classes"
