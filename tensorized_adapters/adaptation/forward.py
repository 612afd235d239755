"""The ``forward`` of an adapted model, which wraps the model's own.

It finds its data in the model and holds nothing else, so that copies and pickles of a model work. It can wrap any
callable, such as accelerate's hooked ``forward``.

Threads that share a model must not change its adapters under each other. A thread holds the model while it computes a
mixed batch, or saves or counts an adapter that is not active. What it may do depends on the others:

| this thread wants to          | another computes | another has adapters off | another holds it | merged  |
|-------------------------------|------------------|--------------------------|------------------|---------|
| compute                       | yes              | refused                  | refused          | yes     |
| hold it                       | refused          | refused                  | refused          | refused |
| switch adapters off           | refused          | refused                  | refused          | refused |
| set or delete a named adapter | refused          | refused                  | refused          | refused |
| load, merge, unmerge, remove  | refused          | refused                  | refused          |         |

``check_pass``, ``check_alone`` and ``check_not_held`` here, and ``_held`` and ``_check_free`` in named.py are these
rules.
"""

import functools
import inspect
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from types import MethodType
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

from ..errors import UsageError

_BEFORE = "forward_before_adapters"  # the instance's own forward before it was wrapped, or None
_REPLICATE = "_replicate_for_data_parallel"  # nn.DataParallel calls this on each module that it copies


class Passes:
    """The threads that compute a forward pass of one model now, as ``model.adapter_passes``. A copy has its own. The
    passes of a compiled model are not counted."""

    def __init__(self) -> None:
        self.depth: Counter[int] = Counter()

    def __reduce__(self):
        return Passes, ()

    def in_other_threads(self) -> bool:
        return any(depth and thread != threading.get_ident() for thread, depth in list(self.depth.items()))

    @contextmanager
    def counted(self) -> Iterator[None]:
        thread = threading.get_ident()
        self.depth[thread] += 1
        try:
            yield
        finally:
            self.depth[thread] -= 1


def wrap_forward(model: PreTrainedModel) -> None:
    """Wrap the model's ``forward`` in ours, unless it is wrapped already, perhaps under other wrappers."""
    model.__dict__.setdefault("adapter_passes", Passes())
    present = model.__dict__.get("forward")
    # If the forward is that of the class, neither our wrapper nor a later one is in place.
    of_class = present is None or getattr(present, "__func__", None) is type(model).forward
    if _BEFORE in model.__dict__ and not of_class:
        return
    model.__dict__[_BEFORE] = present
    model.forward = _Forward(model)
    model.__dict__[_REPLICATE] = _refuse_replicas


def unwrap_forward(model: PreTrainedModel) -> None:
    """Remove our ``forward``. Under a wrapper that was added later it stays, and then only passes calls on."""
    model.__dict__.pop(_REPLICATE, None)
    model.__dict__.pop("adapter_passes", None)
    present = model.__dict__.get("forward")
    if present is not None and not hasattr(getattr(present, "__func__", None), "is_of_adapters"):
        return
    model.__dict__.pop("forward", None)
    before = model.__dict__.pop(_BEFORE, None)
    if before is not None:
        model.forward = before


class _Forward:
    """Our ``forward`` of one model. It is like a bound method, which accelerate looks for, but pickles with its model.
    A bound method is pickled by its name, and would come back as the forward of the model's class."""

    __name__ = "forward"

    def __init__(self, model: PreTrainedModel):
        self.__self__ = model

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return _adapted(self.__self__, *args, **kwargs)

    @property
    def __func__(self) -> Callable:
        model = self.__self__
        return _with_signature_of(getattr(model.__dict__.get(_BEFORE), "__func__", type(model).forward))

    @property
    def __signature__(self) -> inspect.Signature:
        return inspect.signature(MethodType(self.__func__, self.__self__))


def _with_signature_of(forward: Callable) -> Callable:
    """Return our ``forward`` as a function of the model, with the name and the signature of another one."""

    @functools.wraps(forward)
    def adapted(model: PreTrainedModel, *args: Any, **kwargs: Any) -> Any:
        return _adapted(model, *args, **kwargs)

    adapted.__signature__ = inspect.signature(forward)
    del adapted.__wrapped__  # accelerate's unwrap_model would go on to the forward of the class
    adapted.is_of_adapters = True
    return adapted


def _adapted(model: PreTrainedModel, *args: Any, **kwargs: Any) -> Any:
    """Compute a forward pass of an adapted model."""
    named = model.__dict__.get("named_adapters")
    if "adapter_names" in kwargs and (names := kwargs.pop("adapter_names")) is not None:
        if named is None:
            raise UsageError("adapter_names: the model has no named adapters; load_adapter(model, folder, name=...)")
        # Compute each group by our own function, so that wrappers put on later run once a batch. A wrapper that is
        # entered again within itself may break.
        return named.mixed(model, names, args, kwargs, functools.partial(_adapted, model))
    adaptation = model.__dict__.get("adaptation")
    compute = model.__dict__.get(_BEFORE) or functools.partial(type(model).forward, model)
    passes = model.__dict__.get("adapter_passes")
    if passes is None or torch.compiler.is_compiling():  # the compiler fuses products itself
        return compute(*args, **kwargs)
    with passes.counted():
        check_pass(model)
        with nullcontext() if adaptation is None else adaptation.method.forward_pass(model):
            return compute(*args, **kwargs)


def check_pass(model: PreTrainedModel) -> None:
    """Refuse a pass while another thread has adapters off or sets others for a while; raise UsageError. Also refuse
    training with gradient checkpointing inside adapters_off, since the backward pass computes again, perhaps with
    adapters on."""
    adaptation = model.__dict__.get("adaptation")
    check_not_held(model.__dict__.get("named_adapters"))
    if adaptation is None or adaptation.switched_off_by is None:
        return
    if adaptation.switched_off_by != threading.get_ident():
        raise UsageError(
            "another thread has switched the model's adapters off for a while; wait for it, or compute on a copy made "
            "before"
        )
    recomputes = torch.is_grad_enabled() and getattr(model, "is_activation_checkpointing", False)
    if recomputes and any(part.training for part in model.modules()):  # each layer's own mode decides
        raise UsageError(
            "gradient checkpointing computes again in the backward pass, when adapters may be on again; within "
            "adapters_off and updates_off use torch.no_grad(), or switch checkpointing off"
        )


def check_alone(model: PreTrainedModel) -> None:
    """Raise UsageError while another thread computes with the model, or has its adapters off or others set for a
    while. A change of the adapters would reach some layers of its pass only."""
    check_not_held(model.__dict__.get("named_adapters"))
    adaptation, passes = model.__dict__.get("adaptation"), model.__dict__.get("adapter_passes")
    if adaptation is not None and adaptation.switched_off_by not in (None, threading.get_ident()):
        raise UsageError("another thread has switched the adapters off for a while; wait, or use a copy made before")
    if passes is not None and passes.in_other_threads():
        raise UsageError("another thread computes with the model; wait for it before its adapters are changed")


def check_not_held(named: Any) -> None:
    """Raise UsageError while another thread computes a mixed batch, or saves or counts an inactive adapter."""
    if named is not None and named.held_by not in (None, threading.get_ident()):
        raise UsageError(
            "another thread computes with adapter_names or saves another adapter; wait for it, or use a copy made "
            "before"
        )


def _refuse_replicas() -> nn.Module:
    raise UsageError(
        "nn.DataParallel copies a model in each step, and the copies would compute with the first GPU's adapters; use "
        "one GPU (CUDA_VISIBLE_DEVICES=0), or torchrun with DistributedDataParallel"
    )
