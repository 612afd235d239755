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
    """Freeze ``model``, insert the method of ``config``, and mark as trainable what it trains. The model itself is
    changed.

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

    All named adapters are removed. A model that is not adapted stays as it is.

    Raises:
        UsageError: within :func:`adapters_off`, or if a trained parameter has another shape now and cannot be
            restored. Nothing was changed then.
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
    """Let the model compute as before ``add_adapters``, head included, within the block.

    Constants replace the trained pre-trained parameters. So a later backward pass gives no gradients to what was
    computed without adapters, and the right ones to what was computed with them.

    Raises:
        UsageError: if the model is not adapted, its adapters are merged, or another thread computes with it. A forward
            pass in another thread is refused within the block.
    """
    model = unwrapped(model)
    adaptation = _not_merged(model)
    if adaptation.off and adaptation.off_in == threading.get_ident():  # nested
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
    """Make every adapter h -> h + update(h) return h, bit for bit, within the block. LayerNorms and head stay as
    trained.

    The difference in the outputs is due to the adapters. :func:`adapters_off` also restores what else was trained.

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
    """Switch the inserted modules off within the block. If blocks are nested, only the outermost one switches."""
    thread = threading.get_ident()
    if adaptation.switched_off and adaptation.off_in == thread:
        yield
        return
    if adaptation.off_in is not None:
        raise UsageError("another thread has switched the model's adapters off for a while; wait, or use a copy")
    adaptation.off_in = thread  # first, so that another thread's pass is refused from now on
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
