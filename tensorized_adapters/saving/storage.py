"""What of a trained model goes into its file, under which names, and back: per method, where it is not simply all."""

import torch
from torch import Tensor
from transformers import PreTrainedModel

from ..errors import UsageError
from ..methods.adapting import trained_parameters
from ..methods.backbone import backbone_parameters
from ..methods.lora import name_of_peft, peft_name

INDICES, VALUES = ".indices", ".values"  # of a sparse difference, after the parameter's name


def tensors_to_store(model: PreTrainedModel) -> dict[str, Tensor]:
    """Every trained tensor by its name; of diff pruning the head, and for each changed parameter two vectors:
    int32 positions in the flattened parameter, in ascending order, and the differences there."""
    if model.adapter_config.method != "diff_pruning":
        trained = trained_parameters(model)
    else:
        names = model.trained_in_place["head"]
        trained = {name: p for name, p in model.named_parameters() if name in names}
        for name, (indices, values) in model.difference.prune().items():
            if len(indices):
                trained |= {name + INDICES: indices.to(torch.int32), name + VALUES: values}
    return {name: tensor.detach().cpu().contiguous() for name, tensor in trained.items()}


def file_names(method: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Renamed as in the file: LoRA's is also one of peft."""
    return {peft_name(name): t for name, t in tensors.items()} if method == "lora" else tensors


def names_of_file(method: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The inverse of :func:`file_names`."""
    return {name_of_peft(name): t for name, t in tensors.items()} if method == "lora" else tensors


def check_tensors(model: PreTrainedModel, tensors: dict[str, Tensor], folder: object) -> None:
    """Refuse tensors that are not exactly those of the adapted ``model``; raises UsageError naming ``folder``."""
    if model.adapter_config.method == "diff_pruning":
        _check_difference(model, tensors, folder)
        expected = {name: p for name, p in model.named_parameters() if name in model.trained_in_place["head"]}
        tensors = {name: tensor for name, tensor in tensors.items() if not name.endswith((INDICES, VALUES))}
    else:
        expected = trained_parameters(model)
    odd = sorted(set(expected) ^ set(tensors))
    if odd:
        raise UsageError(
            f"{folder} does not fit its own settings: {len(odd)} tensors missing or foreign, {odd[0]} first"
        )
    for name, tensor in tensors.items():
        if tensor.shape != expected[name].shape:
            raise UsageError(
                f"{folder} does not fit: {name} is {tuple(tensor.shape)}, expected {tuple(expected[name].shape)}"
            )


@torch.no_grad()
def put_tensors(model: PreTrainedModel, tensors: dict[str, Tensor]) -> None:
    """Make ``tensors``, which were checked, the trained state of ``model``."""
    if model.adapter_config.method == "diff_pruning":
        kept = {}
        for name, parameter in backbone_parameters(model).items():
            if name in model.difference.parts:
                indices = tensors.get(name + INDICES, torch.empty(0, dtype=torch.int32))
                values = tensors.get(name + VALUES, torch.empty(0))
                kept[name] = (
                    indices.to(parameter.device, torch.int64),
                    values.to(parameter.device, parameter.dtype, copy=True),
                )
        model.difference.fix(kept)
    for name, parameter in trained_parameters(model).items():
        if name in tensors:
            parameter.copy_(tensors[name])


def _check_difference(model: PreTrainedModel, tensors: dict[str, Tensor], folder: object) -> None:
    backbone, count = backbone_parameters(model), 0
    for name in {name.removesuffix(INDICES).removesuffix(VALUES) for name in tensors} - model.trained_in_place["head"]:
        indices, values = tensors.get(name + INDICES), tensors.get(name + VALUES)
        if name not in model.difference.parts or indices is None or values is None:
            raise UsageError(f"{folder} does not fit: it changes {name}, which this model does not have whole")
        whole = indices.dtype == torch.int32 and indices.ndim == 1 and indices.shape == values.shape
        ascending = whole and len(indices) > 0 and bool((indices.diff() > 0).all())
        if not ascending or indices[0] < 0 or indices[-1] >= backbone[name].numel():
            raise UsageError(f"{folder} does not fit: the positions that it changes in {name} are not positions")
        count += len(indices)
    if count != model.difference.budget:
        raise UsageError(f"{folder} does not fit: it changes {count:,} numbers, not {model.difference.budget:,}")
