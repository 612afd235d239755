"""What identifies a frozen base model: its contents, wherever it is stored, however it is called, and in whatever
precision it is loaded."""

import hashlib
from collections.abc import Iterable
from typing import Any, Optional

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedModel

from ..adaptation.parameters import backbone_parameters
from ..backbone.parts import base_prefix

PRECISIONS = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
SAMPLE_SIZE = 64
# Two roundings of one number differ by at most these: a share of it (of bfloat16), and float16's least step.
_SHARE, _STEP = 2.0**-8, 2.0**-24


def base_identity(model: PreTrainedModel, trained: Iterable[str], head: Iterable[str] = ()) -> dict[str, str]:
    """What an adapter's file keeps of its base.

    ``fingerprint``, ``dtype``, the precision in which that was taken, and ``sample``, a few of the numbers, by which
    the base is known where its fingerprint cannot be had again.

    Args:
        model, trained, head: as of :func:`base_fingerprint`.
    """
    values = _values_that_stay(model, trained, head)
    precision = _precision_of(values)
    return {
        "fingerprint": base_fingerprint(model, trained, head, precision),
        "dtype": precision,
        "sample": _sample_of(values).tobytes().hex(),
    }


def is_base(
    recorded: dict[str, Any], model: PreTrainedModel, trained: Iterable[str], head: Iterable[str] = ()
) -> bool:
    """Whether ``model`` has the frozen weights of a :func:`base_identity`, each of the two in its own precision.

    In the recorded precision, or one that holds more, the weights must be equal bit for bit after rounding. In
    another, where nothing gives back the recorded bits, the sample must be equal up to both roundings.

    Args:
        recorded: what an earlier version wrote is a fingerprint alone, of a precision that it does not tell.
        model, trained, head: as of :func:`base_fingerprint`.
    """
    trained, head = frozenset(trained), frozenset(head)
    precision = recorded.get("dtype")
    if precision is None:
        tried: tuple[Optional[str], ...] = (None, "bfloat16", "float16")
        return any(base_fingerprint(model, trained, head, each) == recorded["fingerprint"] for each in tried)
    values = _values_that_stay(model, trained, head)
    if _precision_of(values) in ("float32", precision):
        return base_fingerprint(model, trained, head, precision) == recorded["fingerprint"]
    theirs, ours = np.frombuffer(bytes.fromhex(recorded["sample"]), "<f4"), _sample_of(values)
    return theirs.shape == ours.shape and np.allclose(theirs, ours, rtol=_SHARE, atol=_STEP, equal_nan=True)


def token_count(model: PreTrainedModel) -> int:
    """How many tokens the model has embeddings for; ``resize_token_embeddings`` makes another base model of it."""
    return model.get_input_embeddings().weight.shape[0]


def base_fingerprint(
    model: PreTrainedModel, trained: Iterable[str], head: Iterable[str] = (), precision: Optional[str] = None
) -> str:
    """sha256 over names, shapes and contents (as float32) of the base model's parameters that stay as they were.

    A moved or renamed base has the same fingerprint; a same-shaped other one has not. It is computed anew each time (a
    second or so for BERT base): a change through ``parameter.data`` leaves no trace by which a remembered one would be
    known to be out of date.

    Args:
        model: adapted or not.
        trained: names of what is trained. If it leaves nothing, the base is told by what it was before training.
        head: names of what was newly initialised in the base, and is no part of it as it was pre-trained.
        precision: one of PRECISIONS to which the contents are rounded first; as they are by default.
    """
    prefix, digest = base_prefix(model), hashlib.sha256()
    for name, value in _values_that_stay(model, trained, head).items():
        value = value.detach().cpu()
        rounded = value if precision is None else value.to(PRECISIONS[precision])
        content = rounded.to(torch.float32).contiguous()
        digest.update(f"{name.removeprefix(prefix)} {tuple(content.shape)}\n".encode())
        digest.update(content.view(torch.uint8).numpy())
    return digest.hexdigest()


def _values_that_stay(model: PreTrainedModel, trained: Iterable[str], head: Iterable[str]) -> dict[str, Tensor]:
    """The parameters by which the base is told, by name in sorted order."""
    adaptation = getattr(model, "adaptation", None)
    originals = adaptation.originals if adaptation else {}
    base = {name: originals.get(name, parameter) for name, parameter in sorted(backbone_parameters(model).items())}
    trained, head = frozenset(trained), frozenset(head)
    told_by = [name for name in base if name not in trained] or [name for name in base if name not in head]
    return {name: base[name] for name in told_by}


def _precision_of(values: dict[str, Tensor]) -> str:
    """The coarsest precision among the values; float64 is taken for float32, which it once was."""
    kinds = {value.dtype for value in values.values()}
    return next((name for name in ("bfloat16", "float16") if PRECISIONS[name] in kinds), "float32")


def _sample_of(values: dict[str, Tensor]) -> np.ndarray:
    """SAMPLE_SIZE numbers at equal distances from the first to the last of all values, as little-endian float32."""
    sizes = [value.numel() for value in values.values()]
    starts = np.cumsum([0, *sizes])
    places = np.linspace(0, max(starts[-1] - 1, 0), SAMPLE_SIZE).astype(np.int64)
    taken = []
    for start, value in zip(starts, values.values()):
        within = places[(places >= start) & (places < start + value.numel())] - start
        if len(within):
            flat = value.detach().reshape(-1)[torch.from_numpy(within).to(value.device)]
            taken.append(flat.to("cpu", torch.float32).numpy())
    return np.concatenate(taken).astype("<f4") if taken else np.empty(0, "<f4")
