"""Saved adapters and checkpoints that were changed by hand, with or without recomputed checksums."""

import hashlib
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from hypothesis import strategies as st
from transformers.trainer_pt_utils import safe_globals

from fuzzing.cases import Case, Materials, _Exploit
from fuzzing.values import JSON_VALUES, mutated
from tensorized_adapters.saving.manifest import config_checksum

_CONFIG, _WEIGHTS, _MANIFEST = "adapter_config.json", "adapter_model.safetensors", "manifest.json"
_DTYPES = [torch.float64, torch.float16, torch.bfloat16, torch.int32, torch.int64, torch.bool, torch.uint8]
_PICKLED = ["optimizer.pt", "scheduler.pt", "rng_state.pth"]


def adapter_cases(materials: Materials) -> st.SearchStrategy[Case]:
    """Return cases that evaluate an adapter folder or train on from it."""
    settings = dict.fromkeys(("adapter_projection_type", "tensorized_layer_rank", "adapter_size"))
    evaluate = settings | {"adapter_path": "saved", "do_train": None, "train_file": None}
    train = settings | {"adapter_path": "saved"}

    def case(files: dict[str, bytes], flags: dict[str, Any]) -> Case:
        changed = {f"saved/{name}": content for name, content in files.items()}
        return Case("adapters", dict(flags), changed, {"saved": materials.adapter})

    return st.builds(case, _adapter_files(materials.adapter), st.sampled_from([evaluate, evaluate, train]))


def checkpoint_cases(materials: Materials) -> st.SearchStrategy[Case]:
    """Return cases that resume a killed run with a changed record, or with a changed newest checkpoint, whose manifest
    is recomputed or not."""
    newest = max(materials.half.glob("checkpoint-*"), key=lambda path: int(path.name.split("-")[1]))

    def case(files: dict[str, bytes], sealed: bool, explicit: bool) -> Case:
        manifest = json.loads((newest / _MANIFEST).read_text())
        manifest |= {name: hashlib.sha256(content).hexdigest() for name, content in files.items() if sealed}
        changed = {_MANIFEST: json.dumps(manifest).encode()} | files
        changed = {f"out/{newest.name}/{name}": content for name, content in changed.items()}
        flags = materials.resumed() | ({"resume_from_checkpoint": f"out/{newest.name}"} if explicit else {})
        return Case("checkpoints", flags, changed, {"out": materials.half})

    def of_json(name: str) -> st.SearchStrategy[dict[str, bytes]]:
        content = json.loads((newest / name).read_text())
        return mutated(content, JSON_VALUES).map(lambda value: {name: json.dumps(value).encode()})

    adapter = _adapter_files(newest / "adapter").map(lambda f: {f"adapter/{n}": content for n, content in f.items()})
    state = [of_json("trainer_state.json"), of_json("progress.json"), of_json(_MANIFEST)]
    changed = st.one_of(*state, adapter, *(_pickled(newest / name) for name in _PICKLED))
    record = json.loads((materials.half / "run.json").read_text())
    records = mutated(record, JSON_VALUES).map(
        lambda value: Case(
            "checkpoints", materials.resumed(), {"out/run.json": json.dumps(value).encode()}, {"out": materials.half}
        )
    )
    cases = st.builds(case, changed, st.sampled_from([True, True, True, False]), st.booleans())
    return st.one_of(cases, cases, cases, records)


@st.composite
def _adapter_files(draw: Callable, folder: Path) -> dict[str, bytes]:
    """Draw a changed config, changed weights or both; three times out of four with recomputed checksums."""
    record = json.loads((folder / _CONFIG).read_text())
    weights = (folder / _WEIGHTS).read_bytes()
    signed = draw(st.sampled_from([True, True, True, False]))
    which = draw(st.sampled_from(["config", "config", "weights", "tensors"]))
    if which == "weights":
        position = draw(st.integers(0, len(weights) - 1))
        weights = weights[:position] + draw(st.binary(max_size=9)) + weights[position + draw(st.integers(0, 9)) :]
    elif which == "tensors":
        weights = safetensors.torch.save(draw(_tensors(safetensors.torch.load(weights))))
    if signed:
        record["weights_sha256"] = hashlib.sha256(weights).hexdigest()
    if which == "config":
        record = draw(mutated(record, JSON_VALUES))
    if signed and isinstance(record, dict):
        record["config_sha256"] = config_checksum(record)
    return {_CONFIG: json.dumps(record).encode(), _WEIGHTS: weights}


@st.composite
def _tensors(draw: Callable, tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Draw the tensors. One of them has another type, shape, name or content, or is missing."""
    name = draw(st.sampled_from(sorted(tensors)))
    tensor = tensors.pop(name)
    how = draw(st.sampled_from(["dtype", "shape", "name", "nan", "huge", "missing", "none left"]))
    if how == "dtype":
        tensor = tensor.to(draw(st.sampled_from(_DTYPES)))
    elif how == "shape":
        tensor = torch.zeros(
            draw(st.sampled_from([(), (0,), (1,), (2, 3, 4), (*tensor.shape, 1), tensor.shape[::-1]]))
        )
    elif how in ("nan", "huge"):
        tensor = torch.full_like(tensor, float("nan") if how == "nan" else 1e38)
    if how == "none left":
        return {}
    return tensors | ({} if how == "missing" else {"x" if how == "name" else name: tensor})


def _pickled(path: Path) -> st.SearchStrategy[dict[str, bytes]]:
    """Return files of torch.save with other content or with code in it, and bytes that torch.save did not write."""
    with safe_globals():  # NumPy's arrays, as the Trainer loads them
        content = torch.load(path, weights_only=True)
    others = st.one_of(JSON_VALUES, st.just(torch.zeros(3)), st.builds(_Exploit))
    contents = st.one_of(mutated(content, others), mutated(content, JSON_VALUES), others).map(_saved)
    return st.one_of(contents, contents, st.binary(max_size=50)).map(lambda value: {path.name: value})


def _saved(value: Any) -> bytes:
    buffer = io.BytesIO()
    torch.save(value, buffer)
    return buffer.getvalue()
