"""A state dict of all that is trained lacks nothing of an adapted model: the frozen backbone is in no checkpoint.

Without this a Trainer that resumes warns of every frozen parameter as a missing key.
"""

from typing import Any

from transformers import PreTrainedModel

from .parameters import trained_parameters


def accept_trained_states(model: PreTrainedModel) -> None:
    """Let ``load_state_dict`` report no missing keys for a state of exactly what is trained."""
    model.register_load_state_dict_post_hook(_forget_frozen)


def refuse_trained_states(model: PreTrainedModel) -> None:
    """Undo :func:`accept_trained_states`."""
    hooks = model._load_state_dict_post_hooks
    for key in [key for key, hook in hooks.items() if hook is _forget_frozen]:
        del hooks[key]


def _forget_frozen(model: PreTrainedModel, incompatible: Any) -> None:
    missing = set(incompatible.missing_keys)
    if missing and getattr(model, "adaptation", None) is not None:
        named = model.named_parameters(remove_duplicate=False)  # a file has a shared parameter under one of its names
        loaded = {id(parameter) for name, parameter in named if name not in missing}
        if loaded == {id(parameter) for parameter in trained_parameters(model).values()}:
            incompatible.missing_keys.clear()
