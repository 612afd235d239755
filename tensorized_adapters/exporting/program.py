"""Exports an adapted model as a program of torch.export or as ONNX. Neither needs this package to run."""

import contextlib
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Optional

import torch
from torch import Tensor, nn
from torch.export import ExportedProgram
from torch.nn.utils import parametrize
from transformers import PreTrainedModel, TextClassificationPipeline

from ..errors import need

PROGRAM_FILE, ONNX_FILE = "model.pt2", "model.onnx"
_PACKAGES_OF_ONNX = ("onnx", "onnxscript", "onnxruntime")
_EXAMPLE = (2, 8)  # rows and tokens for the trace; the graph takes any numbers


def exported(pipeline: TextClassificationPipeline) -> ExportedProgram:
    """Return a program from ``input_ids``, ``attention_mask`` and, if the model has them, ``token_type_ids`` (batch x
    length, int64, of any batch and length) to the logits (batch x labels). Inputs are passed by name.

    The pipeline's model is for inference alone afterwards.
    """
    model = pipeline.model.eval().cpu().requires_grad_(False)  # a program runs on the device of its parameters
    for module in list(model.modules()):  # a sparse difference is a parametrization
        for name in list(getattr(module, "parametrizations", ())):
            parametrize.remove_parametrizations(module, name, leave_parametrized=True)
    model._forward_pre_hooks.clear()  # one draws the noise of a sparse difference
    names = _names_of(pipeline)
    shapes = {name: {0: torch.export.Dim("batch"), 1: torch.export.Dim.DYNAMIC} for name in names}
    inputs = {name: torch.ones(_EXAMPLE, dtype=torch.int64) for name in names}
    with torch.no_grad(), _quiet():
        return torch.export.export(_Logits(model), (), kwargs=inputs, dynamic_shapes=shapes)


def write_program(pipeline: TextClassificationPipeline, folder: Path) -> None:
    """Write :func:`exported` as ``model.pt2``, with the tokenizer and the labels' names beside it."""
    torch.export.save(exported(pipeline), folder / PROGRAM_FILE)
    _write_companions(pipeline, folder)


def write_onnx(pipeline: TextClassificationPipeline, folder: Path, int8: bool = False) -> None:
    """Write the model as ``model.onnx``, its inputs named as the tokenizer's, with tokenizer and labels beside it.

    With ``int8`` the weights of matrix products are 8-bit integers, and activations are quantised as they come
    (onnxruntime's dynamic quantisation). Logits change a little.
    """
    with _quiet():
        program = torch.onnx.export(
            exported(pipeline), input_names=_names_of(pipeline), output_names=["logits"], dynamo=True, verbose=False
        )
    program.save(folder / ONNX_FILE)
    if int8:
        _quantize(folder / ONNX_FILE)
    _write_companions(pipeline, folder)


def _quantize(path: Path) -> None:
    """Replace an ONNX file by its dynamically quantised twin, one scale for each output channel."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    quantized = path.with_suffix(".int8")
    with _quiet():
        quantize_dynamic(path, quantized, weight_type=QuantType.QInt8, per_channel=True)
    path.with_name(f"{path.name}.data").unlink(missing_ok=True)  # the first file's weights
    quantized.replace(path)


def check_onnx() -> None:
    """Raise UsageError if a package for ONNX is missing."""
    for package in _PACKAGES_OF_ONNX:
        need(package, "onnx", "--to onnx")


class _Logits(nn.Module):
    """The model with only its logits as output."""

    def __init__(self, model: PreTrainedModel):
        super().__init__()
        self.model = model

    def forward(self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Optional[Tensor] = None) -> Tensor:
        types = {} if token_type_ids is None else {"token_type_ids": token_type_ids}
        return self.model(input_ids=input_ids, attention_mask=attention_mask, **types).logits


def _names_of(pipeline: TextClassificationPipeline) -> list[str]:
    """Return the tokenizer's outputs that the model takes, in the order of :class:`_Logits`."""
    known = ("input_ids", "attention_mask", "token_type_ids")
    return [name for name in known if name in pipeline.tokenizer.model_input_names]


def _write_companions(pipeline: TextClassificationPipeline, folder: Path) -> None:
    pipeline.tokenizer.save_pretrained(folder)
    pipeline.model.config.save_pretrained(folder)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Hide warnings of the exporters about themselves: packages that are not needed, and advice to their callers."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(action="ignore"):
            yield
    finally:
        logging.disable(before)
