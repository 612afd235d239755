"""The models that benchmarks/benchmark.py compares: one frozen backbone, shared, under each method."""

import argparse
import copy
import re
from contextlib import nullcontext
from functools import partial

import torch
from torch import Tensor
from transformers import AutoModelForSequenceClassification, BertConfig, PretrainedConfig, PreTrainedModel

from tensorized_adapters import AdapterConfig, UsageError, add_adapters
from tensorized_adapters.adaptation.parameters import count_trained, optimizer_groups, trained_parameters
from tensorized_adapters.adapters.fast import factorized_weights
from tensorized_adapters.adapters.insertion import adapters_of
from tensorized_adapters.backbone.arguments import ModelArguments
from tensorized_adapters.backbone.loading import load_config
from tensorized_adapters.backbone.parts import with_ready_mask
from tensorized_adapters.config import METHODS, PROJECTION_TYPES
from tensorized_adapters.errors import about_model
from tensorized_adapters.tensors.factorized_weight import FactorizedWeight
from tensorized_adapters.training.dropout import use_cheap_dropout

# The same trained parameters as the floor's, and the adapters on top of them.
FLOOR = "floor"
_TENSORIZED = re.compile(r"(cp|tucker|tt|tr|matrix)-(\d+)(-one-matrix)?(-assembled)?")
TORCH_DROPOUT = "-torch-dropout"


def config_of(name: str) -> AdapterConfig:
    """Return the settings behind a name of the benchmark; raise UsageError for anything that is none.

    A name is ``floor``, a format and rank such as ``tt-4``, ``cp-2-one-matrix`` or ``tr-4-assembled``, or a method of
    ``--method`` with its defaults. With ``-torch-dropout`` behind it torch draws dropout, which costs more on CPU.
    """
    name = name.removesuffix(TORCH_DROPOUT)
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


def names_of(ranks: tuple[int, ...], modes: tuple[str, ...] = ("",)) -> list[str]:
    """Return the names of the paper's formats at these ranks; a mode is ``""`` or ``"-one-matrix"``."""
    return [f"{kind}-{rank}{mode}" for mode in modes for kind in PROJECTION_TYPES[:4] for rank in ranks]


def build(name: str, backbone: PreTrainedModel) -> PreTrainedModel:
    """Return a model under the named method, which shares the memory of its frozen parameters with ``backbone``."""
    shared = {id(parameter): torch.nn.Parameter(parameter.data, False) for parameter in backbone.parameters()}
    model = copy.deepcopy(backbone, shared)  # which copies everything but these
    add_adapters(model, config_of(name))
    for parameter in trained_parameters(model).values():
        parameter.data = parameter.data.clone()
    if not name.endswith(TORCH_DROPOUT):
        use_cheap_dropout(model)
    if "-assembled" in name:
        _assemble_on_every_pass(model)
    return model


class Bench:
    """One method's model, optimizer and batch."""

    def __init__(self, name: str, backbone: PreTrainedModel, arguments: argparse.Namespace, shape: str):
        self.model = build(name, backbone).to(arguments.device)
        self.counts = count_trained(self.model)
        if arguments.gradient_checkpointing:
            self.model.gradient_checkpointing_enable({"use_reentrant": False})
        # The Trainer's default.
        self.optimizer = torch.optim.AdamW(optimizer_groups(self.model, 1e-3), fused=True)
        examples, tokens = map(int, shape.split("x"))
        generator = torch.Generator().manual_seed(1)
        words = self.model.config.vocab_size
        ids = torch.randint(words // 2, words, (examples, tokens), generator=generator)
        labels = torch.randint(2, (examples,), generator=generator)
        batch = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": labels}
        batch = {key: value.to(arguments.device) for key, value in batch.items()}
        self.batch = with_ready_mask(self.model, batch)  # as a run gives it
        self.autocast = torch.autocast(arguments.device, torch.bfloat16, enabled=arguments.dtype == "bfloat16")
        self.forward = torch.compile(self.model, fullgraph=True) if arguments.compile else self.model

    def train(self) -> None:
        self.differentiate()
        self.optimizer.step()
        self.optimizer.zero_grad()

    def differentiate(self) -> None:
        """Run a training step up to the optimizer's."""
        self.model.train()
        with self.autocast:
            loss = self.forward(**self.batch).loss
        loss.backward()

    def evaluate(self) -> None:
        self.model.eval()
        with torch.no_grad(), self.autocast:
            self.forward(**self.batch)


def _assemble_on_every_pass(model: PreTrainedModel) -> None:
    """Use the published algorithm, in which tensorly assembles each weight as a matrix in each forward pass."""
    model.adaptation.method.forward_pass = lambda model: nullcontext()  # each weight computes its own matrices
    for _, adapter in adapters_of(model):
        adapter.forward = partial(_with_assembled, factorized_weights(adapter))


def _with_assembled(weights: list[FactorizedWeight], hidden: Tensor) -> Tensor:
    """Return an adapter's output (as ``hidden``) from its down and up weights, or from its one square weight."""
    first, *second = map(assembled, weights)
    update = torch.relu(hidden @ first)
    return hidden + (update @ second[0] if second else update)


def assembled(weight: FactorizedWeight) -> Tensor:
    """Return the matrix of a factorised weight by tensorly's own reconstruction."""
    return weight.view.matrix_of(weight.to_tensor())


def model_config_of(arguments: argparse.Namespace) -> PretrainedConfig:
    if arguments.model == "bert-base":
        return BertConfig(vocab_size=28996)
    with about_model():
        return load_config(ModelArguments(model_name_or_path=arguments.model))


def backbone_of(arguments: argparse.Namespace) -> PreTrainedModel:
    torch.manual_seed(0)
    if arguments.model == "bert-base":
        model = AutoModelForSequenceClassification.from_config(model_config_of(arguments))
    else:
        model = AutoModelForSequenceClassification.from_pretrained(arguments.model)
    return model.to(arguments.device)
