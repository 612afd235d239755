"""Transformers' ``save_pretrained`` on an adapted model, which anybody's Trainer calls too.

Its own would write the adapters beside the weights under names that ``from_pretrained`` does not know: it would load
the model without them, and mention "unexpected" weights that "can be ignored".
"""

import os
from pathlib import Path
from types import MethodType
from typing import Any, Optional

from torch import Tensor
from transformers import PreTrainedModel

from ..errors import UsageError
from .parameters import adaptation_of, added_parameters


def write_as_adapted(model: PreTrainedModel) -> None:
    """From now on ``model.save_pretrained`` is :func:`save_pretrained`; on this model, and on copies of it."""
    model.save_pretrained = MethodType(save_pretrained, model)


def write_as_before(model: PreTrainedModel) -> None:
    model.__dict__.pop("save_pretrained", None)


def save_pretrained(
    model: PreTrainedModel,
    save_directory: str | os.PathLike,
    is_main_process: bool = True,
    state_dict: Optional[dict[str, Tensor]] = None,
    push_to_hub: bool = False,
    **options: Any,
) -> None:
    """Write what is needed to have this model again.

    - An adapter folder, as ``save_adapter`` does: ``load_adapter`` puts it on the base model again.
    - After ``merge_adapters``, and where a method trains pre-trained parameters in place and adds none (``full``,
      ``bitfit``, ``layer_norm``, ``head``): an ordinary model, which ``from_pretrained`` loads to equal outputs.

    Args:
        state_dict: as Trainer passes it; of an adapter folder the model's own is written.
        options: Transformers' own, for an ordinary model.

    Raises:
        UsageError: an adapter folder is to be pushed, or cannot be written; see ``save_adapter``.
    """
    adaptation = adaptation_of(model)
    if adaptation.merged is not None or not added_parameters(model):
        plain = _without_adapters(model, model.state_dict() if state_dict is None else state_dict)
        ours = (Path(save_directory), is_main_process, plain, push_to_hub)
        type(model).save_pretrained(model, *ours, **options)
        return
    if push_to_hub:
        raise UsageError("save_pretrained does not push adapters to the hub; save_adapter(model, folder), and push it")
    if is_main_process:
        from .. import save_adapter  # by the public door: methods know nothing of files

        save_adapter(model, save_directory)


def _without_adapters(model: PreTrainedModel, state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The pre-trained model's own tensors, under its own names; buffers among them."""
    adaptation, added = adaptation_of(model), added_parameters(model)
    return {adaptation.plain.get(name, name): tensor for name, tensor in state.items() if name not in added}
