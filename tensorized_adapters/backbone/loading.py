"""Loading the pre-trained model and its tokenizer, choosing its attention, and starting its head."""

import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Optional

import numpy as np
import torch
from scipy.special import logit
from transformers import (
    MODEL_FOR_CAUSAL_LM_MAPPING,
    MODEL_FOR_MASKED_LM_MAPPING,
    AutoConfig,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.initialization import no_init_weights
from transformers.utils import is_flash_attn_2_available
from transformers.utils.peft_utils import ADAPTER_CONFIG_NAME

from ..config import MULTI_LABEL, REGRESSION
from ..errors import UsageError, one_line, quoted, reason_of
from .architectures import ARCHITECTURES
from .arguments import ModelArguments
from .parts import head_names, holder_of, is_encoder_parameter, skeleton
from .trained_heads import draw_head_

FLASH = "flash_attention_2"


def load_config(arguments: ModelArguments) -> PretrainedConfig:
    """Return the configuration; raise UsageError if the model's folder or hub id gives none."""
    return _loaded(AutoConfig, "config_name" if arguments.config_name else "model_name_or_path", arguments)


def load_tokenizer(arguments: ModelArguments, config: PretrainedConfig) -> PreTrainedTokenizerBase:
    """Return the tokenizer; raise UsageError if there is none, or if it knows more tokens than the model.

    For a folder without tokenizer files Transformers gives a tokenizer without words, and no error.
    """
    flag = "tokenizer_name" if arguments.tokenizer_name else "model_name_or_path"
    tokenizer = _loaded(AutoTokenizer, flag, arguments, use_fast=arguments.use_fast_tokenizer)
    if not set(tokenizer.get_vocab()) - set(tokenizer.all_special_tokens):
        raise UsageError(f"--{flag} has no usable tokenizer: every word is unknown to it")
    known = getattr(holder_of(config, "vocab_size"), "vocab_size", None)  # a model of characters has none
    if known is not None and (size := len(tokenizer)) > known:
        name = getattr(arguments, flag)
        raise UsageError(f"--{flag} {name}: its {size} tokens are more than the model's {known}")
    return tokenizer


def agree_on_padding(tokenizer: PreTrainedTokenizerBase, config: PretrainedConfig) -> list[str]:
    """Make tokenizer and model pad alike. Both are changed. Return a line for each choice made for the user.

    The head of a decoder reads the last token that is not ``config.pad_token_id``, so the tokenizer must pad with that
    token. It must pad on the right, because padding on the left would shift absolute positions. An encoder keeps its
    id, from which it may count positions.

    Raise UsageError if the tokenizer has no token to pad with.
    """
    lines, architecture = [], ARCHITECTURES.get(config.model_type)
    decoder = architecture is not None and architecture.pools_last_token
    if tokenizer.pad_token_id is None:
        if tokenizer.eos_token_id is None:
            raise UsageError("--model_name_or_path: its tokenizer has no token to pad with, and none for the end")
        tokenizer.pad_token = tokenizer.eos_token
        lines.append(f"the tokenizer has no token to pad with; taking its end of text, {quoted(tokenizer.eos_token)}")
    if decoder:
        if tokenizer.padding_side != "right":
            tokenizer.padding_side = "right"
            lines.append("the tokenizer pads on the left; padding on the right, as everywhere here")
        config.use_cache = False  # the cache of keys and values is for generating text
    holder = holder_of(config, "pad_token_id")
    listed_decoder = type(config) in MODEL_FOR_CAUSAL_LM_MAPPING and type(config) not in MODEL_FOR_MASKED_LM_MAPPING
    if getattr(holder, "pad_token_id", None) is None or decoder or listed_decoder:
        holder.pad_token_id = tokenizer.pad_token_id
    return lines


def load_model(
    arguments: ModelArguments,
    config: PretrainedConfig,
    labels: Optional[Sequence[str]],
    problem_type: str,
    new_head: bool = False,
) -> tuple[PreTrainedModel, set[str], bool]:
    """Return the pre-trained model with a head for the labels, the names of parameters that its checkpoint did not
    hold, and whether it held a head for another number of labels. Raise UsageError if weights of the encoder are
    missing or do not fit.

    Args:
        config: its configuration, which gets the labels.
        labels: the names of the classes; None for regression.
        problem_type: Transformers chooses the loss by it.
        new_head: initialise the head, also if the checkpoint has one. A trained head keeps the checkpoint's order of
            rows; see ``fit_head_``.
    """
    names = labels or ("score",)
    config.num_labels = len(names)
    config.id2label = dict(enumerate(names))
    config.label2id = {name: i for i, name in enumerate(names)}
    config.problem_type = problem_type
    model, info = _loaded(
        AutoModelForSequenceClassification,
        "model_name_or_path",
        arguments,
        config=config,
        ignore_mismatched_sizes=True,  # the parameters of those sizes are new then
        output_loading_info=True,
        dtype=torch.float32,
    )
    mismatched = {key for key, *_ in info.get("mismatched_keys", ())}
    new = {*info["missing_keys"], *mismatched}
    # An encoder that is not in the checkpoint would be frozen at random numbers.
    drawn = sorted(key for key in new if is_encoder_parameter(model, key))
    if drawn:
        raise UsageError(
            f"--model_name_or_path {arguments.model_name_or_path} lacks {len(drawn)} weights of the encoder, or has "
            f"them in other sizes than its config.json says, {drawn[0]} first"
        )
    if new_head and head_names(model) - new:
        draw_head_(model, new)
    return model, new, bool(mismatched)


@torch.no_grad()
def set_label_prior_(
    model: PreTrainedModel, labels: list, new: set[str], weights: Optional[Sequence[float]] = None
) -> bool:
    """Start the classifier's bias at the labels' mean (regression) or at their log frequency (classes),
    or at the log odds of each label (several labels a text). Return whether there is one; decoders' heads have none.

    A bias that is not among the ``new`` parameters stays, since it came trained with the checkpoint. Without this
    start a regression spends its first steps on the mean, and moves the hidden states so far that some formats do not
    recover. A class without an example counts as half an example. ``weights`` of the classes (``--class_weights``)
    weigh their frequencies.
    """
    biases = [
        parameter
        for name, parameter in model.named_parameters()
        if name in new and name.endswith(".bias") and parameter.shape == (model.config.num_labels,)
    ]
    if model.config.problem_type == REGRESSION:
        prior = [sum(labels) / len(labels)]
    elif model.config.problem_type == MULTI_LABEL:
        counts = np.asarray(labels[:]).sum(axis=0).clip(0.5, len(labels) - 0.5)
        prior = logit(counts / len(labels)).tolist()
    else:
        counts = Counter(labels)
        weights = weights or [1] * model.config.num_labels
        total = sum(weights[label] for label in labels)
        prior = [math.log(weights[i] * counts.get(i, 0.5) / total) for i in range(model.config.num_labels)]
    for bias in biases[-1:]:  # a hidden layer may have num_labels units too, and comes before
        bias.copy_(torch.tensor(prior))
    return bool(biases)


def use_attention(config: PretrainedConfig, implementation: str) -> None:
    """Make the model of a configuration compute attention with ``implementation``. The configuration is changed.
    Raise UsageError if the machine, the installed packages or the architecture do not have it."""
    flag = f"--attn_implementation {implementation}"
    if implementation == FLASH and not torch.cuda.is_available():
        raise UsageError(f"{flag} needs a GPU, and there is none here; take sdpa, or leave the flag out")
    if implementation == FLASH and not is_flash_attn_2_available():
        raise UsageError(f"{flag} needs the package flash-attn; install it, take sdpa, or leave the flag out")
    skeleton(config)  # errors here do not depend on the implementation
    try:
        with torch.device("meta"), no_init_weights():
            AutoModelForSequenceClassification.from_config(config, attn_implementation=implementation)
    except (ValueError, ImportError) as error:
        reason = one_line(error).split(". ")[0].split(" Please ")[0].rstrip(".")[:200]
        raise UsageError(f"{flag} does not suit a {config.model_type} model: {reason}; leave the flag out") from None
    config._attn_implementation = implementation


def _loaded(cls: Any, flag: str, arguments: ModelArguments, **options: Any) -> Any:
    """Call ``cls.from_pretrained`` with the value of a flag and the user's options; turn any error into one line."""
    name = getattr(arguments, flag)
    try:
        no_hub_id = name.startswith(("/", "./", "../", "~")) or name.count("/") > 1 or Path(name).is_file()
        if no_hub_id and not Path(name).is_dir():
            raise UsageError(
                f"--{flag} {name} cannot be loaded: it is no folder here; name a model's folder, or a hub id such as "
                "bert-base-cased"
            )
        return cls.from_pretrained(
            name,
            cache_dir=arguments.cache_dir,
            revision=arguments.model_revision,
            token=arguments.token,
            trust_remote_code=arguments.trust_remote_code,
            **options,
        )
    except (UsageError, MemoryError):
        raise
    except Exception as error:  # any of a dozen types means a wrong or damaged source
        folder = Path(name)
        if _is_adapter_alone(folder):
            advice = "name that of its base model, and give an adapter of this program as --adapter_path"
            raise UsageError(f"--{flag} {name} is an adapter's folder; {advice}") from None
        where = "" if folder.is_dir() else "it is no folder here, and as a hub id: "
        raise UsageError(f"--{flag} {name} cannot be loaded: {where}{reason_of(error, 300)}") from None


def _is_adapter_alone(folder: Path) -> bool:
    """Return whether a folder holds an adapter, maybe as a run does, and nothing of a model or a tokenizer."""
    others = ("config.json", "model*", "pytorch_model*", "tokenizer*", "vocab*")
    if any(path for pattern in others for path in folder.glob(pattern)):
        return False
    return any((folder / below / ADAPTER_CONFIG_NAME).exists() for below in ("", "adapter"))
