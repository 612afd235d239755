"""Computes the weight of each class in the loss from ``--class_weights``, and reports rare classes."""

import math
from collections import Counter
from collections.abc import Sequence
from typing import Optional

from ..errors import UsageError, listed, quoted
from .arguments import words_between_commas
from .label_names import find_name
from .tasks import Task

_BY_FREQUENCY = ("balanced", "sqrt")
_LEAST, _MOST = 1e-6, 1e6  # beyond them float32 loses small weights beside large ones
_QUOTING = (
    "a name with a comma or a quote is quoted together with its weight, and a quote in it is doubled, as in "
    "'\"a, b=2\",c=1'"
)
_RARE = 0.1  # share of the examples of the largest class


def check_class_weights(text: str, task: Optional[Task]) -> None:
    """Refuse a value of ``--class_weights`` before the data is read; raise UsageError. Its names are only checked for
    a GLUE ``task``, whose classes are known."""
    if task is not None and (task.labels is None or text not in _BY_FREQUENCY):
        class_weights(text, task.labels, ())
    elif text not in _BY_FREQUENCY:
        _named(text)


def class_weights(text: str, names: Optional[tuple[str, ...]], labels: Sequence[int]) -> tuple[float, ...]:
    """Return the weight of each class from ``--class_weights``: balanced, sqrt, or NAME=W for each class.

    ``balanced`` is scikit-learn's: examples / (classes x examples of the class). ``sqrt`` is the square root of that.
    Raise UsageError for scores, and for a class that is unknown, not named, or without an example to be counted.
    """
    if names is None:
        raise UsageError("--class_weights is for classes, and these labels are scores; leave it out")
    if text in _BY_FREQUENCY:
        counts = Counter(labels)
        if lacking := [name for i, name in enumerate(names) if not counts[i]]:
            flaw = f"no training example is of the class {quoted(lacking[0])}; give each class a weight as NAME=W"
            raise UsageError(f"--class_weights {text} counts the examples of each class, and {flaw}")
        balanced = [len(labels) / (len(names) * counts[i]) for i in range(len(names))]
        return tuple(map(math.sqrt, balanced)) if text == "sqrt" else tuple(balanced)
    ids, found = {name: i for i, name in enumerate(names)}, {}
    for name, weight in _named(text):
        code = find_name(name, ids)
        if code is None:
            raise UsageError(f"--class_weights names the class {quoted(name)}, and the classes are {listed(names)}")
        if code in found:
            raise UsageError(f"--class_weights names the class {quoted(names[code])} twice; leave one of them out")
        found[code] = weight
    if lacking := [name for i, name in enumerate(names) if i not in found]:
        raise UsageError(f"--class_weights has no weight for the class {quoted(lacking[0])}; give each class one")
    return tuple(found[i] for i in range(len(names)))


def imbalance(names: tuple[str, ...], labels: Sequence[int]) -> Optional[str]:
    """Return a line for the user if a class is rare: it has less than a tenth of the training examples of the largest
    class, or none. No weight can help a class without examples."""
    counts = Counter(labels)
    if lacking := tuple(name for i, name in enumerate(names) if not counts[i]):
        flaw = f"no training example is of the class {listed(lacking)}, so that the run learns nothing about it"
        return f"{flaw}; other data or a larger --max_train_samples may have some"
    (least, rarest), (most, largest) = (f((counts[i], name) for i, name in enumerate(names)) for f in (min, max))
    if least >= _RARE * most:
        return None
    return (
        f"{least:,} training examples are of the class {quoted(rarest)} and {most:,} of {quoted(largest)}; "
        "--class_weights balanced weighs them alike, and --metric_name f1_macro measures them alike"
    )


def _named(text: str) -> list[tuple[str, float]]:
    """Return the pairs NAME=W of a text. A name with a comma stands in double quotes together with its weight."""
    pairs = []
    for word in words_between_commas(text, "class_weights", _QUOTING):
        name, _, number = word.rpartition("=")
        try:
            weight = float(number)
        except ValueError:
            name = ""
        if not name.strip():
            rule = "must be balanced, sqrt, or NAME=W for each class between commas"
            raise UsageError(f"--class_weights {rule}, got {quoted(word)}; {_QUOTING}")
        if not _LEAST <= weight <= _MOST:
            raise UsageError(f"--class_weights {quoted(word)}: a weight must be above 0, from {_LEAST:g} to {_MOST:g}")
        pairs.append((name.strip(), weight))
    return pairs
