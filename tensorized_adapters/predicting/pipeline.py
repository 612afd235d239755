"""Builds Transformers' own pipeline from an adapter's folder, which names base model, tokenizer, length and labels."""

import contextlib
import inspect
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Optional

import numpy as np
import pandas as pd
import torch
from datasets import Column
from transformers import TextClassificationPipeline
from transformers.utils import logging as transformers_logging

from ..adaptation.lifecycle import merge_adapters
from ..backbone.arguments import ModelArguments
from ..backbone.loading import agree_on_padding, load_config, load_model, load_tokenizer
from ..backbone.parts import usable_positions
from ..config import MULTI_LABEL, SINGLE_LABEL
from ..data.arguments import DataTrainingArguments
from ..data.columns import Columns, kept_columns, other_forms
from ..data.encoding import check_room
from ..data.multi_label import SEPARATOR, saved_separator
from ..data.readers import is_unicode
from ..data.texts import joined, text_of
from ..errors import UsageError, did_you_mean, quoted
from ..saving.fingerprint import PRECISIONS
from ..saving.hub import resolved_revision
from ..saving.load import load_adapter
from ..saving.manifest import kept_note, read_adapter

_OPTIONS = ("device", "batch_size", "num_workers", "top_k", "function_to_apply")  # of Transformers' pipeline
_OPTIONS += ("max_length", "padding", "pad_to_multiple_of", "add_special_tokens", "truncation")  # of its tokenizer
_COLUMNS = (Column, pd.Series, np.ndarray)  # types that are read as a list of inputs
_AS_TEXT = (type(None), int, float, np.generic)  # types of values that are read as text


def load_pipeline(
    folder: str | Path,
    model_name_or_path: Optional[str] = None,
    tokenizer_name: Optional[str] = None,
    max_seq_length: Optional[int] = None,
    revision: Optional[str] = None,
    token: Optional[str] = None,
    **options: Any,
) -> TextClassificationPipeline:
    """Load a saved adapter as a pipeline, whose predictions are those of the evaluation of its run, in float32.

    Updates of weights are merged into the weights. An input is a string, for pairs a dict of ``text`` and
    ``text_pair``, or a dict with the columns that the adapter was trained on; or a list of these, or a column of
    `datasets`, pandas or NumPy. An empty text is refused. Labels have their names, and a score is the label's
    probability; a regression gives its score as it is. If a text may have several labels, all are given with their
    probabilities, unless ``top_k`` is given.

    Args:
        folder: a folder that a run or ``save_adapter`` wrote, or "owner/name" or "owner/name@revision" of the hub.
        model_name_or_path: the base model's folder or hub id; by default that of training.
        tokenizer_name: folder or hub id of the tokenizer, by default the one of training.
        max_seq_length: longer inputs are truncated; by default as in training.
        revision: branch, tag or commit of an adapter on the hub.
        token: for private repositories on the hub; by default that of ``hf auth login`` or ``HF_TOKEN``.
        options: those of Transformers' pipeline: ``device``, ``batch_size``, ``num_workers``, ``top_k``,
            ``function_to_apply``, and ``dtype`` or ``torch_dtype``, to which the model is converted (float32 by
            default). Of the tokenizer's, ``max_length``, ``padding``, ``pad_to_multiple_of`` and
            ``add_special_tokens``.

    Raises:
        UsageError: if the folder holds no adapter, if its base model is missing or another one, if the length leaves
            no room for text, or for an unknown option.
    """
    dtype = options.pop("dtype", options.pop("torch_dtype", None)) or torch.float32
    dtype = PRECISIONS.get(dtype, dtype)
    if dtype not in PRECISIONS.values():
        raise UsageError(f"dtype is {quoted(dtype)}; give torch.float32, torch.float16 or torch.bfloat16")
    _check_options(options, ["dtype", *inspect.signature(load_pipeline).parameters])
    folder = resolved_revision(folder, revision, token)
    record, _ = read_adapter(folder)
    arguments = ModelArguments(
        model_name_or_path=model_name_or_path or record["base_model"]["name"],
        tokenizer_name=tokenizer_name or kept_note(record, "tokenizer", str),
        model_revision="main" if model_name_or_path else record["base_model"].get("revision") or "main",
        token=token,
        ignore_mismatched_sizes=True,  # the adapter replaces the head
    )
    if not arguments.model_name_or_path:
        raise UsageError(f"{folder} does not say where its base model is; --model_name_or_path does")
    columns = kept_columns(record)
    labels = tuple(record["id2label"][str(i)] for i in range(record["num_labels"]))
    with _without_messages_of_transformers(), _naming_the_flag(folder, given=bool(model_name_or_path)):
        config = load_config(arguments)
        tokenizer = load_tokenizer(arguments, config)
        agree_on_padding(tokenizer, config)
        length = kept_note(record, "max_seq_length", int) if max_seq_length is None else max_seq_length
        if length is None:
            length = DataTrainingArguments.max_seq_length
            used = f"{folder} does not give the length of its training; {length} tokens are used"
            print(f"note: {used}, and --max_seq_length sets another length", file=sys.stderr)
        tokenizer.model_max_length = min(length, tokenizer.model_max_length, usable_positions(config))
        inputs = joined(columns.texts, columns.delimiter) if columns else ("text",)
        check_room(tokenizer, tokenizer.model_max_length, len(inputs))
        # load_adapter gives the model the adapter's own type of problem.
        model, *_ = load_model(arguments, config, labels, SINGLE_LABEL)
    load_adapter(model, folder)
    with contextlib.suppress(UsageError):  # raised for methods that do not update weights
        merge_adapters(model)
    taken = inspect.signature(model.forward).parameters
    tokenizer.model_input_names = [name for name in tokenizer.model_input_names if name in taken]
    if record["problem_type"] == MULTI_LABEL:
        options.setdefault("top_k", None)  # every label with its probability, since a text may have several
    pipeline = _TextPipeline(model=model.eval().to(dtype), tokenizer=tokenizer, **options | {"truncation": True})
    pipeline.columns, pipeline.label_separator = columns, saved_separator(record)
    return pipeline


class _TextPipeline(TextClassificationPipeline):
    """Transformers' pipeline, which makes the same text of numbers, true and false and of columns as training does."""

    columns: Optional[Columns] = None  # those that the adapter was trained on, if its folder names them
    label_separator: str = SEPARATOR  # joins the names of several labels in predictions

    def _sanitize_parameters(self, **options: Any) -> Any:
        """Check the options of loading and of each call, then return them as Transformers does."""
        _check_options(options)
        return super()._sanitize_parameters(**options)

    def __call__(self, inputs: Any, **options: Any) -> Any:
        if isinstance(inputs, _COLUMNS) and getattr(inputs, "ndim", 1):  # an array of no dimension is no column
            inputs = list(inputs)
        if isinstance(inputs, (list, tuple)) and not inputs:
            raise UsageError("there are no inputs; give at least one text")
        return super().__call__(inputs, **options)

    def preprocess(self, inputs: Any, **options: Any) -> Any:
        return super().preprocess(_texts_of(inputs, self.columns), **options)


def _check_options(options: dict[str, Any], further: Iterable[str] = ()) -> None:
    """Refuse options that Transformers would ignore silently; ``further`` ones may be meant. Raise UsageError."""
    for name in options:
        if name not in _OPTIONS:
            near = did_you_mean(name, [*_OPTIONS, *further], f"it takes {', '.join(_OPTIONS)}, and on loading dtype")
            raise UsageError(f"the pipeline takes no {quoted(name)[1:-1]}; {near}")
    if options.get("truncation", True) is not True:
        raise UsageError(f"truncation={options['truncation']} is not possible; max_seq_length sets the length")


def _of_columns(inputs: Any, columns: Optional[Columns]) -> Any:
    """Return the text or pair of an input that is a dict of the training columns. Other inputs stay as they are.

    A column that is missing among several which are joined is an empty part, as in training.
    """
    if columns is None or not isinstance(inputs, dict):
        return inputs
    forms = other_forms([name for name in inputs if isinstance(name, str)], columns.texts)
    inputs = {forms.get(name, name): value for name, value in inputs.items()}
    present = set(columns.texts) & set(inputs)
    if not present or (columns.delimiter is None and len(present) < len(columns.texts)):
        return inputs
    of_transformers = set(inputs) <= {"text", "text_pair"} and set(inputs) != set(columns.texts)
    if of_transformers and (columns.delimiter is None or len(inputs) == 2):
        return inputs
    values = [inputs.get(name) for name in columns.texts]
    if not all(isinstance(value, (str, *_AS_TEXT)) for value in values):  # such as a list, which is refused later
        return inputs
    texts = joined(list(map(text_of, values)), columns.delimiter)
    return texts[0] if len(texts) == 1 else dict(zip(("text", "text_pair"), texts))


def _texts_of(inputs: Any, columns: Optional[Columns]) -> dict[str, str]:
    """Return the text of an input, or its pair, under the names of the tokenizer's arguments; raise UsageError.

    What Transformers would misread is refused: several texts (it takes the first), a single text for an adapter of
    pairs, and a pair for an adapter of single texts. Half of a character and an empty text are refused too, since they
    would get a label. The second text may be empty if the adapter was trained on single texts or names no columns.
    """
    given = _of_columns(inputs, columns)
    if isinstance(given, list) and len(given) == 1 and isinstance(given[0], list) and len(given[0]) == 2:
        texts = dict(zip(("text", "text_pair"), given[0]))  # Transformers' older form of a pair, [[text, text_pair]]
    else:
        texts = given if isinstance(given, dict) else {"text": given}
    texts = {name: text_of(value) if isinstance(value, _AS_TEXT) else value for name, value in texts.items()}
    is_pair = columns is not None and len(columns.texts) == 2 and columns.delimiter is None
    named = f"a dict of {' and '.join(columns.texts)}" if columns else "a dict of text and text_pair"
    if columns is not None and not is_pair and (isinstance(given, list) or texts.get("text_pair")):
        raise UsageError(f"the adapter was trained on one text; give a text or {named}, or a list of these")
    pair = [texts.get("text"), texts.get("text_pair", "")]
    if not all(isinstance(text, str) for text in pair):
        form = named if is_pair else f"a text, {named}"
        raise UsageError(f"an input is {quoted(inputs)}; give {form}, or a list of these")
    if is_pair and "text_pair" not in texts:
        raise UsageError(f"the adapter was trained on pairs; give {named}, or of text and text_pair")
    if not all(text.strip() for text in pair[: 2 if is_pair else 1]):
        raise UsageError(f"an input is {quoted(inputs)}, with an empty text; write it or leave the input out")
    if not all(map(is_unicode, pair)):
        raise UsageError(f"an input is {quoted(inputs)}, with an unpaired surrogate (half of a character)")
    return texts


@contextlib.contextmanager
def _without_messages_of_transformers() -> Iterator[None]:
    """Hide Transformers' advice to train the head, which comes with the adapter."""
    before, bar = transformers_logging.get_verbosity(), transformers_logging.is_progress_bar_enabled()
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        transformers_logging.set_verbosity(before)
        if bar:
            transformers_logging.enable_progress_bar()


@contextlib.contextmanager
def _naming_the_flag(folder: str | Path, given: bool) -> Iterator[None]:
    """Add the adapter's folder to an error about its base model, unless a flag has ``given`` that model."""
    try:
        yield
    except UsageError as error:
        flag, _, what = str(error).partition(" ")
        if given or flag != "--model_name_or_path" or "cannot be loaded" not in what:
            raise
        raise UsageError(
            f"{folder}: its base model {what.split(';')[0]}; --model_name_or_path names where it is on this machine"
        ) from None
