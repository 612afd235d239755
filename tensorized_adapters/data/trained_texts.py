"""Recognises texts that a saved adapter was trained on, so that a later run does not hold them out to measure it.

A saved adapter keeps the smallest hashes of its training texts: all of a small set, and a random sample of a large one
(Bar-Yossef et al., "Counting Distinct Elements in a Data Stream", 2002). A text has the same hash in any file, format
or split. After several trainings the adapter keeps the smallest hashes of all of them.
"""

import base64
from typing import Any, Optional

import numpy as np
from datasets import Dataset
from pandas.util import hash_array

from ..errors import UsageError
from .texts import texts_of

SAMPLE = 512  # hashes, which are 5.5 kB in the adapter's config
_REFUSED = 0.05  # a smaller share of known texts may be chance, as short texts occur in several data sets


def sample_of(train: Dataset, texts: tuple[str, ...], earlier: Optional[str] = None) -> str:
    """Return the smallest hashes of the training texts, and of those of an ``earlier`` training, in base64."""
    hashes = np.union1d(_hashes(train, texts), _decoded(earlier))  # in ascending order, each once
    return base64.b64encode(hashes[:SAMPLE].astype("<u8").tobytes()).decode()


def note_repeated(evaluated: Dataset, train: Dataset, texts: tuple[str, ...], source: str) -> None:
    """Print how many evaluated examples have texts that are trained on, whose score says little about new texts."""
    if repeated := int(np.isin(_hashes(evaluated, texts), _hashes(train, texts)).sum()):
        count = f"{source}: {repeated:,} of the {len(evaluated):,} evaluated examples"
        print(f"note: {count} repeat texts of the training set; remove repeated rows to measure on new texts")


def check_held_out(
    held_out: Dataset, rest: Dataset, texts: tuple[str, ...], notes: dict[str, Any], new_head: bool = False
) -> None:
    """Compare the part of a training set that a run holds out with the texts that a saved adapter was trained on.

    Texts that are in ``rest`` too are ignored: an adapter that was trained on the same split has them from its
    training part.

    Args:
        notes: those of the saved adapter.
        new_head: whether it gets a new head. Then known texts are only noted, since their labels may be others.

    Raises:
        UsageError: if more than a twentieth of the texts were trained on. A smaller share is a note.
    """
    known = _decoded(notes.get("trained_texts"))
    if not len(known):
        unknown = "--adapter_path does not say which texts it was trained on"
        print(f"note: {unknown}; --validation_fraction may hold some of them out")
        return
    hashes = np.setdiff1d(_hashes(held_out, texts), _hashes(rest, texts))
    if len(known) == SAMPLE:
        hashes = hashes[hashes <= known[-1]]  # larger ones are not in the sample, trained on or not
    trained_on = int(np.isin(hashes, known).sum())
    if not trained_on:
        return
    fraction, seed = notes.get("validation_fraction"), notes.get("seed")
    how = "without --validation_fraction; give --validation_file"
    if fraction is not None:
        same = "give the same with the same data, or --validation_file"
        how = f"with --validation_fraction {fraction} and --seed {seed}; {same}"
    message = (
        f"--validation_fraction holds out texts that --adapter_path was trained on, {trained_on} of the {len(hashes)} "
        f"that can be compared. It was trained {how}"
    )
    if trained_on > _REFUSED * len(hashes) and not new_head:
        raise UsageError(message)
    print(f"note: {message}")


def _hashes(examples: Dataset, texts: tuple[str, ...]) -> np.ndarray:
    """Return a hash of the texts of each row, in the order of the rows."""
    columns = [texts_of(examples[name][:], examples.features[name].dtype) for name in texts]
    rows = np.array(["\0".join(row) for row in zip(*columns)], dtype=object)
    return hash_array(rows, categorize=False)


def _decoded(sample: Any) -> np.ndarray:
    """Return the hashes of a note, or none if it is no sample, since any notes may be saved from Python."""
    try:
        return np.frombuffer(base64.b64decode(sample, validate=True), dtype="<u8")
    except (TypeError, ValueError):
        return np.empty(0, dtype="<u8")
