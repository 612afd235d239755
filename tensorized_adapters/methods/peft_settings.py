"""The types of PEFT and the settings of --peft_config that cannot be used here, refused in one line each."""

import sys
from collections import Counter
from dataclasses import fields
from functools import cache
from types import UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

from ..errors import UsageError, did_you_mean, quoted

REFUSED = dict.fromkeys(
    ("prompt_tuning", "multitask_prompt_tuning", "p_tuning", "prefix_tuning", "cpt", "cartridge"),
    "it puts trained vectors before the text, which PEFT does in a forward pass of its own",
)
REFUSED |= {
    "adaption_prompt": "it puts trained vectors before the text, and PEFT has it for decoders' language models alone",
    "adalora": "it moves ranks between layers after each step, for which a loop has to call update_and_allocate",
    "xlora": "it mixes saved LoRA adapters, and trains none",
    "lily": "its router averages over all texts of a batch, so that a prediction depends on the texts beside it",
    "poly": "each forward pass needs the ids of tasks (task_ids)",
    "shadow": "it runs a second network through a forward pass of its own",
    "unilora": "its trained vector is outside of the model's layers",
}
# Ends of the message about a saved tensor of another shape, for types that compute shapes from the base's weights.
CAUSES_OF_SHAPES = {
    "adamss": "; adamss computes shapes from the base's weights, so load the base in the precision of its training"
}
# The tables of decay_shares. Types that train scales alone:
_UNDECAYED_TYPES = {"ia3", "ln_tuning"}
# Scales of other types:
_UNDECAYED = {"boft_s", "frod_lambda_l", "lora_magnitude_vector", "road_alpha", "vector_a", "vector_b"}
# Types whose update is the product of all factors of a layer:
_PRODUCTS = {"deft", "hira", "loha", "lokr", "lora", "osf", "peanut", "pvera", "randlora", "vera"}
# Types whose update is a sum of products of two factors:
_PAIRS = {"adamss", "gralora", "vblora"}
# The same for types that train other parameters as well, with the names of the two factors:
_SOME_PAIRS = {"glora": ("Xd", "Xu"), "supertuning": ("supertuning_lora_A", "supertuning_lora_B")}
# Values of init_lora_weights that cannot be used.
_STARTS = dict.fromkeys(("eva", "corda", "lora_ga"), "reads the training data first")
_STARTS |= {"loftq": "quantises the backbone", "mica": "freezes one of its two matrices"}
_STARTS |= {"pissa_niter_": "changes the backbone at random, which a saved adapter cannot repeat; 'pissa' does not"}
_SET_HERE = ("peft_type", "task_type", "modules_to_save", "inference_mode", "base_model_name_or_path", "auto_mapping")
_SET_HERE += ("peft_version", "revision")
# Settings that scale the update. At 0 there is no update.
_SCALES = ("lora_alpha", "randlora_alpha", "psoft_alpha", "alpha", "d_initial", "delora_lambda", "scaling")
_SCALES += ("alpha_pattern", "lambda_pattern")
# The types of settings that are compared with their values.
_PLAIN = {bool: "true or false", float: "a number", int: "an integer", type(None): "null"}


def types_of(config_type: type) -> dict[str, set[Any]]:
    """Return the names of PEFT's settings in a class of configurations, with the types that each may have."""
    kinds = get_type_hints(config_type)
    types = {n: get_args(kind) if get_origin(kind) in (Union, UnionType) else [kind] for n, kind in kinds.items()}
    return {each.name: set(types[each.name]) for each in fields(config_type) if each.init}


def check_settings(values: dict[str, Any], known: dict[str, set[Any]], flag: str) -> None:
    """Refuse settings that are unknown to the type of ``flag``, set by us, of a wrong type, or that a saved adapter
    cannot keep; raise UsageError. ``known`` are PEFT's settings of that type, with their types."""
    for key, value in values.items():
        if key in _SET_HERE:
            raise UsageError(f"--peft_config: {key} is set by the program; leave it out")
        if key not in known:
            hint = did_you_mean(key, set(known) - set(_SET_HERE), "see PEFT's documentation")
            raise UsageError(f"--peft_config: {flag} has no setting {quoted(key)}; {hint}")
        if key == "bias" and value != "none":
            raise UsageError("--peft_config: bias trains the backbone's own biases; --method bitfit does that")
        start = str(value).lower().rstrip("0123456789") if key == "init_lora_weights" else ""
        if start in _STARTS:
            raise UsageError(f"--peft_config: init_lora_weights {value!r} {_STARTS[start]}; choose another")
        if key in ("layer_replication", "trainable_token_indices", "alora_invocation_tokens") and value:
            raise UsageError(f"--peft_config: {key} changes more than linear layers; leave it out")
        if key in _SCALES and 0 in (value.values() if isinstance(value, dict) else [value]):
            raise UsageError(f"--peft_config: {key} {value} would leave the adapter without effect; choose another")
        if key.endswith("dropout") and not (type(value) in (int, float) and 0 <= value < 1):
            # PEFT takes a negative one for none.
            raise UsageError(f"--peft_config: {key} must be at least 0 and below 1, got {quoted(value)}")
        if dict in known[key] and key.endswith("_pattern") and not isinstance(value, dict):
            # PEFT annotates these as optional, and fails at null.
            raise UsageError(f"--peft_config: {key} must be an object such as {{'query': 4}}, got {quoted(value)}")
        # An integer will do for a decimal. PEFT annotates some scales as integers, and takes decimals. 0 and 1 will do
        # for false and true.
        wider = {int: float} if float in known[key] or key in _SCALES else {}
        kinds = {wider.get(kind, kind) for kind in known[key]}
        fits = wider.get(type(value), type(value)) in kinds or (bool in kinds and value in (0, 1))
        if kinds <= _PLAIN.keys() and not fits:
            words = " or ".join(word for kind, word in _PLAIN.items() if kind in kinds)
            raise UsageError(f"--peft_config: {key} must be {words}, got {quoted(value)}")
    if "token_indices" in known:  # PEFT checks none of this, and its forward pass would fail
        tokens = values.get("token_indices")
        are_ids = isinstance(tokens, list) and tokens and all(type(token) is int and token >= 0 for token in tokens)
        if not are_ids or len(set(tokens)) < len(tokens):
            got = "" if tokens is None else f", got {quoted(tokens)}"
            raise UsageError(f"--peft_config: {flag} needs token_indices, a list of different ids{got}")


@cache
def note_once(text: str) -> None:
    """Print a note for the user, once in a process."""
    print(f"note: {text}", file=sys.stderr)


def decay_shares(kind: str, prefix: str, names: list[str]) -> dict[str, float]:
    """Return the share of the weight decay of the parameters ``names``, which begin with ``prefix`` in their layer.

    A product of n factors shrinks n times as fast as each factor, so each factor gets 1 / n of the decay. A scale gets
    none, as it would take the pre-trained weight to 0.
    """
    if kind in _UNDECAYED_TYPES:
        return dict.fromkeys(names, 0.0)
    scales = {name for name in names if _UNDECAYED & set(name.split("."))}
    shares = dict.fromkeys(scales, 0.0)
    if kind in _SOME_PAIRS:
        return {name: 1 / 2 for name in names if set(_SOME_PAIRS[kind]) & set(name.split("."))}
    if kind in _PAIRS:
        return dict.fromkeys(names, 1 / 2)
    if kind in _PRODUCTS:
        layers = {name: name.partition(f".{prefix}")[0] for name in names if name not in scales}
        factors = Counter(layer for name, layer in layers.items() if not name.endswith("bias"))
        shares |= {name: 1 / max(factors[layer], 1) for name, layer in layers.items()}
    return shares
