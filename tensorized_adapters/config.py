"""AdapterConfig: the method and its settings, their checks, and the table of methods with their default rates."""

import re
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, Optional

from .errors import UsageError, quoted
from .peft_json import canonical


@dataclass(frozen=True)
class MethodEntry:
    """What the flags need to know of a method; methods/ has the rest of it, a class each."""

    what: str
    learning_rate: float  # of what it adds or trains in the backbone, where --learning_rate is not given
    label: str  # a short name, of the config's fields
    fields: tuple[str, ...] = ()  # that it owns: one that is given although the method does not own it is refused
    # Which default rates are smaller for larger models (backbone/default_rates.py): every one, those of LayerNorms and
    # head alone, or none.
    shrinks: Literal["all", "layer_norm_and_head", "none"] = "all"
    changes_backbone: bool = False  # trains pre-trained numbers other than LayerNorms


_SITES = ("adapter_sites", "adapter_layers", "train_layer_norm")

_DIFF = "sparsity structured l0_penalty gate_learning_rate final_fraction final_learning_rate".split()

TABLE: dict[str, MethodEntry] = {
    "tensorized": MethodEntry(
        "factorised adapters and LayerNorms; the default when a projection type is given",
        2e-3,
        "{adapter_projection_type}-{tensorized_layer_rank}",
        ("adapter_projection_type", "tensorized_layer_rank", "adapter_size", "if_adapter_like", "tensor_split")
        + ("tensor_scope", "adapter_placement", "adapter_scale", "lora_targets", "adapter_init", *_SITES),
    ),
    "dense": MethodEntry(
        "Houlsby adapters and LayerNorms",
        1e-3,
        "dense-{adapter_size}",
        ("adapter_size", *_SITES),
        shrinks="layer_norm_and_head",
    ),
    "compacter": MethodEntry(
        "PHM adapters and LayerNorms", 2e-3, "compacter{plus}-{adapter_size}", ("adapter_size", "phm_dim", *_SITES)
    ),
    "bitfit": MethodEntry("biases", 2e-3, "bitfit", ("bitfit_terms",), changes_backbone=True),
    "layer_norm": MethodEntry("LayerNorms", 2e-3, "layer_norm", ("adapter_layers",)),
    "head": MethodEntry("nothing else: a linear probe", 2e-3, "head"),
    "lora": MethodEntry(
        "low-rank updates, through peft",
        2e-3,
        "lora-{lora_r}",
        ("lora_r", "lora_alpha", "lora_dropout", "lora_targets"),
    ),
    "ia3": MethodEntry("rescaled keys, values and inner activations, through peft", 5e-3, "ia3"),
    "peft": MethodEntry("any other method of peft (--peft_type)", 2e-3, "{peft_type}", ("peft_type", "peft_config")),
    "diff_pruning": MethodEntry(
        "a sparse difference",
        2e-4,
        "diff_pruning-{diff_sparsity:g}",
        tuple(f"diff_{name}" for name in _DIFF),
        shrinks="none",
        changes_backbone=True,
    ),
    "full": MethodEntry("everything", 5e-5, "full", shrinks="none", changes_backbone=True),
}

METHODS = tuple(TABLE)

METHOD_FIELDS = {name: entry.fields for name, entry in TABLE.items()}

PUBLISHED_LEARNING_RATE = 2e-4  # of everything, with --adapter_init published

# By how much LayerNorms and head learn faster than adapters, on a model of MiniLM's size.
LAYER_NORM_AND_HEAD_RATIO = 2.5

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
    """Fields of tensorized adapters that have no effect with this ``--adapter_placement``."""
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


# Fields that files of earlier versions lack, with the value that says what they meant.
LATER = {"adapter_layers": None, "tensor_split": "separate", "tensor_scope": "site"}

LATER |= {"adapter_placement": "sequential", "adapter_scale": None, "lora_targets": None}


@dataclass(frozen=True)
class AdapterConfig:
    """The fine-tuning method and its settings.

    Raises:
        UsageError: for a value outside its range, and when neither a method nor a projection type is named.
    """

    _argument_group_name = "adapter arguments"

    method: Optional[Literal[METHODS]] = field(
        default=None,
        metadata={
            "help": "What is trained, always with the head: "
            + "; ".join(f"'{name}': {entry.what}" for name, entry in TABLE.items())
            + "."
        },
    )
    adapter_projection_type: Optional[Literal[PROJECTION_TYPES]] = field(
        default=None,
        metadata={
            "help": "Format of the adapters' projections: CP, Tucker, Tensor-Train, Tensor-Ring, or a low-rank matrix."
        },
    )
    tensorized_layer_rank: int = field(
        default=4, metadata={"help": "Rank of the factorisation, the same for every mode and bond."}
    )
    adapter_size: int = field(default=64, metadata={"help": "Bottleneck dimension m of the adapters."})
    if_adapter_like: bool = field(
        default=True,
        metadata={
            "help": "True: bottleneck adapter h + up(relu(down(h))). False: one square matrix, h + relu(h W); "
            "--adapter_size is not used then."
        },
    )
    tensor_split: Literal[SPLITS] = field(
        default="separate",
        metadata={
            "help": "How a weight's modes stand in the tensor: 'separate', input modes before output modes, as "
            "published; 'interleaved', in pairs, which makes it a sum of Kronecker products."
        },
    )
    tensor_scope: Literal[SCOPES] = field(
        default="site",
        metadata={
            "help": "Whose weights a tensor holds: 'site', one adapter's, as published; 'model', those of all "
            "adapters, with a mode of sites."
        },
    )
    adapter_placement: Literal[PLACEMENTS] = field(
        default="sequential",
        metadata={
            "help": "Where tensorized adapters stand: 'sequential', behind the sublayers, as published; 'parallel', "
            "beside them; 'weights', as updates of the linear layers of --lora_targets, which can be merged."
        },
    )
    adapter_scale: Optional[float] = field(
        default=None, metadata={"help": "What their update is multiplied by (default: 1; 'parallel': 4)."}
    )
    adapter_init: Literal[INITS] = field(
        default="calibrated",
        metadata={
            "help": "'calibrated': starts as the identity, down weights with the standard deviation of a dense layer. "
            "'published': every factor uniform in (-0.1, 0.1), one learning rate for all, random head."
        },
    )
    adapter_sites: Literal[SITES] = field(
        default="both", metadata={"help": "After which sublayers adapters are injected."}
    )
    adapter_layers: Optional[str] = field(
        default=None,
        metadata={
            "help": "Layers that get adapters and trained LayerNorms, such as 6-11 or 0,2,8-11 (default: all, and the "
            "LayerNorm of the embeddings). Nothing below the lowest of them is differentiated."
        },
    )
    train_layer_norm: bool = field(default=True, metadata={"help": "Train all LayerNorms beside the adapters."})
    phm_dim: int = field(
        default=4, metadata={"help": "compacter: number n of Kronecker products; divides hidden and adapter size."}
    )
    bitfit_terms: Literal[BITFIT_TERMS] = field(
        default="all", metadata={"help": "bitfit: all biases, or those of the queries and of the first FFN layers."}
    )
    lora_r: int = field(default=8, metadata={"help": "lora: rank of the update."})
    lora_alpha: int = field(default=16, metadata={"help": "lora: the update is scaled by alpha / r."})
    lora_dropout: float = field(default=0.0, metadata={"help": "lora: dropout before the update."})
    lora_targets: Optional[str] = field(
        default=None,
        metadata={
            "help": "lora, and --adapter_placement weights: names of the linear layers that are updated, such as "
            "query,value,intermediate.dense (default: the projections of queries and values)."
        },
    )
    peft_type: Optional[str] = field(
        default=None,
        metadata={"help": "peft: PEFT's name of the method, such as vera, fourierft or loha."},
    )
    peft_config: str = field(
        default="{}",
        metadata={"help": "peft: PEFT's settings, as JSON such as '{\"r\": 8}' or a path to a JSON file."},
    )
    diff_sparsity: float = field(
        default=0.005, metadata={"help": "diff_pruning: share of the pre-trained numbers that end up changed."}
    )
    diff_structured: bool = field(
        default=True, metadata={"help": "diff_pruning: gates by module on top of those by number."}
    )
    diff_l0_penalty: float = field(
        default=1.25e-7, metadata={"help": "diff_pruning: weight of the expected number of changed numbers."}
    )
    diff_gate_learning_rate: float = field(default=0.1, metadata={"help": "diff_pruning: the gates' learning rate."})
    diff_final_fraction: float = field(
        default=0.5,
        metadata={"help": "diff_pruning: share of the steps that come after pruning and train what was kept."},
    )
    diff_final_learning_rate: float = field(
        default=1e-3, metadata={"help": "diff_pruning: learning rate of what was kept, on the same schedule."}
    )

    def __post_init__(self) -> None:
        for name in ("method", "adapter_projection_type"):  # CP and LoRA are how the papers write them
            if isinstance(getattr(self, name), str):
                object.__setattr__(self, name, getattr(self, name).lower())
        if self.method is None:
            if self.adapter_projection_type is None:
                raise UsageError(
                    f"no method chosen: give --adapter_projection_type {{{','.join(PROJECTION_TYPES)}}} for "
                    f"tensorized adapters, or --method {{{','.join(METHODS[1:])}}} for a baseline"
                )
            object.__setattr__(self, "method", "tensorized")
        require_choice("method", self.method, METHODS)
        if self.method == "tensorized":
            if self.adapter_projection_type is None:
                raise UsageError(
                    f"--method tensorized needs --adapter_projection_type {{{','.join(PROJECTION_TYPES)}}}"
                )
            require_choice("adapter_projection_type", self.adapter_projection_type, PROJECTION_TYPES)
        elif self.adapter_projection_type is not None:
            raise UsageError(
                f"--adapter_projection_type does not belong to --method {self.method}; leave one of them out"
            )
        object.__setattr__(self, "peft_config", canonical(self.peft_config))
        if self.method == "peft":
            if not isinstance(self.peft_type, str) or not self.peft_type:
                raise UsageError("--method peft needs --peft_type, such as vera, fourierft, loha, lokr, boft or oft")
            object.__setattr__(self, "peft_type", self.peft_type.lower())
        check_settings(self)

    @property
    def trains_layer_norm(self) -> bool:
        """Whether all LayerNorms are trained as a group of their own (bitfit and full train them otherwise)."""
        if self.method == "layer_norm":
            return True
        return "train_layer_norm" in METHOD_FIELDS[self.method] and self.train_layer_norm

    @property
    def lora_target_names(self) -> tuple[str, ...]:
        """``--lora_targets`` as names; empty for the architecture's own default."""
        return tuple(name.strip() for name in self.lora_targets.split(",")) if self.lora_targets is not None else ()

    @property
    def layers(self) -> Optional[tuple[int, ...]]:
        """``--adapter_layers`` as ascending indices from 0; None for all."""
        return None if self.adapter_layers is None else parse_layers(self.adapter_layers)

    @property
    def bottleneck(self) -> Optional[int]:
        """The bottleneck dimension of tensorized adapters; None in one-matrix mode."""
        return self.adapter_size if self.if_adapter_like else None

    @property
    def scale(self) -> float:
        """What the update of tensorized adapters is multiplied by; beside a sublayer 4, as in He et al. (2022)."""
        if self.adapter_scale is not None:
            return self.adapter_scale
        return 4.0 if self.adapter_placement == "parallel" else 1.0

    @property
    def calibrated(self) -> bool:
        """Whether the calibrated start, with its gain and its head start, applies."""
        return self.adapter_init == "calibrated"

    def describe(self) -> str:
        """A short name such as ``cp-4``, as the paper's tables have it."""
        plus = "++" if self.adapter_sites == "ffn" else ""  # as Compacter's authors call it
        told = TABLE[self.method].label.format(**asdict(self), plus=plus)
        notes = {
            "if_adapter_like": {False: "one matrix"},
            "tensor_split": {"interleaved": "interleaved"},
            "tensor_scope": {"model": "joint"},
            "adapter_placement": {"parallel": "parallel", "weights": "weights"},
            "adapter_scale": {s: f"scale {s:g}" for s in (self.adapter_scale,) if s is not None},
            "lora_targets": {names: names for names in (self.lora_targets,) if self.method == "tensorized" and names},
            "bitfit_terms": {"query_and_intermediate": "query and intermediate"},
            "peft_config": {text: text[1:-1].replace('"', "") for text in (self.peft_config,) if text != "{}"},
            "phm_dim": {n: f"n={n}" for n in (self.phm_dim,) if n != 4},
        }
        owned = {name: values for name, values in notes.items() if name in TABLE[self.method].fields}
        notes_told = [values[getattr(self, name)] for name, values in owned.items() if getattr(self, name) in values]
        return told + (f" ({', '.join(notes_told)})" if notes_told else "")

    def to_dict(self) -> dict:
        """The method and the fields it owns: what is written to ``adapter_config.json``."""
        return {"method": self.method} | {name: getattr(self, name) for name in METHOD_FIELDS[self.method]}

    @classmethod
    def from_dict(cls, values: dict) -> "AdapterConfig":
        """The inverse of :meth:`to_dict`.

        Raises:
            UsageError: for unknown, missing or foreign fields: a file that was written by hand or by a newer version.
        """
        method = values.get("method")
        if method not in METHOD_FIELDS:
            raise UsageError(f"unknown method {quoted(method)}; known: {', '.join(METHODS)}")
        expected = {"method", *METHOD_FIELDS[method]}
        # Fields that came later: files written before lack them.
        values = {name: value for name, value in LATER.items() if name in expected} | values
        if set(values) != expected:
            odd = sorted(expected ^ set(values))
            raise UsageError(
                f"the settings of method {method!r} must be {sorted(expected)}; missing or foreign: {quoted(odd, 200)}"
            )
        return cls(**values)
