"""A development set for data that has none: a part of the training set, drawn by the seed."""

import numpy as np
from datasets import Dataset
from sklearn.model_selection import train_test_split

from ..errors import UsageError
from .tasks import Task


def hold_out(
    raw: dict[str, Dataset], sources: dict[str, str], task: Task, fraction: float, seed: int
) -> tuple[dict[str, Dataset], dict[str, str]]:
    """Return the sets and their sources, with a part of the training set as the evaluation set.

    Both parts keep the order of the rows. Classes keep their shares in both parts, if each has enough examples.
    """
    examples, source = raw["train"], f"{sources['train']}, --validation_fraction {fraction}"
    count = round(len(examples) * fraction)
    if not 0 < count < len(examples):
        raise UsageError(
            f"--validation_fraction {fraction} of the {len(examples)} training examples leaves one of both parts "
            "empty; give another fraction"
        )
    labels = None if task.labels is None or task.multi_label else examples["label"][:]
    how = "whatever their labels" if labels is None else "stratified by label"
    rows = np.arange(len(examples))
    try:
        parts = train_test_split(rows, test_size=count, random_state=seed, stratify=labels)
    except ValueError:  # a class of one example, or fewer examples in a part than there are classes
        parts = train_test_split(rows, test_size=count, random_state=seed)
        how = "not stratified, since some labels have too few examples"
    print(
        f"note: {count:,} of {len(examples):,} training examples are the evaluation set and are not trained on "
        f"(--validation_fraction {fraction}); they are drawn by --seed {seed}, {how}"
    )
    split = task.evaluation[0][1]
    kept, held = (examples.select(np.sort(part)) for part in parts)
    return raw | {"train": kept, split: held}, sources | {split: source}
