"""The pre-trained model, its tokenizer, and both put to work on checked data."""

import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional

import numpy as np
import torch
from datasets import Dataset
from transformers import (
    AutoConfig,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from ..architectures import base_prefix, head_names, is_drawn_encoder, usable_positions
from ..data.arguments import DataTrainingArguments
from ..data.labels import saved_label_names
from ..data.loading import Data, tokenize
from ..data.tasks import Task
from ..errors import UsageError, quoted
from ..methods.parameters import trained_groups
from ..rows import ARCHITECTURES
from ..training.sampler import longest_first, with_lengths
from .flags import ModelArguments


@dataclass
class EncodedData:
    """Token ids, labels and lengths, split as in :class:`Data`."""

    train: Optional[Dataset]
    evaluation: dict[str, Dataset]
    prediction: dict[str, Dataset]

    def mapped(self, change: Callable[[Dataset], Any]) -> "EncodedData":
        """Every set changed by ``change``."""
        return EncodedData(
            None if self.train is None else change(self.train),
            {name: change(examples) for name, examples in self.evaluation.items()},
            {name: change(examples) for name, examples in self.prediction.items()},
        )


def load_config(arguments: ModelArguments) -> PretrainedConfig:
    """Raises UsageError if the model's folder or hub id gives no configuration."""
    name = arguments.config_name or arguments.model_name_or_path
    return _loaded(AutoConfig, name, "config_name" if arguments.config_name else "model_name_or_path", arguments)


def load_tokenizer(arguments: ModelArguments, config: PretrainedConfig) -> PreTrainedTokenizerBase:
    """Raises UsageError if there is none, or if it knows more tokens than the model."""
    name = arguments.tokenizer_name or arguments.model_name_or_path
    flag = "tokenizer_name" if arguments.tokenizer_name else "model_name_or_path"
    tokenizer = _loaded(AutoTokenizer, name, flag, arguments, use_fast=arguments.use_fast_tokenizer)
    if len(tokenizer) > config.vocab_size:
        raise UsageError(f"--{flag} {name}: its {len(tokenizer)} tokens are more than the model's {config.vocab_size}")
    return tokenizer


def agree_on_padding(tokenizer: PreTrainedTokenizerBase, config: PretrainedConfig) -> list[str]:
    """Make tokenizer and model pad alike, in place; returns a line for each thing that was taken without being asked.

    The head of a decoder reads the last token that is not ``config.pad_token_id``, so that it has to be what the
    tokenizer pads with, and on the right: left of a text it would shift absolute positions.

    Raises:
        UsageError: if the tokenizer has no token to pad with.
    """
    lines, row = [], ARCHITECTURES.get(config.model_type)
    if tokenizer.pad_token_id is None:
        if tokenizer.eos_token_id is None:
            raise UsageError("--model_name_or_path: its tokenizer has no token to pad with, and none for the end")
        tokenizer.pad_token = tokenizer.eos_token
        lines.append(f"the tokenizer has no token to pad with; taking its end of text, {quoted(tokenizer.eos_token)}")
    if row is not None and row.pools_last_token:
        if tokenizer.padding_side != "right":
            tokenizer.padding_side = "right"
            lines.append("the tokenizer pads on the left; padding on the right, as everywhere here")
        config.use_cache = False  # of keys and values, for generating text
    if config.pad_token_id is None or (row is not None and row.pools_last_token):
        config.pad_token_id = tokenizer.pad_token_id
    return lines


def load_model(
    arguments: ModelArguments, config: PretrainedConfig, task: Task, new_head: bool = False
) -> tuple[PreTrainedModel, set[str]]:
    """The pre-trained model with a head for the task's labels, and the names of what its checkpoint did not hold.

    With ``new_head`` the head is drawn, also where the checkpoint has one, and its names are among those.

    Raises:
        UsageError: if weights are missing or do not fit.
    """
    names = task.labels or ("score",)
    config.num_labels = len(names)
    config.id2label = dict(enumerate(names))
    config.label2id = {name: i for i, name in enumerate(names)}
    config.problem_type = "regression" if task.labels is None else "single_label_classification"
    model, info = _loaded(
        AutoModelForSequenceClassification,
        arguments.model_name_or_path,
        "model_name_or_path",
        arguments,
        config=config,
        ignore_mismatched_sizes=arguments.ignore_mismatched_sizes or new_head,
        output_loading_info=True,
        dtype=torch.float32,
    )
    new = {*info["missing_keys"], *(key for key, *_ in info.get("mismatched_keys", ()))}
    # A base whose encoder was not in the checkpoint would be frozen at random numbers.
    drawn = sorted(key for key in new if is_drawn_encoder(model, key))
    if drawn:
        name = arguments.model_name_or_path
        raise UsageError(f"--model_name_or_path {name} lacks {len(drawn)} weights of the encoder, {drawn[0]} first")
    if new_head and (trained := head_names(model) - new):
        drawn_anew = AutoModelForSequenceClassification.from_config(config, dtype=torch.float32).state_dict()
        model.load_state_dict({name: drawn_anew[name] for name in trained}, strict=False)
        new |= trained
    return model, new


def kept_and_new(model: PreTrainedModel, saved: dict[str, Any]) -> str:
    """For the user, of a model with another task's adapter and a new head: how many numbers of what are which.

    Args:
        saved: the adapter's config record.
    """
    prefix = base_prefix(model)
    groups = {group: dict(parameters) for group, parameters in trained_groups(model).items()}
    outside = {name: p for name, p in groups["head"].items() if not name.startswith(prefix)}
    groups["head"] = {name: p for name, p in groups["head"].items() if name not in outside}
    called = {"layer_norm": "LayerNorms", "head": "pooler"}
    kept = [
        f"{called.get(group, group)} ({sum(p.numel() for p in parameters.values()):,})"
        for group, parameters in groups.items()
        if parameters
    ]
    task, labels = saved["notes"].get("task"), saved_label_names(saved)
    before = f"{task or 'a task'}, {'scores' if labels is None else f'{len(labels)} classes'}"
    regression = model.config.problem_type == "regression"
    now = "scores" if regression else f"{model.config.num_labels} classes"
    size = sum(p.numel() for p in outside.values())
    return f"--new_head: kept from {quoted(before)}: {', '.join(kept)}; new: the head ({size:,}), for {now}"


@torch.no_grad()
def set_label_prior_(model: PreTrainedModel, labels: list, new: set[str]) -> bool:
    """Start the classifier's bias at the labels' mean (regression) or at their log frequency (classes).

    Only if it is among the ``new`` parameters: a head that came trained with the checkpoint keeps its bias.

    Without it the first steps of a regression are spent on the mean, and throw the hidden states far enough that some
    formats do not come back. A class without an example gets half a one.

    Returns:
        Whether there is such a bias; decoders' heads have none.
    """
    biases = [
        parameter
        for name, parameter in model.named_parameters()
        if name in new and name.endswith(".bias") and parameter.shape == (model.config.num_labels,)
    ]
    if model.config.problem_type == "regression":
        prior = [sum(labels) / len(labels)]
    else:
        counts = Counter(labels)
        prior = [math.log(counts.get(i, 0.5) / len(labels)) for i in range(model.config.num_labels)]
    for bias in biases[-1:]:  # the output layer's; a hidden size of num_labels would come before it
        bias.copy_(torch.tensor(prior))
    return bool(biases)


def check_tokenizer(tokenizer: PreTrainedTokenizerBase, data: Data, arguments: DataTrainingArguments) -> None:
    """Refuse a tokenizer that does not know the language, and a length in which no text is left.

    A folder without tokenizer files gives a tokenizer without words rather than an error.

    Raises:
        UsageError: naming the flag.
    """
    task = data.task
    check_room(tokenizer, arguments.max_seq_length, len(task.texts))
    examples = data.train or next(iter([*data.evaluation.values(), *data.prediction.values()]))
    texts = [str(text) for name in task.texts for text in examples[name][:100]]
    ids = [i for text in texts for i in tokenizer(text, add_special_tokens=False)["input_ids"]]
    if ids and set(ids) == {tokenizer.unk_token_id}:
        raise UsageError("--model_name_or_path has no usable tokenizer: every word is unknown to it")


def check_room(tokenizer: PreTrainedTokenizerBase, length: int, texts: int) -> None:
    """Refuse a ``length`` in tokens at which one of so many ``texts`` would be left out; raises UsageError."""
    least = tokenizer.num_special_tokens_to_add(pair=texts == 2) + texts
    if length < least:
        raise UsageError(f"--max_seq_length {length} leaves no room for text; at least {least}")


def encoded(
    data: Data, tokenizer: PreTrainedTokenizerBase, model_config: PretrainedConfig, arguments: DataTrainingArguments
) -> EncodedData:
    """Tokenise everything, to at most ``--max_seq_length`` and what tokenizer and model can take.

    What is evaluated and predicted is sorted once by length; ``row`` is each example's place in its file.
    """
    limit = min(tokenizer.model_max_length, usable_positions(model_config))
    if arguments.max_seq_length > limit:
        print(f"note: --max_seq_length {arguments.max_seq_length} is more than the model takes; using {limit}")

    def encode(examples: Dataset) -> Dataset:
        length = min(arguments.max_seq_length, limit)
        tokens = tokenize(examples, data.task, tokenizer, arguments, length)
        if not tokenizer.num_special_tokens_to_add(pair=len(data.task.texts) == 2):  # as those of decoders
            for row, mask in enumerate(tokens["attention_mask"], start=1):
                if not any(mask):
                    texts = ", ".join(data.task.texts)
                    raise UsageError(f"example {row} of {len(tokens)} has no text in {texts}; leave it out")
        return with_lengths(tokens)

    def encode_measured(examples: Dataset) -> Dataset:
        return longest_first(encode(examples).add_column("row", np.arange(len(examples))))

    return EncodedData(
        None if data.train is None else encode(data.train),
        {suffix: encode_measured(examples) for suffix, examples in data.evaluation.items()},
        {name: encode_measured(examples) for name, examples in data.prediction.items()},
    )


def _loaded(kind: Any, name: str, flag: str, arguments: ModelArguments, **options: Any) -> Any:
    """``kind.from_pretrained`` with the user's options; whatever it raises becomes one line."""
    try:
        if Path(name).is_file():
            raise UsageError(f"--{flag} {name} is a file; name the model's folder or hub id")
        if name.startswith(("/", "./", "../", "~")) or name.count("/") > 1:  # no hub id
            if not Path(name).is_dir():
                raise UsageError(
                    f"--{flag} {name} cannot be loaded: it is no folder here; name a model's folder, or a hub id such "
                    "as bert-base-cased"
                )
        return kind.from_pretrained(
            name,
            cache_dir=arguments.cache_dir,
            revision=arguments.model_revision,
            token=arguments.token,
            trust_remote_code=arguments.trust_remote_code,
            **options,
        )
    except (UsageError, MemoryError):
        raise
    except Exception as error:  # of a dozen types; each means a wrong or broken place
        text = " ".join(str(error).split())
        if "ignore_mismatched_sizes" in text:
            text = "its head has another number of labels; --ignore_mismatched_sizes draws a new one"
        elif not Path(name).is_dir():
            text = f"it is no folder here, and as a hub id: {text}"
        raise UsageError(f"--{flag} {name} cannot be loaded: {text[:300]}") from None
