"""Resolves the learning rate of each group, and the optimizer. Their defaults depend on the model's size."""

from typing import Any, Optional

from transformers import PretrainedConfig
from transformers.training_args import OptimizerNames

from ..backbone.default_rates import default_optimizer, default_rates
from ..config import LAYER_NORM_AND_HEAD_RATIO, PUBLISHED_LEARNING_RATE, TABLE, AdapterConfig
from .flags import Arguments
from .trainer_fields import OF_ADAM

# These flags choose an optimizer. Those of Adam choose AdamW.
_CHOOSE_OPTIMIZER = {"optim", "optim_args", *OF_ADAM}


def low_rate(given: dict[str, Any], config: AdapterConfig) -> Optional[str]:
    """Return a message if the given rate, such as the published one, hardly moves weights from a calibrated start."""
    rate, default = given.get("learning_rate"), TABLE[config.method].learning_rate
    if not rate or not config.calibrated or config.method != "tensorized" or rate > default / 10 * (1 + 1e-9):
        return None
    return (
        f"--learning_rate {rate:g} is low for the calibrated start, whose default is at least {default:g}; the "
        f"published {PUBLISHED_LEARNING_RATE:g} belongs to --adapter_init published"
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
    """Return the optimizer of the run: the given one, or else the default for the adapters and the model."""
    training = arguments.training
    chosen = not training.do_train or _CHOOSE_OPTIMIZER & arguments.given.keys()
    default = None if chosen else default_optimizer(arguments.adapter, model_config)
    return OptimizerNames(default or training.optim)


def resolve_rates(arguments: Arguments) -> dict[str, float]:
    """Return the learning rate of each parameter group. A given flag takes precedence."""
    config, run, rate = arguments.adapter, arguments.run, arguments.training.learning_rate
    ratio = LAYER_NORM_AND_HEAD_RATIO if config.calibrated else 1.0
    rates = {"adapters": rate, "layer_norm": run.layer_norm_learning_rate, "head": run.head_learning_rate}
    if TABLE[config.method].changes_backbone:
        rates["backbone"] = rate
    return {group: ratio * rate if value is None else value for group, value in rates.items()}
