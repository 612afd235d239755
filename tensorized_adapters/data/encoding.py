"""Tokenises the data and sorts it by length."""

import numpy as np
import pyarrow.compute
from datasets import Dataset
from transformers import (
    DataCollator,
    DataCollatorWithPadding,
    PretrainedConfig,
    PreTrainedTokenizerBase,
    default_data_collator,
)

from ..backbone.parts import usable_positions
from ..errors import UsageError
from .arguments import DataTrainingArguments
from .loading import Data
from .tasks import Task
from .texts import joined, text_of, texts_of


def check_tokenizer(tokenizer: PreTrainedTokenizerBase, data: Data, arguments: DataTrainingArguments) -> None:
    """Refuse a tokenizer that does not know the language, and a length that leaves no room for text."""
    task = data.task
    check_room(tokenizer, arguments.max_seq_length, task.inputs)
    examples = data.train or next(iter([*data.evaluation.values(), *data.prediction.values()]))
    texts = [text_of(text) for name in task.texts for text in examples[name][:100]]
    ids = [i for text in texts for i in tokenizer(text, add_special_tokens=False)["input_ids"]]
    if ids and set(ids) == {tokenizer.unk_token_id}:
        raise UsageError("--model_name_or_path has no usable tokenizer: every word is unknown to it")


def check_room(tokenizer: PreTrainedTokenizerBase, length: int, texts: int) -> None:
    """Raise UsageError if ``length`` tokens leave no room for a token of each text of an example, of which there are
    ``texts``."""
    least = tokenizer.num_special_tokens_to_add(pair=texts == 2) + texts
    if length < least:
        raise UsageError(f"--max_seq_length {length} leaves no room for text; at least {least}")


def encoded(
    data: Data, tokenizer: PreTrainedTokenizerBase, model_config: PretrainedConfig, arguments: DataTrainingArguments
) -> Data:
    """Tokenise all sets, to at most ``--max_seq_length`` and the longest input of tokenizer and model.

    The sets for evaluation and prediction are sorted by length; ``row`` is the position of an example in its file.
    """
    limit = min(tokenizer.model_max_length, usable_positions(model_config))
    if arguments.max_seq_length > limit:
        print(f"note: --max_seq_length {arguments.max_seq_length} is more than the model takes; using {limit}")

    def encode(examples: Dataset) -> Dataset:
        tokens = tokenize(examples, data.task, tokenizer, arguments, min(arguments.max_seq_length, limit))
        if not tokenizer.num_special_tokens_to_add(pair=data.task.inputs == 2):  # decoders' tokenizers add none
            for row, mask in enumerate(tokens["attention_mask"], start=1):
                if not any(mask):
                    texts = ", ".join(data.task.texts)
                    raise UsageError(f"example {row} of {len(tokens)} has no text in {texts}; leave it out")
        lengths = pyarrow.compute.list_value_length(tokens.with_format("arrow")[:]["input_ids"])  # faster than len()
        return tokens.add_column("length", lengths.to_pylist())

    return data.mapped(
        encode, lambda examples: longest_first(encode(examples).add_column("row", np.arange(len(examples))))
    )


def tokenize(
    examples: Dataset, task: Task, tokenizer: PreTrainedTokenizerBase, arguments: DataTrainingArguments, length: int
) -> Dataset:
    """Return the examples as at most ``length`` token ids each, with ``label``.

    The ids are made in memory in every run, because a cached file with a flipped bit would silently give other tokens.
    """

    def encode(batch: dict[str, list]) -> dict[str, list]:
        texts = [texts_of(batch[name], examples.features[name].dtype) for name in task.texts]
        if task.delimiter is not None:
            texts = [[text for row in zip(*texts) for text in joined(row, task.delimiter)]]
        padding = "max_length" if arguments.pad_to_max_length else False
        return tokenizer(*texts, padding=padding, max_length=length, truncation=True)

    remove = [name for name in examples.column_names if name != "label"]
    workers = min(arguments.preprocessing_num_workers or 1, len(examples))
    return examples.map(
        encode,
        batched=True,
        remove_columns=remove,
        keep_in_memory=True,
        load_from_cache_file=False,
        num_proc=workers if workers > 1 else None,
    )


def collator(tokenizer: PreTrainedTokenizerBase, arguments: DataTrainingArguments, half: bool) -> DataCollator:
    """Return the function that makes a batch. It pads to the longest example, unless all examples are padded already.
    In ``half`` precision the length is a multiple of 8, for which GPUs have faster kernels."""
    if arguments.pad_to_max_length:
        return default_data_collator
    return DataCollatorWithPadding(tokenizer, pad_to_multiple_of=8 if half else None)


def longest_first(examples: Dataset) -> Dataset:
    """Sort the examples by falling length, so that batches of evaluation need little padding."""
    return examples.select(np.argsort(-np.array(examples["length"]), kind="stable"))
