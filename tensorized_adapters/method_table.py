"""The table of methods: what each one trains, its default learning rate, its short name and the settings it owns."""

import math
from dataclasses import dataclass
from typing import Optional


@dataclass(frozen=True)
class MethodEntry:
    """The facts about a method that flags and defaults need. Its class in methods/ does the rest."""

    trains: str  # what it trains beside the head, for --help
    learning_rate: float  # the default --learning_rate, of adapters and backbone
    label: str  # a short name, filled with the config's fields
    fields: tuple[str, ...] = ()  # the settings it owns; others are refused
    # How default rates change for larger models. Those of adapters, LayerNorms and head are multiplied by these powers
    # of rate_factor (backbone/default_rates.py), which is 1/2 at BERT-base's size. So rates with a positive power
    # shrink, and those with a negative one grow.
    rate_powers: tuple[float, float, float] = (1, 2, 2)
    changes_backbone: bool = False  # it trains pre-trained numbers other than LayerNorms
    optimizer_of_large: Optional[str] = None  # the default --optim for models larger than MiniLM, if not the Trainer's


_SITES = ("adapter_sites", "adapter_layers", "train_layer_norm")

_DIFF = "sparsity structured l0_penalty gate_learning_rate final_fraction final_learning_rate".split()

TABLE: dict[str, MethodEntry] = {
    "tensorized": MethodEntry(
        "factorised adapters and LayerNorms; the default when a projection type is given",
        2e-3,
        "{adapter_projection_type}-{tensorized_layer_rank}",
        ("adapter_projection_type", "tensorized_layer_rank", "adapter_size", "if_adapter_like", "tensor_split")
        + ("tensor_scope", "adapter_placement", "adapter_scale", "lora_targets", "adapter_init", *_SITES),
        rate_powers=(-math.log2(1.25), 2, 2),  # 2.5e-3 at BERT-base's size, but for TT; docs/experiments.md
        optimizer_of_large="adafactor",  # with AdamW, MPNet collapses on CoLA at twice these rates
    ),
    "dense": MethodEntry(
        "Houlsby adapters and LayerNorms",
        1e-3,
        "dense-{adapter_size}",
        ("adapter_size", *_SITES),
        rate_powers=(0, 3, 1),  # with LayerNorms at 1.25e-3 instead of 3.1e-4, MPNet collapses on RTE
        optimizer_of_large="adafactor",  # with AdamW, one of three seeds of MPNet collapses on CoLA
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
        rate_powers=(0, 0, 0),
        changes_backbone=True,
    ),
    "full": MethodEntry("everything", 5e-5, "full", rate_powers=(0, 0, 0), changes_backbone=True),
}

METHODS = tuple(TABLE)

METHOD_FIELDS = {name: entry.fields for name, entry in TABLE.items()}

PUBLISHED_LEARNING_RATE = 2e-4  # one rate for everything, with --adapter_init published

# The rate of LayerNorms and head relative to the adapters', on a model of MiniLM's size.
LAYER_NORM_AND_HEAD_RATIO = 2.5
