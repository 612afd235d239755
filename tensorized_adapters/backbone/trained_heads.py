"""Reorders the rows of a trained head by the data's labels, or initialises the head if they do not fit."""

import re
import unicodedata
from collections.abc import Sequence
from typing import Optional

import torch
from torch import nn
from transformers import AutoModelForSequenceClassification, PretrainedConfig, PreTrainedModel

from ..config import REGRESSION
from ..errors import listed
from .parts import head_names


def labels_of_head(config: PretrainedConfig) -> tuple[tuple[str, ...], Optional[str]]:
    """Return the labels that a checkpoint's configuration gives to the rows of its head, and its type of problem."""
    names = tuple(str(config.id2label.get(i, f"LABEL_{i}")) for i in range(config.num_labels))
    return names, config.problem_type


def draw_head_(model: PreTrainedModel, new: set[str]) -> None:
    """Initialise the head's parameters that the checkpoint held, and add their names to ``new``."""
    trained = head_names(model) - new
    drawn = AutoModelForSequenceClassification.from_config(model.config, dtype=torch.float32).state_dict()
    model.load_state_dict({name: drawn[name] for name in trained}, strict=False)
    new |= trained


@torch.no_grad()
def fit_head_(
    model: PreTrainedModel, labels: tuple[Sequence[str], Optional[str]], new: set[str], had_other_size: bool
) -> Optional[str]:
    """Reorder the rows of a trained head, so that row i belongs to the model's label i.

    | the checkpoint's head   | the labels of head and data        | the head is | the line says           |
    |-------------------------|------------------------------------|-------------|-------------------------|
    | none, or untrained      |                                    | as it was   |                         |
    | for one score           | are scores                         | as it was   |                         |
    | for equally many labels | have equal names in the same order | as it was   |                         |
    | for equally many labels | have equal names in another order  | reordered   | the new order           |
    | for equally many labels | are ids on one side, names on the  | as it was   | the guess               |
    |                         | other                              |             |                         |
    | any other               |                                    | initialised | what it was for         |

    Names are equal in any case, and with blanks, ``_`` or ``-`` between words. The ids are 0, 1, ... or LABEL_0,
    LABEL_1, ... . Integers that are no equal set, such as 0, 1 and 1, 2, are other labels.

    Args:
        model: with the data's labels in its configuration.
        labels: of :func:`labels_of_head`, before the configuration got the data's labels.
        new: names of the parameters that the checkpoint did not hold. Those of an initialised head are added.
        had_other_size: whether the checkpoint held a head for another number of labels, which is among ``new``.

    Returns:
        A line for the user if rows were moved, the head was initialised or its order is a guess.
    """
    layer, head = _output_layer(model), "the trained head of --model_name_or_path"
    if layer is None or (any(name in new for name, _ in layer) and not had_other_size):
        return None  # the head is untrained
    head_labels, problem = labels
    data_labels = tuple(model.config.id2label[i] for i in range(model.config.num_labels))
    if model.config.problem_type == REGRESSION:
        if not had_other_size and len(head_labels) == 1 and problem in (None, REGRESSION):
            return None
        draw_head_(model, new)
        return f"{head} is for {listed(head_labels)}, not for scores; a new one is drawn"
    if problem != REGRESSION and not had_other_size:
        if (order := _rows_by_name(head_labels, data_labels)) is not None:
            if order == list(range(len(data_labels))):
                return None
            for _, parameter in layer:
                parameter.copy_(parameter[order])
            moved = f"its rows were put in the data's order, {listed(data_labels)}"
            return f"{head} has its labels in the order {listed(head_labels)}; {moved}"
        ids = [str(i) for i in range(len(data_labels))]
        plain = _plain(head_labels), _plain(data_labels)
        are_integers = all(re.fullmatch(r"-?\d+", name) for names in plain for name in names)
        if len(head_labels) == len(data_labels) and ids in plain and not are_integers:
            pairs = listed([f"{theirs} is {ours}" for theirs, ours in zip(head_labels, data_labels)])
            return f"{head} is kept with its rows in their order: {pairs}; if that is wrong, correct id2label"
    draw_head_(model, new)
    return f"{head} is for {listed(head_labels)}, the data has {listed(data_labels)}; a new head is drawn"


def _rows_by_name(head_labels: Sequence[str], data_labels: Sequence[str]) -> Optional[list[int]]:
    """Return for each label of the data its row of the head, or None if the names differ."""
    for theirs, ours in ((list(head_labels), list(data_labels)), (_plain(head_labels), _plain(data_labels))):
        if len(set(theirs)) == len(theirs) and sorted(theirs) == sorted(ours):
            return [theirs.index(name) for name in ours]
    return None


def _plain(names: Sequence[str]) -> list[str]:
    """Return names without case and without the difference between blank, ``_`` and ``-``; LABEL_3 is the id 3."""
    composed = (unicodedata.normalize("NFC", name).strip().casefold() for name in names)
    plain = (re.sub(r"(?<=[^\W_])[\s_-]+(?=[^\W_])", " ", name) for name in composed)  # "-1" and "A-" keep their sign
    return [re.sub(r"label (\d+)", r"\1", name) if re.fullmatch(r"label \d+", name) else name for name in plain]


def _output_layer(model: PreTrainedModel) -> Optional[list[tuple[str, nn.Parameter]]]:
    """Return the parameters of the head's last linear layer with a row for each label."""
    outside, layers = head_names(model), [*model.named_modules()]
    for name, module in reversed(layers):
        linear = isinstance(module, nn.Linear) and f"{name}.weight" in outside
        if linear and module.out_features == model.config.num_labels:
            return [(f"{name}.{part}", parameter) for part, parameter in module.named_parameters(recurse=False)]
    return None
