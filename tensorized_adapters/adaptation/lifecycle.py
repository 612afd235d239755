"""Add adapters, remove them, and the context managers that switch them off for a while."""

import sys
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from transformers import PreTrainedModel

from ..config import AdapterConfig
from ..errors import UsageError
from ..methods.bottleneck import ResidualAdapters
from .insertion import check_removable, insert_method, take_out_method
from .merging import unmerge_adapters
from .named import adapter_names, check_no_names, forget_names
from .originals import originals_in_place
from .parameters import Adaptation, adaptation_of, unwrapped


def adapt(model: PreTrainedModel, config: AdapterConfig, newly_initialized: Iterable[str] = ()) -> PreTrainedModel:
    """Freeze ``model``, insert what ``config`` describes and mark as trainable what the method trains. In place.

    This is ``add_adapters`` (saving/pretrained.py, with the arguments) without what saving adds to the model.

    Raises:
        UsageError: if the model is adapted already, or the method cannot be built on it.
    """
    model = unwrapped(model)
    check_no_names(model)
    if getattr(model, "adaptation", None) is not None or hasattr(model, "peft_config"):
        raise UsageError("the model is adapted already; remove_adapters(model) first, or load a fresh one")
    insert_method(model, config, newly_initialized)
    if (half := model.adaptation.half) is not None:
        name = str(half).removeprefix("torch.")
        print(f"note: the model is in {name}; what is trained is kept in float32", file=sys.stderr)
    return model


def remove_adapters(model: PreTrainedModel) -> None:
    """Make the model what it was before ``add_adapters``, bit for bit, head and labels included.

    Of a model that is not adapted nothing changes. Of named adapters all are removed.

    Raises:
        UsageError: within :func:`adapters_off`, or if a parameter that was trained has another shape now, and so
            cannot be put back; nothing was changed then.
    """
    model = unwrapped(model)
    adaptation = getattr(model, "adaptation", None)
    if adaptation is None:
        forget_names(model)
        return
    check_removable(model)
    unmerge_adapters(model)
    if adapter_names(model):
        forget_names(model)
    else:
        take_out_method(model)


@contextmanager
def adapters_off(model: PreTrainedModel) -> Iterator[None]:
    """Within it the model computes as before ``add_adapters``, head included; afterwards it is as it was.

    Parameters that are trained in place give way to constants, so that a backward pass, within it or afterwards,
    gives what was computed with adapters its gradients and what was computed without them none.

    Raises:
        UsageError: if the model is not adapted, its adapters are merged, or another thread computes with it; a forward
            pass in another thread meanwhile is refused as well.
    """
    model = unwrapped(model)
    adaptation = _not_merged(model)
    if adaptation.off and adaptation.off_in == threading.get_ident():  # nested: it computes so already
        yield
        return
    with _switched_off(model, adaptation):
        adaptation.off = True
        try:
            with originals_in_place(model):
                yield
        finally:
            adaptation.off = False


@contextmanager
def updates_off(model: PreTrainedModel) -> Iterator[None]:
    """Within it every adapter h -> h + update(h) hands h on, bit for bit; LayerNorms and head stay as trained.

    What the model then loses is what its adapters account for. :func:`adapters_off` puts back all that was trained.

    Raises:
        UsageError: if the model is not adapted, its adapters are merged, or its method inserts no such adapters.
    """
    model = unwrapped(model)
    adaptation = _not_merged(model)
    if not isinstance(adaptation.method, ResidualAdapters):
        raise UsageError(f"--method {adaptation.config.method} inserts no adapters h + update(h); use adapters_off")
    with _switched_off(model, adaptation):
        yield


def _not_merged(model: PreTrainedModel) -> Adaptation:
    adaptation = adaptation_of(model)
    if adaptation.merged is not None:
        raise UsageError("the adapters are merged into the weights; unmerge_adapters(model) first")
    return adaptation


@contextmanager
def _switched_off(model: PreTrainedModel, adaptation: Adaptation) -> Iterator[None]:
    """What the method inserted does not compute; of nested ones the outermost switches."""
    thread = threading.get_ident()
    if adaptation.switched_off and adaptation.off_in == thread:
        yield
        return
    if adaptation.off_in is not None:
        raise UsageError("another thread has switched the model's adapters off for a while; wait, or use a copy")
    adaptation.off_in = thread  # first, so that a pass which begins now in another thread is refused
    try:
        if adaptation.passes.of_others():
            raise UsageError("another thread computes with the model; wait for it before adapters are switched off")
        adaptation.switched_off = True
        adaptation.method.switch(model, on=False)
        yield
    finally:
        if adaptation.switched_off:
            adaptation.method.switch(model, on=True)
        adaptation.switched_off = False
        adaptation.off_in = None
