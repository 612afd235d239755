"""The ``forward`` of an adapted model, which wraps the model's own.

It finds its data in the model and holds nothing else, so that copies and pickles of a model work. It can wrap any
callable, such as accelerate's hooked ``forward``.

Threads that share a model must not change its adapters under each other. Any number of threads may compute at once. A
thread has the model alone (:func:`alone`) while it sets, loads, merges or removes adapters, has them off, computes a
mixed batch, or saves or counts an adapter that is not active. Everything else is refused meanwhile.
"""

import functools
import inspect
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import MethodType
from typing import Any, Optional

import torch
from torch import nn
from transformers import PreTrainedModel

from ..errors import UsageError

_BEFORE = "forward_before_adapters"  # the instance's own forward before it was wrapped, or None
_IN_USE = (
    "another thread computes with the model, or has its adapters off or others set for a while; wait for it, or "
    "compute on a copy made before"
)
_REPLICATE = "_replicate_for_data_parallel"  # nn.DataParallel calls this on each module that it copies


class Passes:
    """The threads that compute a forward pass of one model now, or have it alone, as ``model.adapter_passes``. A copy
    has its own. The passes of a compiled model are not counted."""

    def __init__(self) -> None:
        self.depth: Counter[int] = Counter()
        self.owner: Optional[int] = None  # the thread that has the model alone
        self.lock = threading.Lock()  # held while a thread takes the model, so that only one gets it

    def __reduce__(self):
        """Refuse a copy or a pickle that would keep for good what was set for a while; raise UsageError."""
        if self.owner is not None:
            raise UsageError(
                "a copy taken now would keep another adapter, or none, for good; copy the model outside of the block"
            )
        return Passes, ()

    @contextmanager
    def counted(self) -> Iterator[None]:
        thread = threading.get_ident()
        self.depth[thread] += 1
        try:
            yield
        finally:
            self.depth[thread] -= 1

    def check(self) -> None:
        """Raise UsageError while another thread has the model alone."""
        if self.owner not in (None, threading.get_ident()):
            raise UsageError(_IN_USE)

    def check_alone(self) -> None:
        """Raise UsageError while another thread computes with the model or has it alone."""
        self.check()
        if any(depth and thread != threading.get_ident() for thread, depth in list(self.depth.items())):
            raise UsageError(_IN_USE)


@contextmanager
def alone(model: PreTrainedModel) -> Iterator[None]:
    """Refuse other threads' passes and changes of an adapted model within the block, which may be nested. Raise
    UsageError if another thread uses the model now."""
    passes, thread = model.__dict__.get("adapter_passes"), threading.get_ident()
    if passes is None or passes.owner == thread:
        yield
        return
    with passes.lock:
        passes.check_alone()
        passes.owner = thread  # another thread's pass is refused from now on
    try:
        passes.check_alone()  # one may have begun meanwhile
        yield
    finally:
        passes.owner = None


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
        return adapted_pass(self.__self__, *args, **kwargs)

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
        return adapted_pass(model, *args, **kwargs)

    adapted.__signature__ = inspect.signature(forward)
    del adapted.__wrapped__  # accelerate's unwrap_model would go on to the forward of the class
    adapted.is_of_adapters = True
    return adapted


def adapted_pass(model: PreTrainedModel, *args: Any, **kwargs: Any) -> Any:
    """Compute a forward pass of an adapted model, without the wrappers that were put on later."""
    named = model.__dict__.get("named_adapters")
    if "adapter_names" in kwargs and (names := kwargs.pop("adapter_names")) is not None:
        if named is None:
            raise UsageError("adapter_names: the model has no named adapters; load_adapter(model, folder, name=...)")
        return named.mixed(model, names, args, kwargs)
    adaptation = model.__dict__.get("adaptation")
    compute = model.__dict__.get(_BEFORE) or functools.partial(type(model).forward, model)
    passes = model.__dict__.get("adapter_passes")
    if passes is None or torch.compiler.is_compiling():  # the compiler fuses products itself
        return compute(*args, **kwargs)
    with passes.counted():
        passes.check()
        if adaptation is None:
            return compute(*args, **kwargs)
        if adaptation.off:
            _check_recomputed(model)
        with adaptation.method.forward_pass(model):
            return compute(*args, **kwargs)


def _check_recomputed(model: PreTrainedModel) -> None:
    """Refuse training with gradient checkpointing while adapters are off, since the backward pass computes again,
    perhaps with adapters on; raise UsageError."""
    recomputes = torch.is_grad_enabled() and getattr(model, "is_activation_checkpointing", False)
    if recomputes and any(part.training for part in model.modules()):  # each layer's own mode decides
        raise UsageError(
            "gradient checkpointing computes again in the backward pass, when adapters may be on again; within "
            "adapters_off and updates_off use torch.no_grad(), or switch checkpointing off"
        )


def _refuse_replicas() -> nn.Module:
    raise UsageError(
        "nn.DataParallel copies a model in each step, and the copies would compute with the first GPU's adapters; use "
        "one GPU (CUDA_VISIBLE_DEVICES=0), or torchrun with DistributedDataParallel"
    )
