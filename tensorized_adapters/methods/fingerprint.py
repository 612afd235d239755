"""What identifies a frozen base model: its contents, wherever it is stored and however it is called."""

import hashlib
from collections.abc import Iterable

import torch
from transformers import PreTrainedModel

from ..architectures import base_prefix
from .backbone import backbone_parameters


def base_fingerprint(model: PreTrainedModel, trained: Iterable[str]) -> str:
    """sha256 over names, shapes and contents (as float32) of the base model's parameters that are not in ``trained``.

    A moved or renamed base has the same fingerprint, and so has one stored in float16 whichever way it is loaded; a
    same-shaped other one has not. Kept with the model until a frozen parameter changes.
    """
    prefix, trained = base_prefix(model), frozenset(trained)
    frozen = sorted((name, p) for name, p in backbone_parameters(model).items() if name not in trained)
    state = [(name, p.data_ptr(), p._version) for name, p in frozen]
    known = getattr(model, "_base_fingerprint", None)
    if known is not None and known[0] == state:
        return known[1]
    digest = hashlib.sha256()
    for name, parameter in frozen:
        values = parameter.detach().to("cpu", torch.float32).contiguous()
        digest.update(f"{name.removeprefix(prefix)} {tuple(values.shape)}\n".encode())
        digest.update(values.view(torch.uint8).numpy())
    model._base_fingerprint = (state, digest.hexdigest())
    return digest.hexdigest()
