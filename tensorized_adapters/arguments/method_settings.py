"""The settings of the method, from the flags or from the saved adapter of --adapter_path."""

import itertools
from collections.abc import Iterator
from dataclasses import fields
from typing import Any, Optional

from ..config import METHOD_FIELDS, AdapterConfig, unused_fields
from ..errors import UsageError, quoted, refuse_first
from ..saving.hub import resolved_revision
from ..saving.manifest import read_config


def method_settings(given: dict[str, Any]) -> tuple[AdapterConfig, Optional[dict[str, Any]]]:
    """Return the method with its settings, and the config record of the saved adapter if there is one.

    The path in ``given`` is replaced by one with a fixed commit if the adapter comes from the hub. Raises UsageError
    if a flag contradicts the method or the saved adapter.
    """
    if "adapter_path" not in given:
        config = AdapterConfig(**{f.name: given[f.name] for f in fields(AdapterConfig) if f.name in given})
        refuse_first(flaws_of_ownership(given, config))
        return config, None
    if "head_start" in given and not given.get("new_head"):
        raise UsageError(
            "--head_start contradicts --adapter_path, which holds a trained head; leave one of them out, or add "
            "--new_head"
        )
    given["adapter_path"] = resolved_revision(given["adapter_path"], token=given.get("token"))
    saved = read_config(given["adapter_path"])
    config = AdapterConfig.from_dict(saved["adapter"])
    refuse_first(flaws_of_ownership(given, config))
    for name, value in config.to_dict().items():
        if given.get(name, value) != value:
            saved_with = "was saved without it; leave it out" if value is None else f"has {value}"
            raise UsageError(f"--{name} {quoted(given[name])} contradicts --adapter_path, which {saved_with}")
    return config, saved


def flaws_of_ownership(given: dict[str, Any], config: AdapterConfig) -> Iterator[str]:
    """Yield a message for given flags that belong to another method than ``config``'s."""
    owned = set(METHOD_FIELDS[config.method])
    foreign = set(itertools.chain(*METHOD_FIELDS.values())) - owned
    if config.method != "tensorized":
        foreign.add("target_params")
    if "adapter_sites" not in owned:
        foreign.add("measure_contribution")  # it measures adapters behind or beside the sublayers
    if not config.trains_layer_norm and "train_layer_norm" not in owned:
        foreign.add("layer_norm_learning_rate")
    for name in sorted(foreign & set(given)):
        yield f"--{name} does not belong to --method {config.method}; leave one of them out"
    if not config.trains_layer_norm and "layer_norm_learning_rate" in given:
        yield (
            "--layer_norm_learning_rate contradicts --train_layer_norm False, which freezes the LayerNorms; leave one "
            "of them out"
        )
    if config.method == "tensorized":
        for name in sorted(unused_fields(config.adapter_placement) & set(given)):
            yield f"--{name} has no effect with --adapter_placement {config.adapter_placement}; leave one of them out"
