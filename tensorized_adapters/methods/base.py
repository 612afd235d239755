"""What a method is: one class in one file of this folder.

A new one is an entry in config.py's TABLE, its settings (if it has any) as fields in config.py, its file, and its
name in registry.py.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from ..backbone.parts import check_layers, layer_norm_names
from ..config import AdapterConfig
from ..errors import UsageError


class Method:
    """How a frozen model is adapted. The head is trained by every method and is no business of this class.

    Names of parameters are those of the pre-trained model ("plain"), whatever the method wraps its modules in.
    """

    name: ClassVar[str]
    # The group of what the method adds, and what a model card calls the backbone's numbers that it trains.
    added_group: ClassVar[str] = "adapters"
    backbone_called: ClassVar[str] = "backbone"
    stores_positions: ClassVar[bool] = False  # of each number that it changes
    replaces_parameters: ClassVar[bool] = False  # put_state makes new parameters rather than fill those there
    decay_share: ClassVar[float] = 1.0  # of the weight decay, for each parameter that it adds

    def __init__(self, config: AdapterConfig):
        self.config = config

    # Before anything is built: ``model`` is any model of the right shapes, not adapted, with weights or without.

    def check(self, model: PreTrainedModel) -> None:
        """Refuse what could not be built; raises UsageError naming the flag."""
        check_layers(self.config, model)

    def layer_norm_names(self, model: PreTrainedModel) -> set[str]:
        """The LayerNorm parameters that are trained as a group of their own."""
        return set(layer_norm_names(model, self.config.layers)) if self.config.trains_layer_norm else set()

    def backbone_names(self, model: PreTrainedModel) -> set[str]:
        """The other pre-trained parameters that are trained in place."""
        return set()

    def added_count(self, model: PreTrainedModel) -> int:
        """How many numbers the method adds to the model, in closed form."""
        return 0

    def backbone_count(self, model: PreTrainedModel) -> int:
        """How many pre-trained numbers it changes, LayerNorms and head apart, in closed form."""
        sizes = dict(model.named_parameters())
        return sum(sizes[name].numel() for name in self.backbone_names(model))

    def trained_count(self, added: dict[str, nn.Parameter]) -> int:
        """How many numbers of what was ``added`` an adapted model counts as trained."""
        return sum(parameter.numel() for parameter in added.values())

    # In and out

    def insert(self, model: PreTrainedModel, head: set[str]) -> dict[str, Tensor] | None:
        """Put into the model what the method adds, in place.

        Args:
            head: parameters that are trained whole anyway.

        Returns:
            The frozen weights that it changed, by plain name, as they were; None if it changed none.
        """

    def remove(self, model: PreTrainedModel) -> None:
        """Take out again what :meth:`insert` put in."""

    def switch(self, model: PreTrainedModel, on: bool) -> None:
        """Let the model compute without what was inserted, or with it again."""

    def forward_pass(self, model: PreTrainedModel) -> AbstractContextManager[None]:
        """What a forward pass of the adapted model computes within."""
        return nullcontext()

    def state(self, trained: dict[str, nn.Parameter]) -> dict[str, Tensor]:
        """A copy of everything that training may change, for :meth:`put_state` on a model with equal settings.

        Args:
            trained: the trained parameters by their names in the adapted model.
        """
        return {name: parameter.detach().clone() for name, parameter in trained.items()}

    @torch.no_grad()
    def put_state(self, trained: dict[str, nn.Parameter], state: dict[str, Tensor]) -> None:
        """Copy a :meth:`state` into the adapted model; raises UsageError, before it changes anything, if a parameter
        has another shape now."""
        for name, parameter in trained.items():
            if parameter.shape != state[name].shape:
                raise UsageError(f"{name} was replaced by one of another shape; put it back, or load a fresh model")
        for name, parameter in trained.items():
            parameter.copy_(state[name])

    def deltas(self, model: PreTrainedModel) -> Iterator[tuple[nn.Linear, Tensor]]:
        """Each linear layer that is updated, and what is added to its weight, in that one's shape.

        Raises:
            UsageError: if what the method adds is no update of weights, so that it cannot be merged into them.
        """
        raise UsageError(
            f"{self.config.describe()} is no update of weights and cannot be merged; --adapter_placement weights and "
            "--method lora can"
        )

    # Training

    def optimizer_groups(
        self,
        groups: dict[str, dict[str, nn.Parameter]],
        rates: dict[str, float],
        weight_decay: float,
        undecayed: set[str],
    ) -> list[dict[str, Any]]:
        """The optimizer's parameter groups: one for each distinct (rate, weight decay), at most four as a rule.

        Args:
            groups: the trained parameters by group and name.
            rates: the learning rate of each group.
            weight_decay: of all that is not ``undecayed``: LayerNorms and biases, by name.
        """
        merged: dict[tuple[float, float], list[nn.Parameter]] = {}
        for group, parameters in groups.items():
            for name, parameter in parameters.items():
                decay = 0.0 if name in undecayed else weight_decay
                merged.setdefault((rates[group], decay), []).append(parameter)
        return [{"params": ps, "lr": rate, "weight_decay": decay} for (rate, decay), ps in merged.items()]

    # The saved adapter

    def tensors(self, model: PreTrainedModel, trained: dict[str, nn.Parameter]) -> dict[str, Tensor]:
        """What of an adapted model goes into its file, by name; by default everything that is ``trained``."""
        return dict(trained)

    def check_tensors(self, model: PreTrainedModel, trained: dict[str, nn.Parameter], tensors: dict[str, Tensor]):
        """Refuse tensors of a file that are not exactly those of the adapted model; raises UsageError."""
        odd = sorted(set(trained) ^ set(tensors))
        if odd:
            raise UsageError(f"does not fit its own settings: {len(odd)} tensors missing or foreign, {odd[0]} first")
        for name, tensor in tensors.items():
            if tensor.shape != trained[name].shape:
                raise UsageError(f"does not fit: {name} is {tuple(tensor.shape)}, not {tuple(trained[name].shape)}")

    @torch.no_grad()
    def put_tensors(self, model: PreTrainedModel, trained: dict[str, nn.Parameter], tensors: dict[str, Tensor]):
        """Make checked tensors the trained state of the adapted model."""
        for name, parameter in trained.items():
            parameter.copy_(tensors[name])

    def file_name(self, name: str) -> str:
        """A tensor's name in the file."""
        return name

    def name_of_file(self, name: str) -> str:
        """The inverse of :meth:`file_name`."""
        return name

    def peft_config(self, model: PreTrainedModel, head: set[str]) -> dict[str, Any] | None:
        """The ``adapter_config.json`` that makes the folder one of peft as well; None if it is not."""
        return None
