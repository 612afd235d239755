"""The interface of a method. Each method is a class in this folder. docs/development.md has the steps to add one."""

from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Any, ClassVar, Optional

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from ..backbone.parts import layer_names, layer_norm_names
from ..config import AdapterConfig
from ..errors import UsageError


class Method:
    """A way to adapt a frozen model. Every method trains the head, so this class does not deal with it.

    Names of parameters are those of the pre-trained model ("plain"), also if the method wraps its modules.
    """

    name: ClassVar[str]
    # The group of the added parameters, and a model card's name for the trained numbers of the backbone.
    added_group: ClassVar[str] = "adapters"
    backbone_called: ClassVar[str] = "backbone"
    stores_positions: ClassVar[bool] = False  # it stores the position of each changed number
    replaces_parameters: ClassVar[bool] = False  # put_state makes new parameters instead of filling the present ones
    budget: Optional[int] = None  # how many numbers count as trained, if not all of the added parameters do
    cause_of_shapes: str = ""  # the end of the message about a tensor of another shape
    found_nothing: bool = False  # a search for the numbers to change has changed none yet

    def __init__(self, config: AdapterConfig):
        self.config = config

    # Before adaptation. ``model`` is any plain model of the right shapes, with or without weights.

    def check(self, model: PreTrainedModel) -> None:
        """Check that the method can be built; raise UsageError naming the flag if not."""
        layers = self.config.layers
        if layers is not None and layers[-1] > (last := len(layer_names(model)) - 1):
            raise UsageError(f"--adapter_layers {self.config.adapter_layers} is beyond the model's last layer, {last}")

    def layer_norm_names(self, model: PreTrainedModel) -> set[str]:
        """Return the LayerNorm parameters that are trained as a group of their own."""
        return set(layer_norm_names(model, self.config.layers)) if self.config.trains_layer_norm else set()

    def backbone_names(self, model: PreTrainedModel) -> set[str]:
        """Return the other pre-trained parameters that are trained in place."""
        return set()

    def added_count(self, model: PreTrainedModel) -> int:
        """Return how many numbers the method adds to the model, in closed form."""
        return 0

    def backbone_count(self, model: PreTrainedModel) -> int:
        """Return how many pre-trained numbers the method changes, without LayerNorms and head, in closed form."""
        sizes = dict(model.named_parameters())
        return sum(sizes[name].numel() for name in self.backbone_names(model))

    # Insertion and removal

    def insert(self, model: PreTrainedModel, head: set[str]) -> dict[str, Tensor] | None:
        """Insert the method's modules and parameters; the parameters ``head`` are trained in full anyway. Return the
        original values of the frozen weights that it changed, by plain name, or None."""

    def remove(self, model: PreTrainedModel) -> None:
        """Undo :meth:`insert`."""

    def switch(self, model: PreTrainedModel, on: bool) -> None:
        """Switch the inserted modules on or off."""

    def tie(self, model: PreTrainedModel) -> None:
        """Let modules share their parameters again, after ``load_state_dict(..., assign=True)`` gave each its own."""

    def forward_pass(self, model: PreTrainedModel) -> AbstractContextManager[None]:
        """Return the context in which the adapted model computes a forward pass."""
        return nullcontext()

    def state(self, trained: dict[str, nn.Parameter]) -> dict[str, Tensor]:
        """Return a copy of everything that training may change, for :meth:`put_state` on a model with equal settings.
        ``trained`` are the trained parameters by their names in the adapted model."""
        return {name: parameter.detach().clone() for name, parameter in trained.items()}

    @torch.no_grad()
    def put_state(self, trained: dict[str, nn.Parameter], state: dict[str, Tensor]) -> None:
        """Copy a :meth:`state` into the adapted model, whose parameters have its shapes."""
        for name, parameter in trained.items():
            parameter.copy_(state[name])
        torch.clear_autocast_cache()  # it may hold casts of the values that were overwritten

    def deltas(self, model: PreTrainedModel) -> Iterator[tuple[nn.Linear, Tensor]]:
        """Return each linear layer that is updated with the change of its weight, in the shape of the weight. Raise
        UsageError if the method adds no updates of weights, which could be merged into them."""
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
        shares: dict[str, float],
    ) -> list[dict[str, Any]]:
        """Return the optimizer's parameter groups, one for each distinct (rate, weight decay), usually four at most.
        ``shares`` has the share of the weight decay of each parameter, by name."""
        merged: dict[tuple[float, float], list[nn.Parameter]] = {}
        for group, parameters in groups.items():
            for name, parameter in parameters.items():
                merged.setdefault((rates[group], weight_decay * shares[name]), []).append(parameter)
        return [{"params": ps, "lr": rate, "weight_decay": decay} for (rate, decay), ps in merged.items()]

    def decay_shares(self, names: Iterable[str]) -> dict[str, float]:
        """Return the share of the weight decay of each added parameter, by name; a parameter without one gets all."""
        return {}

    # The saved adapter

    def tensors(self, trained: dict[str, nn.Parameter]) -> dict[str, Tensor]:
        """Return the tensors of an adapted model that go into its file, by name; by default all ``trained`` ones."""
        return dict(trained)

    def check_tensors(self, trained: dict[str, nn.Parameter], tensors: dict[str, Tensor]) -> None:
        """Refuse tensors of a file that are not exactly those of the adapted model; raise UsageError."""
        if odd := sorted(set(trained) ^ set(tensors)):
            raise UsageError(f"does not fit its own settings: {len(odd)} tensors missing or foreign, {odd[0]} first")
        for name, tensor in tensors.items():
            if tensor.shape != trained[name].shape:
                shapes = f"{tuple(tensor.shape)}, not {tuple(trained[name].shape)}"
                raise UsageError(f"does not fit: {name} is {shapes}{self.cause_of_shapes}")

    def put_tensors(self, trained: dict[str, nn.Parameter], tensors: dict[str, Tensor]) -> None:
        """Make checked tensors the trained state of the adapted model."""
        self.put_state(trained, tensors)

    def file_name(self, name: str) -> str:
        """Return a tensor's name in the file."""
        return name

    def name_of_file(self, name: str) -> str:
        """Return the tensor's name in the model for its name in the file."""
        return name

    def peft_config(self, model: PreTrainedModel, head: set[str]) -> dict[str, Any] | None:
        """Return the ``adapter_config.json`` with which peft can load the folder too, or None if peft cannot."""
        return None
