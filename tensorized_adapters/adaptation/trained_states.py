"""Lets an adapted model load a state dict of its trained parameters alone, as a checkpoint holds them.

Without this a Trainer that resumes would report every frozen parameter as a missing key.
"""

from typing import Any

from transformers import PreTrainedModel

from .parameters import trained_parameters


def accept_trained_states(model: PreTrainedModel) -> None:
    """Let ``load_state_dict`` report no missing keys if a state holds exactly the trained parameters."""
    model.register_load_state_dict_post_hook(_forget_frozen)


def refuse_trained_states(model: PreTrainedModel) -> None:
    """Undo :func:`accept_trained_states`."""
    hooks = model._load_state_dict_post_hooks
    for key in [key for key, hook in hooks.items() if hook is _forget_frozen]:
        del hooks[key]


def _forget_frozen(model: PreTrainedModel, incompatible: Any) -> None:
    missing = set(incompatible.missing_keys)
    if missing and getattr(model, "adaptation", None) is not None:
        named = model.named_parameters(remove_duplicate=False)  # a file has one name for a shared parameter
        loaded = {id(parameter) for name, parameter in named if name not in missing}
        if loaded == {id(parameter) for parameter in trained_parameters(model).values()}:
            incompatible.missing_keys.clear()
