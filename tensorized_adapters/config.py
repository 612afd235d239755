"""What an adapter is: one frozen dataclass that is the flags, the Python interface and the file format at once."""

from dataclasses import dataclass, field
from typing import Literal, Optional

from .errors import UsageError

METHODS = ("tensorized", "layer_norm", "head")
PROJECTION_TYPES = ("cp", "tucker", "tt", "tr", "matrix")
INITS = ("calibrated", "published")
SITES = ("both", "attention", "ffn")

# Which method owns which field. A field that is given although the method does not own it is refused.
METHOD_FIELDS: dict[str, tuple[str, ...]] = {
    "tensorized": (
        "adapter_projection_type",
        "tensorized_layer_rank",
        "adapter_size",
        "if_adapter_like",
        "adapter_init",
        "adapter_sites",
        "train_layer_norm",
    ),
    "layer_norm": (),
    "head": (),
}


@dataclass(frozen=True)
class AdapterConfig:
    """The fine-tuning method and its settings.

    Raises:
        UsageError: for a value outside its range, and when neither a method nor a projection type is named.
    """

    _argument_group_name = "adapter arguments"

    method: Optional[Literal["tensorized", "layer_norm", "head"]] = field(
        default=None,
        metadata={
            "help": "What is trained: 'tensorized' (factorised adapters, LayerNorms, head; the default when a "
            "projection type is given), 'layer_norm' (LayerNorms and head) or 'head' (a linear probe)."
        },
    )
    adapter_projection_type: Optional[Literal["cp", "tucker", "tt", "tr", "matrix"]] = field(
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
    adapter_init: Literal["calibrated", "published"] = field(
        default="calibrated",
        metadata={
            "help": "'calibrated': starts as the identity, down weights with the standard deviation of a dense layer. "
            "'published': every factor uniform in (-0.1, 0.1), one learning rate for all, random head."
        },
    )
    adapter_sites: Literal["both", "attention", "ffn"] = field(
        default="both", metadata={"help": "After which sublayers adapters are injected."}
    )
    train_layer_norm: bool = field(default=True, metadata={"help": "Train all LayerNorms beside the adapters."})

    def __post_init__(self) -> None:
        if self.method is None:
            if self.adapter_projection_type is None:
                raise UsageError(
                    f"no method chosen: give --adapter_projection_type {{{','.join(PROJECTION_TYPES)}}} for "
                    f"tensorized adapters, or --method {{{','.join(METHODS[1:])}}} for a baseline"
                )
            object.__setattr__(self, "method", "tensorized")
        _require_choice("method", self.method, METHODS)
        if self.method == "tensorized":
            if self.adapter_projection_type is None:
                raise UsageError(
                    f"--method tensorized needs --adapter_projection_type {{{','.join(PROJECTION_TYPES)}}}"
                )
            _require_choice("adapter_projection_type", self.adapter_projection_type, PROJECTION_TYPES)
        elif self.adapter_projection_type is not None:
            raise UsageError(
                f"--adapter_projection_type does not belong to --method {self.method}; leave one of them out"
            )
        _require_choice("adapter_init", self.adapter_init, INITS)
        _require_choice("adapter_sites", self.adapter_sites, SITES)
        for name in ("tensorized_layer_rank", "adapter_size"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise UsageError(f"--{name} must be a whole number of at least 1, got {value!r}")
        for name in ("if_adapter_like", "train_layer_norm"):
            if not isinstance(getattr(self, name), bool):
                raise UsageError(f"--{name} must be True or False, got {getattr(self, name)!r}")

    @property
    def trains_layer_norm(self) -> bool:
        return self.method == "layer_norm" or (self.method == "tensorized" and self.train_layer_norm)

    @property
    def calibrated(self) -> bool:
        """Whether the calibrated start, its learning rates per factor and its head start apply."""
        return self.adapter_init == "calibrated"

    def describe(self) -> str:
        """A short name such as ``cp-4``, as the paper's tables have it."""
        if self.method != "tensorized":
            return self.method
        mode = "" if self.if_adapter_like else " (one matrix)"
        return f"{self.adapter_projection_type}-{self.tensorized_layer_rank}{mode}"

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
            raise UsageError(f"unknown method {method!r}; known: {', '.join(METHODS)}")
        expected = {"method", *METHOD_FIELDS[method]}
        if set(values) != expected:
            odd = sorted(expected ^ set(values))
            raise UsageError(
                f"the settings of method {method!r} must be {sorted(expected)}; missing or foreign: {odd}"
            )
        return cls(**values)


def _require_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise UsageError(f"--{name} must be one of {', '.join(choices)}, got {value!r}")
