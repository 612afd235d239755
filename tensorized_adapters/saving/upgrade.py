"""Adapters of earlier file formats, as this version's."""

from typing import Any

from torch import Tensor
from transformers import PreTrainedModel

from ..adapters.fast import factorized_weights
from ..adapters.insertion import adapters_of
from ..errors import UsageError


def upgraded(model: PreTrainedModel, record: dict[str, Any], tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of a read adapter as the adapted ``model`` takes them.

    Format 1 had no gain: W = product(theta), and each factor theta a learning rate of its own, lr x scale. A factor
    here is theta / scale, since under Adam a step of lr in it is one of lr x scale in theta; what then is left between
    the scales' product and the gain, which counted on exact standard deviations, is shared by the factors alike.

    Raises:
        UsageError: if the record's scales are not those of the adapters' parameters.
    """
    if record["format_version"] != 1:
        return tensors
    parameters = [parameter for _, adapter in adapters_of(model) for parameter in adapter.parameters()]
    if len(record["learning_rate_scales"]) != len(parameters):
        raise UsageError(f"does not fit its own settings: {len(parameters)} learning-rate scales expected")
    scales = {id(parameter): scale for parameter, scale in zip(parameters, record["learning_rate_scales"])}
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    weights = factorized_weights(model)
    shared = _shared_by_weights(weights)
    tensors = dict(tensors)
    for weight in weights:
        product = weight.gain
        for parameter in weight.parameters():
            product /= scales[id(parameter)]
        own = [parameter for parameter in weight.parameters() if id(parameter) not in shared]
        for parameter in own:
            name = names[id(parameter)]
            tensors[name] = tensors[name] / (scales[id(parameter)] * product ** (1 / len(own)))
    for parameter in shared.values():
        name = names[id(parameter)]
        tensors[name] = tensors[name] / scales[id(parameter)]
    return tensors


def _shared_by_weights(weights: list) -> dict[int, Any]:
    """Parameters that more than one weight has, such as Compacter's rule: those are no weight's own to rescale."""
    seen: dict[int, Any] = {}
    twice: dict[int, Any] = {}
    for weight in weights:
        for parameter in weight.parameters():
            (twice if id(parameter) in seen else seen)[id(parameter)] = parameter
    return twice
