"""The learning rates of each group, and how default rates and the optimizer change for larger models."""

from typing import Any, Optional

from transformers import PretrainedConfig
from transformers.training_args import OptimizerNames

from ..backbone.default_rates import default_rates, rate_factor
from ..config import LAYER_NORM_AND_HEAD_RATIO, PUBLISHED_LEARNING_RATE, TABLE, AdapterConfig
from .flags import Arguments

# Flags that choose an optimizer. Those of Adam choose AdamW.
_CHOOSE_OPTIMIZER = {"optim", "optim_args", "adam_beta1", "adam_beta2", "adam_epsilon"}


def low_rate(given: dict[str, Any], config: AdapterConfig) -> Optional[str]:
    """Return a message if the given rate is so low for the calibrated start that it hardly moves the weights from
    their start. The published rate is such a rate."""
    rate, default = given.get("learning_rate"), TABLE[config.method].learning_rate
    if not rate or not config.calibrated or config.method != "tensorized" or rate > default / 10 * (1 + 1e-9):
        return None
    return (
        f"--learning_rate {rate:g} is low for the calibrated start, whose default is {default:g}; the published "
        f"{PUBLISHED_LEARNING_RATE:g} belongs to --adapter_init published"
    )


def rates_for_model(arguments: Arguments, model_config: PretrainedConfig) -> dict[str, float]:
    """Return the rates that were not given, by flag, if the model is larger than MiniLM; empty otherwise."""
    config, given = arguments.adapter, arguments.given
    given_rate = given.get("learning_rate") and arguments.training.learning_rate
    rate, multiples = default_rates(config, model_config, given_rate)
    if not config.calibrated or set(multiples.values()) == {LAYER_NORM_AND_HEAD_RATIO}:
        return {}
    if not config.trains_layer_norm:
        del multiples["layer_norm"]
    rates = {f"{group}_learning_rate": multiple * rate for group, multiple in multiples.items()}
    return {"learning_rate": rate} | {flag: value for flag, value in rates.items() if flag not in given}


def optimizer_for_model(arguments: Arguments, model_config: PretrainedConfig) -> OptimizerNames:
    """Return the optimizer. Unless it was given, the method chooses it for models larger than MiniLM."""
    config, given = arguments.adapter, arguments.given
    by_size = config.calibrated and rate_factor(model_config) < 1
    # MPNet with TT-4 does not learn CoLA with Adafactor and one of three seeds. With AdamW it does.
    by_format = config.adapter_projection_type != "tt"
    if not (arguments.training.do_train and by_size and by_format) or _CHOOSE_OPTIMIZER & given.keys():
        return arguments.training.optim
    return OptimizerNames(TABLE[config.method].optimizer_of_large)


def resolve_rates(arguments: Arguments, config: AdapterConfig) -> dict[str, float]:
    """Return the learning rate of each parameter group. A given flag takes precedence."""
    ratio = LAYER_NORM_AND_HEAD_RATIO if config.calibrated else 1.0
    rate, run = arguments.training.learning_rate, arguments.run
    rates = {"adapters": rate, "layer_norm": run.layer_norm_learning_rate, "head": run.head_learning_rate}
    if TABLE[config.method].changes_backbone:
        rates["backbone"] = rate
    return {group: ratio * rate if value is None else value for group, value in rates.items()}
