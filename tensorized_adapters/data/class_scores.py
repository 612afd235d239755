"""Precision, recall and F1 of each class, the confusion matrix, and the most confident mistakes."""

from typing import Any, Optional

import numpy as np
from datasets import Dataset
from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

from ..errors import quoted
from .metrics import predictions_of, probabilities_of
from .tasks import Task
from .texts import texts_of

MISTAKES = 20
LONGEST_TEXT = 1000  # characters
LARGEST_MATRIX = 100  # classes; the record's size would grow with their square
_WORST = 3


def class_scores(logits: np.ndarray, references: np.ndarray, examples: Dataset, task: Task) -> dict[str, Any]:
    """Return the scores of each class, for the record, from logits and label ids in the order of the file.

    ``examples`` are the same ones with their texts. ``row`` of a mistake counts them from 0. ``confusion`` is None for
    many classes, since the file of the evaluation's predictions has the same counts.
    """
    predictions, probabilities = predictions_of(logits, task), probabilities_of(logits).max(axis=1)
    ids = range(len(task.labels))
    precision, recall, f1, _ = precision_recall_fscore_support(references, predictions, labels=ids, zero_division=0)
    confusion = confusion_matrix(references, predictions, labels=ids)
    wrong = np.flatnonzero(predictions != references)
    rows = wrong[np.argsort(-probabilities[wrong], kind="stable")][:MISTAKES]
    chosen = examples.select(rows)
    texts = zip(*(texts_of(chosen[name][:], chosen.features[name].dtype) for name in task.texts))
    return {
        "names": list(task.labels),
        "precision": precision.tolist(),
        "recall": recall.tolist(),
        "f1": f1.tolist(),
        # scikit-learn's own support is of floats if no prediction is correct.
        "support": confusion.sum(axis=1).tolist(),
        "confusion": confusion.tolist() if len(ids) <= LARGEST_MATRIX else None,
        "mistakes": [
            {
                "row": int(row),
                "texts": [text if len(text) <= LONGEST_TEXT else f"{text[:LONGEST_TEXT]}..." for text in of_row],
                "label": task.labels[int(references[row])],
                "predicted": task.labels[int(predictions[row])],
                "probability": float(probabilities[row]),
            }
            for row, of_row in zip(rows, texts)
        ],
    }


def worst_classes(scores: dict[str, Any]) -> Optional[str]:
    """Return a line with the classes of the lowest F1, or None for two classes of equal F1."""
    with_examples = [entry for entry in zip(scores["f1"], scores["names"], scores["support"]) if entry[2]]
    if len(scores["names"]) < 3 and len({f1 for f1, *_ in with_examples}) < 2:
        return None
    worst = sorted(with_examples, key=lambda entry: entry[0])[:_WORST]
    return "lowest F1: " + ", ".join(f"{quoted(name)} {f1:.4f} of {count:,} examples" for f1, name, count in worst)
