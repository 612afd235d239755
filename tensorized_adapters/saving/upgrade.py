"""Adapters of earlier file formats, as this version's."""

from typing import Any

from torch import Tensor
from transformers import PreTrainedModel

from ..adaptation.parameters import adaptation_of
from ..adapters.fast import factorized_weights
from ..adapters.insertion import adapters_of
from ..adapters.tensorized import update_view, views_of
from ..config import AdapterConfig
from ..errors import UsageError
from ..tensors.formats import FORMATS, FactorizedWeight
from ..tensors.initialization import excess, width

ANY_HIDDEN_SIZE = 768  # that splits: the number of a weight's modes is the same for each


def upgraded(model: PreTrainedModel, record: dict[str, Any], tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of a read adapter as the adapted ``model`` takes them: of the same weights, by the gains of today.

    Raises:
        UsageError: if the record of format 1 has scales that are not those of the adapters' parameters.
    """
    version = record["format_version"]
    tensors = _with_gains(model, record["learning_rate_scales"], tensors) if version == 1 else tensors
    return _widened(model, tensors) if version < 3 else tensors


def moments_still_hold(record: dict[str, Any]) -> bool:
    """Whether an adapter's factors are what they were when its record was written, and with them an optimizer's
    moments: those of format 2 are, but at large ranks and of low-rank matrices."""
    config = AdapterConfig.from_dict(record["adapter"])
    if record["format_version"] != 2 or not _is_calibrated(config):
        return record["format_version"] > 1
    kind, rank = FORMATS[config.adapter_projection_type], config.tensorized_layer_rank
    if config.adapter_placement == "weights":
        views = [update_view(config, ANY_HIDDEN_SIZE, ANY_HIDDEN_SIZE, layers=1)]
    else:
        views = views_of(config, ANY_HIDDEN_SIZE, sites=1)
    return all(excess(kind, len(view.shape), rank) == 1 for view in views)


def _is_calibrated(config: AdapterConfig) -> bool:
    return config.method == "tensorized" and config.calibrated


def _widened(model: PreTrainedModel, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Factors of format 2, which were all drawn at n s_W, at the width of today (tensors/initialization.py)."""
    if not _is_calibrated(adaptation_of(model).config):
        return tensors
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    widths = {names[id(p)]: width(weight) for weight in _whole_weights(model) for p in weight.parameters()}
    return {name: tensor * widths[name] if name in widths else tensor for name, tensor in tensors.items()}


def _with_gains(model: PreTrainedModel, learning_rate_scales: list[float], tensors: dict[str, Tensor]):
    """Format 1 had no gain: W = product(theta), and each factor theta a learning rate of its own, lr x scale. A factor
    of format 2 is theta / scale, since under Adam a step of lr in it is one of lr x scale in theta; what then is left
    between the scales' product and the gain, which counted on exact standard deviations, is shared by the factors
    alike."""
    parameters = [parameter for _, adapter in adapters_of(model) for parameter in adapter.parameters()]
    if len(learning_rate_scales) != len(parameters):
        raise UsageError(f"does not fit its own settings: {len(parameters)} learning-rate scales expected")
    scales = {id(parameter): scale for parameter, scale in zip(parameters, learning_rate_scales)}
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    weights, calibrated = _whole_weights(model), _is_calibrated(adaptation_of(model).config)
    shared = _shared_by_weights(weights)
    tensors = dict(tensors)
    for weight in weights:
        product = weight.gain
        for parameter in weight.parameters():
            product *= width(weight) if calibrated else 1.0  # the gain of format 2
            product /= scales[id(parameter)]
        own = [parameter for parameter in weight.parameters() if id(parameter) not in shared]
        for parameter in own:
            name = names[id(parameter)]
            tensors[name] = tensors[name] / (scales[id(parameter)] * product ** (1 / len(own)))
    for parameter in shared.values():
        name = names[id(parameter)]
        tensors[name] = tensors[name] / scales[id(parameter)]
    return tensors


def _whole_weights(model: PreTrainedModel) -> list[FactorizedWeight]:
    """Every factorised weight once, and a tensor for all sites rather than each site's weight in it."""
    return list(dict.fromkeys(getattr(weight, "joint", weight) for weight in factorized_weights(model)))


def _shared_by_weights(weights: list) -> dict[int, Any]:
    """Parameters that more than one weight has, such as Compacter's rule: those are no weight's own to rescale."""
    seen: dict[int, Any] = {}
    twice: dict[int, Any] = {}
    for weight in weights:
        for parameter in weight.parameters():
            (twice if id(parameter) in seen else seen)[id(parameter)] = parameter
    return twice
