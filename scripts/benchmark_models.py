"""The models that scripts/benchmark.py compares: one frozen backbone, shared, under each method."""

import argparse
import re
import tempfile
from collections import OrderedDict
from collections.abc import Callable

import tensorly
import torch
from torch import Tensor
from transformers import AutoModelForSequenceClassification, PretrainedConfig, PreTrainedModel, TrainingArguments

from tensorized_adapters import AdapterConfig, UsageError, add_adapters
from tensorized_adapters.adapters.insertion import adapters_of
from tensorized_adapters.adapters.site import AdapterSite
from tensorized_adapters.config import METHODS
from tensorized_adapters.methods.adapting import parameter_groups, trained_parameters
from tensorized_adapters.tensors.formats import CP, TR, Tucker, _ThinPair
from tensorized_adapters.training.trainer import AdapterTrainer

# The same trained parameters as the floor's, and the adapters on top of them.
FLOOR = "floor"
_TENSORIZED = re.compile(r"(cp|tucker|tt|tr|matrix)-(\d+)(-one-matrix)?(-assembled|-torch-dropout)?")

RATES = {"adapters": 1e-3, "backbone": 1e-5, "layer_norm": 1e-3, "head": 1e-3}


def config_of(name: str) -> AdapterConfig:
    """The settings behind a name of the benchmark: ``floor``, ``tt-4``, ``cp-2-one-matrix``, ``tr-4-assembled``,
    ``cp-4-torch-dropout`` (the sites' dropout drawn by torch), or a method of ``--method`` with its defaults.

    Raises:
        UsageError: for anything else.
    """
    if name == FLOOR:
        return AdapterConfig(method="layer_norm")
    if match := _TENSORIZED.fullmatch(name):
        return AdapterConfig(
            adapter_projection_type=match[1], tensorized_layer_rank=int(match[2]), if_adapter_like=not match[3]
        )
    if name not in METHODS[1:]:
        raise UsageError(
            f"--methods: {name!r} is neither {FLOOR}, nor like cp-4, tt-2-one-matrix, tr-4-assembled or "
            f"cp-4-torch-dropout, nor one of {', '.join(METHODS[1:])}"
        )
    return AdapterConfig(method=name)


def build(name: str, backbone: PreTrainedModel, model_config: PretrainedConfig) -> PreTrainedModel:
    """A model under the named method; its frozen parameters are ``backbone``'s own, what it trains is its own copy."""
    with torch.device("meta"):
        model = AutoModelForSequenceClassification.from_config(model_config)
    model.load_state_dict(backbone.state_dict(keep_vars=True), assign=True)
    for key, buffer in backbone.named_buffers():  # those that no state dict holds
        owner, _, attribute = key.rpartition(".")
        setattr(model.get_submodule(owner), attribute, buffer)
    for parameter_name, parameter in list(model.named_parameters()):
        owner, _, attribute = parameter_name.rpartition(".")
        shared = torch.nn.Parameter(parameter.data, requires_grad=False)  # other flags, the same memory
        setattr(model.get_submodule(owner), attribute, shared)
    add_adapters(model, config_of(name))
    for parameter in trained_parameters(model).values():
        parameter.data = parameter.data.clone()
    if name.endswith(("-assembled", "-torch-dropout")):
        _take_torchs_dropout(model)
    if name.endswith("-assembled"):
        _assemble_on_every_pass(model)
    return model


class Bench:
    """One method's model, optimizer and batch."""

    def __init__(self, name: str, backbone: PreTrainedModel, arguments: argparse.Namespace, shape: str):
        self.model = build(name, backbone, backbone.config).to(arguments.device)
        self.counts = parameter_groups(self.model)
        if arguments.gradient_checkpointing:
            self.model.gradient_checkpointing_enable({"use_reentrant": False})
        # The job's own optimizer and its groups, on the Trainer's default, fused AdamW.
        with tempfile.TemporaryDirectory() as unused:
            training = TrainingArguments(output_dir=unused, report_to="none", use_cpu=arguments.device == "cpu")
            trainer = AdapterTrainer(model=self.model, args=training, rates=RATES, notes={})
        self.optimizer = trainer.create_optimizer()
        examples, tokens = map(int, shape.split("x"))
        generator = torch.Generator().manual_seed(1)
        ids = torch.randint(
            self.model.config.vocab_size // 2, self.model.config.vocab_size, (examples, tokens), generator=generator
        )
        labels = torch.randint(2, (examples,), generator=generator)
        self.batch = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": labels}
        self.batch = {key: value.to(arguments.device) for key, value in self.batch.items()}
        self.autocast = (arguments.device, torch.bfloat16, arguments.dtype == "bfloat16")
        self.forward = torch.compile(self.model, fullgraph=True) if arguments.compile else self.model

    def train(self) -> None:
        self.model.train()
        with torch.autocast(*self.autocast[:2], enabled=self.autocast[2]):
            loss = self.forward(**self.batch).loss
        loss.backward()
        self.optimizer.step()
        self.optimizer.zero_grad()

    def evaluate(self) -> None:
        self.model.eval()
        with torch.no_grad(), torch.autocast(*self.autocast[:2], enabled=self.autocast[2]):
            self.forward(**self.batch)


def _take_torchs_dropout(model: PreTrainedModel) -> None:
    """Dropout and adapter one after the other, as in any model."""
    for name, site in list(model.named_modules()):
        if isinstance(site, AdapterSite):
            model.set_submodule(name, torch.nn.Sequential(OrderedDict(site.named_children())))


def _assemble_on_every_pass(model: PreTrainedModel) -> None:
    """The published algorithm: tensorly assembles each weight in each forward pass, and it is used as a matrix."""
    model.merged_pairs.remove()
    for _, adapter in adapters_of(model):
        weights = adapter.weights()
        adapter.forward = _bottleneck(*weights) if len(weights) == 2 else _one_matrix(*weights)


def _bottleneck(down: _ThinPair, up: _ThinPair) -> Callable[[Tensor], Tensor]:
    return lambda hidden: hidden + torch.relu(hidden @ assembled(down)) @ assembled(up)


def _one_matrix(weight: _ThinPair) -> Callable[[Tensor], Tensor]:
    return lambda hidden: hidden + torch.relu(hidden @ assembled(weight))


def assembled(weight: _ThinPair) -> Tensor:
    """The matrix of a factorised weight by tensorly's own reconstruction."""
    parts = list(weight.parameters())
    with tensorly.backend_context("pytorch", local_threadsafe=True):
        if isinstance(weight, CP):
            tensor = tensorly.cp_tensor.cp_to_tensor((parts[0], parts[1:]))
        elif isinstance(weight, Tucker):
            tensor = tensorly.tucker_tensor.tucker_to_tensor((parts[0], parts[1:]))
        elif isinstance(weight, TR):
            tensor = tensorly.tr_tensor.tr_to_tensor(parts)
        else:
            tensor = tensorly.tt_tensor.tt_to_tensor(parts)
    return tensor.reshape(weight.in_features, weight.out_features)
