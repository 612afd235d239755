"""``add_adapters``, and the ``save_pretrained`` that it gives to a model. Transformers' own would write the inserted
parameters into a model's file, and ``from_pretrained`` would ignore them there."""

import sys
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any, Optional

import safetensors.torch
from torch import Tensor
from transformers import PreTrainedModel
from transformers.utils import SAFE_WEIGHTS_NAME

from ..adaptation.insertion import check_not_adapted, insert_method, trainable_in_inference_mode
from ..adaptation.named import active_adapter, adapter_names, load_named
from ..adaptation.parameters import adaptation_of, added_parameters, not_off, trained_parameters, unwrapped
from ..backbone.parts import check_not_offloaded
from ..config import AdapterConfig
from ..errors import UsageError
from ..runtime.files import write_atomically
from . import CONFIG_FILE
from .save import save_adapter


def add_adapters(
    model: PreTrainedModel,
    config: AdapterConfig,
    newly_initialized: Iterable[str] = (),
    name: Optional[str] = None,
) -> PreTrainedModel:
    """Freeze ``model`` itself, insert the method of ``config``, and mark as trainable what it trains.

    Everything outside the base model (the head) is trained too. So are ``newly_initialized`` parameters of the base,
    which ``from_pretrained`` did not find in the checkpoint (for some models the pooler). ``model.save_pretrained``
    writes the adapter's folder from here on, if the method inserted parameters.

    Args:
        model: a model for sequence classification, not adapted yet.
        config: the method and its settings.
        newly_initialized: parameter names, as in ``output_loading_info["missing_keys"]``.
        name: for ``set_adapter``. The model must have no adapter yet, or named ones. The new adapter is active then.

    Returns:
        The same model, with the record of the change as ``model.adaptation``.

    Raises:
        UsageError: if the model is adapted already, ``config`` is of another type, the method cannot be built on the
            model, its weights are offloaded, or the name is taken.
    """
    if not isinstance(config, AdapterConfig):
        kind = type(config).__name__
        raise UsageError(f"config is of the type {kind}; give AdapterConfig(adapter_projection_type='cp') or the like")
    if name is not None:
        load_named(model, name, lambda plain: add_adapters(plain, config, newly_initialized))
        return model
    model = unwrapped(model)
    if adapter_names(model) and active_adapter(model) is None:
        raise UsageError("the model's adapters have names; load_adapter(model, folder, name=...) adds one more")
    check_not_adapted(model)
    if hasattr(model, "peft_config"):
        raise UsageError("the model is adapted already by peft; load a fresh one")
    check_not_offloaded(model)
    with trainable_in_inference_mode(model):
        insert_method(model, config, newly_initialized)
    if (half := model.adaptation.half) is not None:
        precision = str(half).removeprefix("torch.")
        print(f"note: the model is in {precision}; what is trained is kept in float32", file=sys.stderr)
    model.save_pretrained = partial(_save_pretrained, model)  # pickles and copies of the model have their own
    return model


def _save_pretrained(
    model: PreTrainedModel,
    save_directory: str | Path,
    is_main_process: bool = True,
    state_dict: Optional[dict[str, Tensor]] = None,
    push_to_hub: bool = False,
    **options: Any,
) -> None:
    """Write the adapter's folder, as ``save_adapter`` does; the complete model if merged, or if nothing was added.
    ``push_to_hub`` and every Trainer's ``save_model`` call this as ``model.save_pretrained``.

    Args:
        save_directory: made if missing.
        is_main_process: other processes write nothing.
        state_dict: the values of the model, as a Trainer gathers them.
        push_to_hub, options: as in Transformers. Sharding applies to complete models only, since an adapter is one
            file.

    Raises:
        UsageError: if the folder holds a complete model instead of an adapter or the reverse, if the values are
            not the model's, within ``adapters_off``, and as ``save_adapter``.
    """
    folder = Path(save_directory)
    merged = adaptation_of(model).merged is not None
    if merged or not added_parameters(model):
        if (folder / CONFIG_FILE).exists():  # Transformers would take the folder for an adapter's
            raise UsageError(f"{folder} holds an adapter; name another folder for the complete model")
        not_off(adaptation_of(model))
        if merged:
            state_dict = plain_state(model, model.state_dict() if state_dict is None else state_dict)
        type(model).save_pretrained(model, folder, is_main_process, state_dict, push_to_hub, **options)
        return
    # Addresses are compared, since a wrapper around the model has other names for the same tensors.
    addresses = {value.data_ptr() for value in model.state_dict().values()}
    if state_dict is not None and not all(value.data_ptr() in addresses for value in state_dict.values()):
        raise UsageError("save_pretrained(state_dict=...): other values than the model's; save_adapter saves those")
    if not is_main_process:
        return
    save_adapter(model, folder)
    _write_for_trainer(model, folder)
    if push_to_hub:
        taken = ("commit_message", "create_pr", "private", "revision", "token")
        model.push_to_hub(options.get("repo_id", folder.name), **{k: options[k] for k in taken if k in options})


def plain_state(model: PreTrainedModel, state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the state of a merged model by the names before it was adapted, without added parameters."""
    plain, ours = adaptation_of(model).plain, {id(parameter) for parameter in added_parameters(model).values()}
    # All names of a parameter that several sites share, as in a state dict.
    added = {name for name, p in model.named_parameters(remove_duplicate=False) if id(p) in ours}
    return {plain.get(name, name): value for name, value in state.items() if name not in added}


def _write_for_trainer(model: PreTrainedModel, folder: Path) -> None:
    """Write every trained parameter by its name in the adapted model, beside the adapter. A Trainer resumes from this
    file and loads its best model from it. Only this file holds diff pruning's dense search."""
    now = {id(parameter): name for name, parameter in model.named_parameters()}
    state = {now[id(p)]: p.detach().cpu().contiguous() for p in trained_parameters(model).values()}
    write_atomically(folder / SAFE_WEIGHTS_NAME, safetensors.torch.save(state, metadata={"format": "pt"}))
