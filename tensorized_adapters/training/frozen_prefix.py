"""The frozen layers below the lowest trained one, computed once per example and read back from a file.

Their output does not depend on trained parameters. It is computed in evaluation mode, so the cached layers have no
dropout. Everything else is as without the cache.
"""

import hashlib
import inspect
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, Optional

import numpy as np
import torch
from accelerate import PartialState
from datasets import Dataset
from torch import Tensor
from transformers import PreTrainedModel, TrainingArguments

from ..adaptation.parameters import backbone_parameters, trained_parameters
from ..backbone.parts import architecture_of, base_prefix, layer_names, layer_of
from ..data.loading import Data
from ..errors import RunFailed, UsageError
from ..runtime.files import one_at_a_time, sha256_of, write_atomically, written_then_renamed
from ..saving.fingerprint import base_fingerprint

Collate = Callable[[list[dict[str, Any]]], dict[str, Tensor]]
PREFIX_KEY = "prefix_hidden_states"  # key of a batch: (examples, tokens, hidden)
_INPUTS = ("input_ids", "token_type_ids", "attention_mask")


def lowest_trained_layer(model: PreTrainedModel) -> int:
    """Return the index of the lowest encoder layer in which something is trained. Raise UsageError if that is the
    first one, if something below the layers is trained, or if no layer is."""
    inside = [name for name in trained_parameters(model) if name.startswith(base_prefix(model))]
    every_layer = layer_names(model)
    if len(every_layer) < model.config.num_hidden_layers:
        raise UsageError(f"--cache_frozen_prefix: the layers of {model.config.model_type} are shared; leave it out")
    layers = [layer_of(name, every_layer) for name in inside if ".pooler." not in f".{name}"]
    lowest = min((layer for layer in layers if layer is not None), default=None)
    if not lowest or None in layers:
        raise UsageError(
            "--cache_frozen_prefix needs frozen layers below the lowest trained one: choose upper layers, such as "
            f"--adapter_layers {len(every_layer) // 2}-{len(every_layer) - 1}, or --lora_targets of upper layers"
        )
    return lowest


class FrozenPrefix:
    """Computes the hidden states that enter a model's lowest trained layer, and lets them replace the layers below.

    A batch that holds PREFIX_KEY skips those layers; any other batch runs through all layers. ``folder`` gets files of
    hidden states, named by the sha256 of their inputs. ``autocast`` is its type in training.
    """

    def __init__(self, model: PreTrainedModel, folder: Path, autocast: Optional[torch.dtype]):
        self.model, self.folder, self.autocast = model, folder, autocast
        self.lowest = lowest_trained_layer(model)
        self.dtype = np.dtype(np.float64 if next(model.parameters()).dtype is torch.float64 else np.float32)
        self._names = layer_names(model)
        self._layers = [model.base_model.get_submodule(name) for name in self._names]
        self._hidden: Optional[Tensor] = None  # hidden states of the current batch
        self._filling = False
        self._pairs = architecture_of(model.config.model_type).returns_tuple
        for layer in self._layers[: self.lowest]:
            layer.forward = self._skippable(layer.forward)
        self._layers[self.lowest].register_forward_pre_hook(self._enter)
        model.forward = self._taking_states(model.forward)

    def of_sets(self, sets: Data, collate: Collate, args: TrainingArguments) -> Data:
        """Return all sets with their hidden states. On each machine one process computes them first."""
        self.model.to(args.device)  # the Trainer would move it as late as its evaluation in half precision
        with PartialState().local_main_process_first():
            return sets.mapped(lambda examples: self.with_states(examples, collate, args.eval_batch_size))

    def with_states(self, examples: Dataset, collate: Collate, batch_size: int) -> "PrefixedExamples":
        """Return tokenised ``examples`` with their hidden states, which are computed now, ``batch_size`` at a time,
        unless the folder has them. Raise RunFailed if it cannot be written, or has no room."""
        lengths = np.array([sum(mask) for mask in examples["attention_mask"]])
        ends = np.cumsum(lengths)
        path = self.folder / f"{self._key(examples)}.npy"
        if not _is_intact(path):
            try:
                self.folder.mkdir(parents=True, exist_ok=True)
                with one_at_a_time(path):
                    if not _is_intact(path):  # another run may have written it meanwhile
                        self._write(path, examples, collate, batch_size, ends - lengths, lengths)
            except OSError as error:
                raise RunFailed(f"--prefix_cache_dir {self.folder} cannot be written: {error.strerror}") from None
        return PrefixedExamples(examples, np.load(path, mmap_mode="r"), ends - lengths, lengths)

    def _write(self, path: Path, examples: Dataset, collate: Collate, batch_size: int, starts, lengths) -> None:
        """Write the file of hidden states, and its checksum. Raise RunFailed if the disk has no room for it."""
        if path.exists():
            print(f"note: {path} is damaged; computing it again")
        shape = (int(lengths.sum()), self.model.config.hidden_size)
        needed, free = self.dtype.itemsize * math.prod(shape), shutil.disk_usage(self.folder).free
        if needed > free:
            raise RunFailed(f"--prefix_cache_dir {self.folder} needs {needed:,} bytes, and {free:,} are free")
        print(f"computing layers 0-{self.lowest - 1} once for {len(examples):,} examples: {path}")
        with written_then_renamed(path) as temporary:
            states = np.lib.format.open_memmap(temporary, mode="w+", dtype=self.dtype, shape=shape)
            self._fill(states, examples, collate, batch_size, starts, lengths)
            states.flush()
            digest = sha256_of(temporary)
        write_atomically(path.with_suffix(".sha256"), digest.encode())

    @torch.no_grad()
    def _fill(self, states: np.ndarray, examples: Dataset, collate: Collate, batch_size: int, starts, lengths) -> None:
        """Run the layers below once in evaluation mode, texts of similar lengths together."""
        training, device = self.model.training, next(self.model.parameters()).device
        inputs = examples.select_columns([name for name in _INPUTS if name in examples.column_names])
        order = np.argsort(lengths, kind="stable")
        self.model.eval()
        self._filling = True
        try:
            for i in range(0, len(order), batch_size):
                rows = order[i : i + batch_size].tolist()
                batch = {key: value.to(device) for key, value in collate([inputs[row] for row in rows]).items()}
                with torch.autocast(device.type, self.autocast, enabled=self.autocast is not None):
                    try:
                        self.model(**batch)
                    except _Reached as reached:
                        hidden = reached.args[0].cpu().double().numpy()  # numpy has no bfloat16
                for row, of_row, mask in zip(rows, hidden, batch["attention_mask"].bool().cpu().numpy()):
                    states[starts[row] : starts[row] + lengths[row]] = of_row[mask]
        finally:
            self._filling = False
            self.model.train(training)

    def _key(self, examples: Dataset) -> str:
        """Return the sha256 of what decides the hidden states: frozen weights, configuration, tokens, precision."""
        backbone = backbone_parameters(self.model)
        above = {name for name in backbone if (layer_of(name, self._names) or 0) >= self.lowest or ".pooler." in name}
        config = self.model.config.to_dict()
        for name in ("_name_or_path", "id2label", "label2id", "problem_type", "transformers_version"):
            config.pop(name, None)
        digest = hashlib.sha256(base_fingerprint(self.model, above).encode())
        config["attention"] = self.model.config._attn_implementation  # to_dict leaves it out
        digest.update(f"{sorted(config.items(), key=str)} {self.lowest} {self.autocast} {self.dtype}".encode())
        for column in _INPUTS:
            if column in examples.column_names:
                for values in examples[column]:
                    digest.update(np.asarray(values, dtype=np.int32).tobytes() + b";")
        return digest.hexdigest()

    def _skippable(self, forward: Callable) -> Callable:
        def skip_or_run(hidden_states: Tensor, *args, **kwargs):
            if self._hidden is None:
                return forward(hidden_states, *args, **kwargs)
            return (hidden_states, None) if self._pairs else hidden_states

        return skip_or_run

    def _enter(self, layer, args):
        if self._filling:
            raise _Reached(args[0])
        if self._hidden is None:
            return None
        hidden = self._hidden.to(next(layer.parameters()).dtype)  # --bf16_full_eval changes this type
        if self.model.training and self.model.is_activation_checkpointing:
            hidden.requires_grad_()  # reentrant checkpointing needs an input with a gradient
        return (hidden, *args[1:])

    def _taking_states(self, forward: Callable) -> Callable:
        """Return ``forward`` with one more argument, also in its signature, by which the Trainer chooses columns."""

        def take_states(*args, **kwargs):
            self._hidden = kwargs.pop(PREFIX_KEY, None)
            try:
                return forward(*args, **kwargs)
            finally:
                self._hidden = None

        signature = inspect.signature(forward)
        states = inspect.Parameter(PREFIX_KEY, inspect.Parameter.KEYWORD_ONLY, default=None)
        parameters = sorted([*signature.parameters.values(), states], key=lambda parameter: parameter.kind)
        take_states.__signature__ = signature.replace(parameters=parameters)
        return take_states


class PrefixedExamples(torch.utils.data.Dataset):
    """Gives each tokenised example the hidden states of its tokens, read from a memory-mapped file."""

    def __init__(self, examples: Dataset, states: np.ndarray, starts: np.ndarray, lengths: np.ndarray):
        self.examples, self.states, self.starts, self.lengths = examples, states, starts, lengths

    def __len__(self) -> int:
        return len(self.examples)

    def __getitem__(self, key):
        """Return an example by its index, or a column of all by its name."""
        if isinstance(key, str):
            return self.examples[key]
        start = self.starts[key]
        return self.examples[key] | {PREFIX_KEY: self.states[start : start + self.lengths[key]]}

    def select(self, rows: np.ndarray) -> "PrefixedExamples":
        """Return the examples with the given indices, in their order."""
        return PrefixedExamples(self.examples.select(rows), self.states, self.starts[rows], self.lengths[rows])


def with_prefix(collate: Collate) -> Collate:
    """Return a collator that also pads the hidden states of examples, if there are any. The attention mask hides the
    zeros with which it pads."""

    def collate_both(features: list[dict[str, Any]]) -> dict[str, Tensor]:
        states = [feature[PREFIX_KEY] for feature in features if PREFIX_KEY in feature]
        batch = collate([{k: v for k, v in feature.items() if k != PREFIX_KEY} for feature in features])
        if states:
            states = [torch.from_numpy(np.array(state)) for state in states]
            hidden = states[0].new_zeros(*batch["input_ids"].shape, states[0].shape[-1])
            hidden[batch["attention_mask"].bool()] = torch.cat(states)  # works for padding on either side
            batch[PREFIX_KEY] = hidden
        return batch

    return collate_both


def _is_intact(path: Path) -> bool:
    """Return whether the file is there and as it was written."""
    try:
        return sha256_of(path) == path.with_suffix(".sha256").read_text()
    except (OSError, ValueError):
        return False


class _Reached(Exception):
    """Raised with the hidden states where the layers below end."""
