"""AdapterConfig, the method and its settings, and the checks of its fields."""

import math
import re
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal, Optional, get_args, get_origin

from .errors import UsageError, quoted, refuse_first
from .method_table import LAYER_NORM_AND_HEAD_RATIO, METHOD_FIELDS, METHODS, PUBLISHED_LEARNING_RATE, TABLE  # noqa: F401
from .strict_json import canonical_peft_config

PROJECTION_TYPES = ("cp", "tucker", "tt", "tr", "matrix")
SITES = ("both", "attention", "ffn")
SPLITS = ("separate", "interleaved")
SCOPES = ("site", "model")
PLACEMENTS = ("sequential", "parallel", "weights")
BITFIT_TERMS = ("all", "query_and_intermediate")
# The types of problems in a model's configuration, by which Transformers chooses the loss.
REGRESSION, SINGLE_LABEL, MULTI_LABEL = "regression", "single_label_classification", "multi_label_classification"

# The valid values of settings that are numbers but not counts: a description and a test.
_RANGES: dict[str, tuple[str, Callable[[float], bool]]] = {
    "lora_dropout": ("at least 0 and below 1", lambda value: 0 <= value < 1),
    "adapter_scale": ("above 0", lambda value: 0 < value < math.inf),
    **dict.fromkeys(("diff_sparsity", "diff_final_fraction"), ("above 0 and below 1", lambda value: 0 < value < 1)),
    **dict.fromkeys(
        ("diff_l0_penalty", "diff_gate_learning_rate", "diff_final_learning_rate"),
        ("at least 0", lambda value: 0 <= value < math.inf),
    ),
}


def setting(default: Any, text: str, **options: Any) -> Any:
    """Return a field of a dataclass of flags, with its default, its help and argparse's ``options``. Transformers'
    HfArg does the same, but takes seconds to import, and the help of a command must not wait for it."""
    return field(default=default, metadata={"help": text} | options)


@dataclass(frozen=True)
class AdapterConfig:
    """The method and its settings. Flags, Python interface and file format are these fields. Raise UsageError for a
    value outside its range, and if neither a method nor a projection type is named."""

    _argument_group_name = "adapter arguments"

    method: Optional[Literal[METHODS]] = setting(
        None,
        "What is trained, always with the head: "
        + "; ".join(f"'{name}': {entry.trains}" for name, entry in TABLE.items())
        + ".",
    )
    adapter_projection_type: Optional[Literal[PROJECTION_TYPES]] = setting(
        None, "Format of the adapters' projections: CP, Tucker, Tensor-Train, Tensor-Ring, or a low-rank matrix."
    )
    tensorized_layer_rank: int = setting(4, "Rank of the factorisation, the same for every mode and bond.")
    adapter_size: int = setting(64, "Bottleneck dimension m of the adapters.")
    if_adapter_like: bool = setting(
        True,
        "True: bottleneck adapter h + up(relu(down(h))). False: one square matrix, h + relu(h W); "
        "--adapter_size is not used then.",
    )
    tensor_split: Literal[SPLITS] = setting(
        "separate",
        "Order of a weight's modes in the tensor: 'separate', input modes before output modes, as "
        "published; 'interleaved', pairs of them, so that the weight is a sum of Kronecker products.",
    )
    tensor_scope: Literal[SCOPES] = setting(
        "site",
        "What a tensor holds: 'site', the weights of one adapter, as published; 'model', those of all "
        "adapters, with one more mode for the sites.",
    )
    adapter_placement: Literal[PLACEMENTS] = setting(
        "sequential",
        "Where tensorized adapters are: 'sequential', behind the sublayers, as published; 'parallel', "
        "beside them; 'weights', updates of the linear layers of --lora_targets, which can be merged.",
    )
    adapter_scale: Optional[float] = setting(
        None, "Factor of the tensorized adapters' updates (default: 1; 'parallel': 4)."
    )
    adapter_init: Literal["calibrated", "published"] = setting(
        "calibrated",
        "'calibrated': adapters start as the identity, down projections with the spread of a dense layer. "
        "'published': every factor uniform in (-0.1, 0.1), one learning rate, random head.",
    )
    adapter_sites: Literal[SITES] = setting("both", "Sublayers that get adapters.")
    adapter_layers: Optional[str] = setting(
        None,
        "Layers that get adapters and trained LayerNorms, such as 6-11 or 0,2,8-11 (default: all, and the "
        "LayerNorm of the embeddings). No gradient is computed below the lowest of them.",
    )
    train_layer_norm: bool = setting(True, "Train all LayerNorms too.")
    phm_dim: int = setting(4, "compacter: number n of Kronecker products; divides hidden and adapter size.")
    bitfit_terms: Literal[BITFIT_TERMS] = setting(
        "all", "bitfit: all biases, or those of the queries and of the first FFN layers."
    )
    lora_r: int = setting(8, "lora: rank of the update.")
    lora_alpha: int = setting(16, "lora: the update is scaled by alpha / r.")
    lora_dropout: float = setting(0.0, "lora: dropout before the update.")
    lora_targets: Optional[str] = setting(
        None,
        "lora, and --adapter_placement weights: names of the linear layers that are updated, such as "
        "query,value,intermediate.dense (default: the projections of queries and values).",
    )
    peft_type: Optional[str] = setting(None, "peft: PEFT's name of the method, such as vera, fourierft or loha.")
    peft_config: str = setting("{}", "peft: PEFT's settings, as JSON such as '{\"r\": 8}' or a path to a JSON file.")
    diff_sparsity: float = setting(0.005, "diff_pruning: share of the pre-trained numbers that differ in the end.")
    diff_structured: bool = setting(True, "diff_pruning: also a gate for each module, beside those of single numbers.")
    diff_l0_penalty: float = setting(1.25e-7, "diff_pruning: weight of the expected number of changed numbers.")
    diff_gate_learning_rate: float = setting(0.1, "diff_pruning: the gates' learning rate.")
    diff_final_fraction: float = setting(
        0.5, "diff_pruning: share of the steps after pruning, which train the kept numbers."
    )
    diff_final_learning_rate: float = setting(
        1e-3, "diff_pruning: learning rate of the kept numbers, on the same schedule."
    )

    def __post_init__(self) -> None:
        for name in ("method", "adapter_projection_type", "peft_type"):  # the papers write CP and LoRA
            if isinstance(getattr(self, name), str):
                object.__setattr__(self, name, getattr(self, name).lower())
        if self.method is None and self.adapter_projection_type is not None:
            object.__setattr__(self, "method", "tensorized")
        object.__setattr__(self, "peft_config", canonical_peft_config(self.peft_config))
        refuse_first(flaws_of_settings(self))

    @property
    def trains_layer_norm(self) -> bool:
        """Return whether all LayerNorms are trained as a group of their own (bitfit and full: with the backbone)."""
        if self.method == "layer_norm":
            return True
        return "train_layer_norm" in METHOD_FIELDS[self.method] and self.train_layer_norm

    @property
    def layers(self) -> Optional[tuple[int, ...]]:
        """Return ``--adapter_layers`` as ascending indices from 0, or None for all."""
        return None if self.adapter_layers is None else parse_layers(self.adapter_layers)

    @property
    def scale(self) -> float:
        """Return the factor of tensorized adapters' updates; 4 beside a sublayer, as in He et al. (2022)."""
        if self.adapter_scale is not None:
            return self.adapter_scale
        return 4.0 if self.adapter_placement == "parallel" else 1.0

    @property
    def calibrated(self) -> bool:
        """Return whether the start is calibrated, with its gain and the head's bias at the labels' prior."""
        return self.adapter_init == "calibrated"

    def describe(self) -> str:
        """Return a short name, such as ``cp-4`` in the paper's tables."""
        plus = "++" if self.adapter_sites == "ffn" else ""  # the name that Compacter's authors gave it
        label = TABLE[self.method].label.format(**asdict(self), plus=plus)
        notes = {
            "if_adapter_like": not self.if_adapter_like and "one matrix",
            "tensor_split": self.tensor_split == "interleaved" and "interleaved",
            "tensor_scope": self.tensor_scope == "model" and "joint",
            "adapter_placement": self.adapter_placement != "sequential" and self.adapter_placement,
            "adapter_scale": self.adapter_scale is not None and f"scale {self.adapter_scale:g}",
            "lora_targets": self.method == "tensorized" and self.lora_targets,
            "bitfit_terms": self.bitfit_terms == "query_and_intermediate" and "query and intermediate",
            "peft_config": self.peft_config != "{}" and self.peft_config[1:-1].replace('"', ""),
            "phm_dim": self.phm_dim != 4 and f"n={self.phm_dim}",
        }
        chosen = [note for name, note in notes.items() if note and name in TABLE[self.method].fields]
        return label + (f" ({', '.join(chosen)})" if chosen else "")

    def to_dict(self) -> dict:
        """Return the method and the fields it owns, as ``adapter_config.json`` holds them."""
        return {"method": self.method} | {name: getattr(self, name) for name in METHOD_FIELDS[self.method]}

    @classmethod
    def from_dict(cls, values: dict) -> "AdapterConfig":
        """Return the inverse of :meth:`to_dict`. A field that is missing has its default. Raise UsageError for an
        unknown method or field, as in a file of a newer version."""
        method = values.get("method")
        if method not in METHOD_FIELDS:
            raise UsageError(f"unknown method {quoted(method)}; known: {', '.join(METHODS)}")
        if unknown := sorted(values.keys() - {"method", *METHOD_FIELDS[method]}):
            known = ", ".join(METHOD_FIELDS[method])
            raise UsageError(f"method {method!r} has no settings {quoted(unknown, 200)}; known: {known}")
        return cls(**values)


def flaws_of_settings(config: AdapterConfig) -> Iterator[str]:
    """Yield a message for each setting that is out of range, or that excludes another."""
    method, projection_type = config.method, config.adapter_projection_type
    formats = f"--adapter_projection_type {{{','.join(PROJECTION_TYPES)}}}"
    if method is None:
        yield f"no method chosen: give {formats}, or --method {{{','.join(METHODS[1:])}}} for a baseline"
    yield from flaws_of_choice("method", method, METHODS)
    if method == "tensorized" and projection_type is None:
        yield f"--method tensorized needs {formats}"
    elif method == "tensorized":
        yield from flaws_of_choice("adapter_projection_type", projection_type, PROJECTION_TYPES)
    elif projection_type is not None:
        yield f"--adapter_projection_type does not belong to --method {method}; leave one of them out"
    for each in fields(config):
        name, value = each.name, getattr(config, each.name)
        if isinstance(each.default, bool):
            if not isinstance(value, bool):
                yield f"--{name} must be True or False, got {quoted(value)}"
        elif isinstance(each.default, int):
            if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= 10**6:
                yield f"--{name} must be an integer of at least 1 and at most 10**6, got {quoted(value)}"
        elif isinstance(each.default, str) and get_origin(each.type) is Literal:
            yield from flaws_of_choice(name, value, get_args(each.type))
        elif name in _RANGES and not (name == "adapter_scale" and value is None):
            range_, holds = _RANGES[name]
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not holds(value):
                yield f"--{name} must be a number {range_}, got {quoted(value)}"
    if method == "peft" and not (isinstance(config.peft_type, str) and config.peft_type):
        yield "--method peft needs --peft_type, such as vera, fourierft, loha, lokr, boft or oft"
    if config.tensor_split == "interleaved" and projection_type == "matrix":
        yield "--tensor_split interleaved needs modes to interleave, and matrix has none; leave it out"
    targets = config.lora_targets
    if method == "tensorized" and targets is not None and config.adapter_placement != "weights":
        yield "--lora_targets belongs to --adapter_placement weights; leave one of them out"
    if targets is not None and not (isinstance(targets, str) and all(name.strip() for name in targets.split(","))):
        yield f"--lora_targets {quoted(targets)} must be names of linear layers, such as query,value"
    if config.adapter_layers is not None:
        parse_layers(config.adapter_layers)


def flaws_of_choice(name: str, value: str, choices: tuple[str, ...]) -> Iterator[str]:
    if value not in choices:
        yield f"--{name} must be one of {', '.join(choices)}, got {quoted(value)}"


def unused_fields(placement: str) -> set[str]:
    """Return fields of tensorized adapters that have no effect with this ``--adapter_placement``."""
    return {"adapter_size", "if_adapter_like", "adapter_sites"} if placement == "weights" else {"lora_targets"}


def parse_layers(text: str) -> tuple[int, ...]:
    """Return the indices, ascending from 0, that a text such as ``"6-11"`` or ``"0,2,8-11"`` stands for. Raise
    UsageError if it cannot be read."""
    found: set[int] = set()
    for part in text.split(",") if isinstance(text, str) else ("",):
        match = re.fullmatch(r"\s*(\d{1,4})(?:\s*-\s*(\d{1,4}))?\s*", part)
        if not match or int(match[2] or match[1]) < int(match[1]):
            raise UsageError(f"--adapter_layers must be layers such as 6-11 or 0,2,8-11, got {quoted(text)}")
        found |= set(range(int(match[1]), int(match[2] or match[1]) + 1))
    return tuple(sorted(found))
