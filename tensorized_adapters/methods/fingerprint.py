"""What identifies a frozen base model: its contents, wherever it is stored and however it is called."""

import hashlib
from collections.abc import Iterable

import torch
from transformers import PreTrainedModel

from ..architectures import base_prefix
from .parameters import backbone_parameters


def base_fingerprint(model: PreTrainedModel, trained: Iterable[str], head: Iterable[str] = ()) -> str:
    """sha256 over names, shapes and contents (as float32) of the base model's parameters that stay as they were.

    A moved or renamed base has the same fingerprint, and so has one stored in float16 whichever way it is loaded; a
    same-shaped other one has not. Kept with an adapted model until a frozen parameter changes.

    Args:
        model: adapted or not.
        trained: names of what is trained. If it leaves nothing, the base is told by what it was before training.
        head: names of what was newly initialised in the base, and is no part of it as it was pre-trained.
    """
    prefix, adaptation = base_prefix(model), getattr(model, "adaptation", None)
    originals = adaptation.originals if adaptation else {}
    base = {name: originals.get(name, parameter) for name, parameter in sorted(backbone_parameters(model).items())}
    trained, head = frozenset(trained), frozenset(head)
    told_by = [name for name in base if name not in trained] or [name for name in base if name not in head]
    state = [(name, base[name].data_ptr(), base[name]._version) for name in told_by]
    if adaptation and adaptation.fingerprint and adaptation.fingerprint[0] == state:
        return adaptation.fingerprint[1]
    digest = hashlib.sha256()
    for name in told_by:
        values = base[name].detach().to("cpu", torch.float32).contiguous()
        digest.update(f"{name.removeprefix(prefix)} {tuple(values.shape)}\n".encode())
        digest.update(values.view(torch.uint8).numpy())
    if adaptation:
        adaptation.fingerprint = (state, digest.hexdigest())
    return digest.hexdigest()
