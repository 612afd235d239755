"""The methods at a glance: what each trains, its learning rate where none is given, and the settings it owns."""

from dataclasses import dataclass


@dataclass(frozen=True)
class MethodEntry:
    """What the flags need to know of a method; methods/ has the rest of it, a class each."""

    what: str
    learning_rate: float  # of what it adds or trains in the backbone, where --learning_rate is not given
    label: str  # a short name, of the config's fields
    fields: tuple[str, ...] = ()  # that it owns: one that is given although the method does not own it is refused
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
    "dense": MethodEntry("Houlsby adapters and LayerNorms", 1e-3, "dense-{adapter_size}", ("adapter_size", *_SITES)),
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
    "diff_pruning": MethodEntry(
        "a sparse difference",
        2e-4,
        "diff_pruning-{diff_sparsity:g}",
        tuple(f"diff_{name}" for name in _DIFF),
        changes_backbone=True,
    ),
    "full": MethodEntry("everything", 5e-5, "full", changes_backbone=True),
}
METHODS = tuple(TABLE)
METHOD_FIELDS = {name: entry.fields for name, entry in TABLE.items()}
PUBLISHED_LEARNING_RATE = 2e-4  # of everything, with --adapter_init published
# By how much LayerNorms and head learn faster than adapters.
LAYER_NORM_AND_HEAD_RATIO = 2.5
