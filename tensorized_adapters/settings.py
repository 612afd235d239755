"""What the settings of a method can be: choices, ranges, and which go together."""

import re
from typing import Any

from .errors import UsageError, quoted

PROJECTION_TYPES = ("cp", "tucker", "tt", "tr", "matrix")
INITS = ("calibrated", "published")
SITES = ("both", "attention", "ffn")
SPLITS = ("separate", "interleaved")
SCOPES = ("site", "model")
PLACEMENTS = ("sequential", "parallel", "weights")
BITFIT_TERMS = ("all", "query_and_intermediate")

# Field -> lowest value, bound above, whether the lowest belongs to the range.
_RANGES = {
    "lora_dropout": (0, 1, True),
    "adapter_scale": (0, float("inf"), False),
    "diff_sparsity": (0, 1, False),
    "diff_final_fraction": (0, 1, False),
    "diff_l0_penalty": (0, float("inf"), True),
    "diff_gate_learning_rate": (0, float("inf"), True),
    "diff_final_learning_rate": (0, float("inf"), True),
}


def check_settings(config: Any) -> None:
    """Refuse what an AdapterConfig cannot hold; raises UsageError naming the flag."""
    for name, choices in (
        ("adapter_init", INITS),
        ("adapter_sites", SITES),
        ("tensor_split", SPLITS),
        ("tensor_scope", SCOPES),
        ("adapter_placement", PLACEMENTS),
        ("bitfit_terms", BITFIT_TERMS),
    ):
        require_choice(name, getattr(config, name), choices)
    for name in ("tensorized_layer_rank", "adapter_size", "phm_dim", "lora_r", "lora_alpha"):
        value = getattr(config, name)
        if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= 10**6:
            least = "a whole number of at least 1 and at most 10**6"
            raise UsageError(f"--{name} must be {least}, got {quoted(value)}")
    for name in ("if_adapter_like", "train_layer_norm", "diff_structured"):
        if not isinstance(getattr(config, name), bool):
            raise UsageError(f"--{name} must be True or False, got {quoted(getattr(config, name))}")
    for name, (low, high, includes_low) in _RANGES.items():
        value = getattr(config, name)
        if name == "adapter_scale" and value is None:
            continue
        whole = isinstance(value, int) and not isinstance(value, bool) and value < 2**53
        number = whole or isinstance(value, float)
        if not number or not (low <= value if includes_low else low < value) or not value < high:
            least = f"{'at least' if includes_low else 'above'} {low} and below {high:g}"
            raise UsageError(f"--{name} must be a number {least}, got {quoted(value)}")
    if config.tensor_split == "interleaved" and config.adapter_projection_type == "matrix":
        raise UsageError("--tensor_split interleaved needs modes to interleave, and matrix has none; leave it out")
    if config.method == "tensorized" and config.lora_targets is not None and config.adapter_placement != "weights":
        raise UsageError("--lora_targets belongs to --adapter_placement weights; leave one of them out")
    config.layers  # noqa: B018 - refuses what it cannot read
    targets = config.lora_targets
    if targets is not None and not (isinstance(targets, str) and all(config.lora_target_names)):
        raise UsageError(
            f"--lora_targets {quoted(config.lora_targets)} must be names of linear layers, such as query,value"
        )


def unused_fields(placement: str) -> set[str]:
    """Fields of tensorized adapters that say nothing with this ``--adapter_placement``."""
    return {"adapter_size", "if_adapter_like", "adapter_sites"} if placement == "weights" else {"lora_targets"}


def require_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise UsageError(f"--{name} must be one of {', '.join(choices)}, got {quoted(value)}")


def parse_layers(text: str) -> tuple[int, ...]:
    """Layers such as ``"6-11"`` or ``"0,2,8-11"`` as ascending indices from 0.

    Raises:
        UsageError: for anything else.
    """
    found: set[int] = set()
    for part in text.split(",") if isinstance(text, str) else ("",):
        match = re.fullmatch(r"\s*(\d{1,4})(?:\s*-\s*(\d{1,4}))?\s*", part)
        if not match or int(match[2] or match[1]) < int(match[1]):
            raise UsageError(f"--adapter_layers {quoted(text)} is not like 6-11 or 0,2,8-11")
        found |= set(range(int(match[1]), int(match[2] or match[1]) + 1))
    return tuple(sorted(found))
