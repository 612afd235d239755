"""Completes the arguments with what depends on the saved adapter, the pre-trained model and the machine."""

from collections.abc import Callable, Iterator
from dataclasses import replace

from transformers import PretrainedConfig

from ..backbone.arguments import ModelArguments
from ..backbone.loading import use_attention
from ..backbone.parts import skeleton
from ..methods.tensorized import rank_within
from ..runtime.processor import computes_bfloat16
from ..saving.manifest import read_adapter
from .flags import Arguments, GlueTrainingArguments
from .rates import rates_for_model

ModelConfigOf = Callable[[ModelArguments], PretrainedConfig]


def resolve(arguments: Arguments, model_config_of: ModelConfigOf) -> Arguments:
    """Return the arguments with the model's configuration, its default learning rates, and the rank of
    ``--target_params``.

    Raises:
        UsageError: if the saved adapter is incomplete, no rank is small enough, the model has no configuration, or it
            cannot compute attention as ``--attn_implementation`` says.
    """
    if arguments.saved:
        read_adapter(arguments.run.adapter_path)  # check the weights too, before slow steps
    model_config = model_config_of(arguments.model)
    if arguments.model.attn_implementation:
        use_attention(model_config, arguments.model.attn_implementation)
    rates = rates_for_model(arguments, model_config)
    training, adapter, notes = arguments.training, arguments.adapter, list(arguments.notes)
    training.learning_rate = rates.pop("learning_rate", training.learning_rate)
    if arguments.run.target_params is not None:
        rank, note = rank_within(adapter, skeleton(model_config), arguments.run.target_params)
        adapter = replace(adapter, tensorized_layer_rank=rank)
        notes.append(note)
    notes += _use_one_device(training)
    return replace(
        arguments,
        adapter=adapter,
        run=replace(arguments.run, **rates),
        notes=tuple(notes),
        model_config=model_config,
    )


def _use_one_device(training: GlueTrainingArguments) -> Iterator[str]:
    """Make the Trainer use one GPU, and yield messages about the precision and the GPUs."""
    if training.device.type == "cuda" and not (training.bf16 or training.fp16 or training.tf32):
        yield "in float32, since no other precision is given; --bf16 or --tf32 True is faster on this GPU"
    half = next((flag for flag in ("bf16", "bf16_full_eval") if getattr(training, flag)), None)
    if half and training.device.type == "cpu" and not computes_bfloat16():
        yield f"this processor has no instructions for bfloat16, and float32 is faster on it: leave --{half} out"
    if training.n_gpu > 1:
        # The Trainer would split each batch over all GPUs with nn.DataParallel, and multiply the batch size.
        how = "CUDA_VISIBLE_DEVICES chooses it; several runs side by side, or one under torchrun, use them all"
        yield f"{training.n_gpu} GPUs are visible and a run uses one, {training.device}; {how}"
        training._n_gpu = 1
