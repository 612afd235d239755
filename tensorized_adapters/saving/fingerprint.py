"""Identifies a frozen base model by its weights and its configuration, for any path, name and precision."""

import hashlib
import json
import re
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedModel

from ..adaptation.parameters import backbone_parameters
from ..backbone.architectures import ARCHITECTURES
from ..backbone.parts import base_prefix

PRECISIONS = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
SAMPLE_SIZE = 64
# Two roundings of one number differ by at most a share of it (bfloat16) plus the smallest step (float16).
_SHARE, _STEP = 2.0**-8, 2.0**-24
# Fields of a configuration that do not change what an evaluated model computes, that a user may set otherwise for the
# same base model, or whose change the fingerprint shows (vocab_size).
_WITHOUT_EFFECT = re.compile(
    r"_.*|.*drop.*|.*_token_id|init.*|output_.*|return_dict|use_return_dict|(id2|num_)labels?|label2id|problem_type"
    r"|architectures|auto_map|.*name_or_path|transformers_version|(torch_)?dtype|.*attn_implementation|vocab_size"
    r"|use_cache|tie_.*|gradient_checkpointing|chunk_size_feed_forward|pretraining_tp|reorder_and_upcast_attn|legacy"
    r"|deterministic_flash_attn|reference_compile|quantization_config|sparse_pred.*|decoder_bias|finetuning_task"
    r"|task_specific_params|tokenizer_class"
)
_OF_HEAD = re.compile(r"classifier_.*|pooler_.*|summary_.*")


def base_identity(model: PreTrainedModel, trained: Iterable[str], head: Iterable[str]) -> dict[str, Any]:
    """Return the fields that identify an adapter's base model; the arguments are those of :func:`base_fingerprint`.

    ``config`` has the configuration that the fingerprint does not show, such as the number of attention heads.
    ``sample`` has a few numbers, for a base that is loaded in a precision that does not give the fingerprint.
    """
    values = _frozen_values(model, trained, head)
    precision = _precision_of(values)
    return {
        "fingerprint": base_fingerprint(model, trained, head, precision),
        "dtype": precision,
        "sample": _sample_of(values).tobytes().hex(),
        "config": _settings_of(model),
    }


def config_differences(recorded: dict[str, Any], model: PreTrainedModel, new_head: bool) -> list[tuple[str, Any, Any]]:
    """Return name, saved value and present value of each field that differs between the configuration in a
    :func:`base_identity` and that of ``model``, and changes what is computed.

    Fields of the head are left out with ``new_head``. Only fields that both have are compared, because versions of
    Transformers add and remove fields. An adapter that was saved without a configuration has no differences.
    """
    found = _differences(recorded.get("config", {}), _settings_of(model))
    return [difference for difference in found if not (new_head and _OF_HEAD.fullmatch(difference[0]))]


def _settings_of(model: PreTrainedModel) -> dict[str, Any]:
    """Return the fields of the configuration that change what the model computes, as JSON holds them."""
    config, architecture = model.config, ARCHITECTURES.get(model.config.model_type)
    content = json.dumps(config.to_dict(), skipkeys=True, default=lambda _: None)  # None: what JSON cannot hold
    settings = _with_effect(json.loads(content))
    if architecture is not None and architecture.positions_after_padding:
        settings["pad_token_id"] = config.pad_token_id
    return settings


def _with_effect(values: dict[str, Any]) -> dict[str, Any]:
    kept = {name: value for name, value in values.items() if not _WITHOUT_EFFECT.fullmatch(name)}
    return {name: _with_effect(value) if isinstance(value, dict) else value for name, value in kept.items()}


def _differences(saved: dict[str, Any], present: dict[str, Any], within: str = "") -> Iterator[tuple[str, Any, Any]]:
    for name in sorted(saved.keys() & present.keys()):
        there, here = saved[name], present[name]
        if isinstance(there, dict) and isinstance(here, dict):
            yield from _differences(there, here, f"{within}{name}.")
        elif there != here:
            yield f"{within}{name}", there, here


def is_base(recorded: dict[str, Any], model: PreTrainedModel, trained: Iterable[str], head: Iterable[str]) -> bool:
    """Return whether ``model`` has the frozen weights of a :func:`base_identity`, even if their precisions differ.

    In the recorded precision or a finer one, the weights must be equal bit for bit after rounding. In another one, the
    recorded bits cannot be computed, and the samples must be equal up to both roundings.
    """
    precision, values = recorded["dtype"], _frozen_values(model, trained, head)
    if _precision_of(values) in ("float32", precision):
        return base_fingerprint(model, trained, head, precision) == recorded["fingerprint"]
    stored, present = np.frombuffer(bytes.fromhex(recorded["sample"]), "<f4"), _sample_of(values)
    return stored.shape == present.shape and np.allclose(stored, present, rtol=_SHARE, atol=_STEP, equal_nan=True)


def token_count(model: PreTrainedModel) -> int:
    """Return how many tokens have embeddings, which ``resize_token_embeddings`` changes; 0 for a model without a table
    of them, such as CANINE, which hashes characters."""
    try:
        return model.get_input_embeddings().weight.shape[0]
    except NotImplementedError:
        return 0


def base_fingerprint(
    model: PreTrainedModel, trained: Iterable[str], head: Iterable[str] = (), precision: str = "float32"
) -> str:
    """Return the sha256 over names, shapes and contents (as float32) of the base model's untrained parameters.

    A moved or renamed base has the same fingerprint, another one of the same shape has not. It is computed each time
    (about a second for BERT-base), because a cache would miss changes through ``parameter.data``.

    Args:
        model: adapted or not.
        trained: names of the trained parameters. If nothing else is left, their values before training are used.
        head: names of parameters of the base that were newly initialised rather than pre-trained.
        precision: one of PRECISIONS, to which the contents are rounded first.
    """
    prefix, digest = base_prefix(model), hashlib.sha256()
    for name, value in _frozen_values(model, trained, head).items():
        content = value.detach().cpu().to(PRECISIONS[precision]).to(torch.float32).contiguous()
        digest.update(f"{name.removeprefix(prefix)} {tuple(content.shape)}\n".encode())
        digest.update(content.view(torch.uint8).numpy())
    return digest.hexdigest()


def _frozen_values(model: PreTrainedModel, trained: Iterable[str], head: Iterable[str]) -> dict[str, Tensor]:
    """Return the parameters that identify the base, sorted by name."""
    adaptation = getattr(model, "adaptation", None)
    originals = adaptation.originals if adaptation else {}
    base = {name: originals.get(name, parameter) for name, parameter in sorted(backbone_parameters(model).items())}
    trained, head = frozenset(trained), frozenset(head)
    names = [name for name in base if name not in trained] or [name for name in base if name not in head]
    return {name: base[name] for name in names}


def _precision_of(values: dict[str, Tensor]) -> str:
    """Return the coarsest precision among the values. float64 counts as float32, in which bases are stored."""
    kinds = {value.dtype for value in values.values()}
    return next((name for name in ("bfloat16", "float16") if PRECISIONS[name] in kinds), "float32")


def _sample_of(values: dict[str, Tensor]) -> np.ndarray:
    """Return SAMPLE_SIZE evenly spaced numbers out of all values, as little-endian float32."""
    starts = np.cumsum([0, *(value.numel() for value in values.values())])
    indices = np.linspace(0, max(starts[-1] - 1, 0), SAMPLE_SIZE).astype(np.int64)
    taken = []
    for start, value in zip(starts, values.values()):
        within = indices[(indices >= start) & (indices < start + value.numel())] - start
        if len(within):
            flat = value.detach().reshape(-1)[torch.from_numpy(within).to(value.device)]
            taken.append(flat.to("cpu", torch.float32).numpy())
    return np.concatenate(taken).astype("<f4") if taken else np.empty(0, "<f4")
