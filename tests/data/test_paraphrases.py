"""The packaged data set is what its generator writes, balanced, and free of leaks and of the word-overlap shortcut."""

import csv
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
DATA = ROOT / "data" / "paraphrases"


@pytest.fixture(scope="module")
def splits():
    found = {}
    for name in ("train", "validation", "test"):
        with open(DATA / f"{name}.csv", newline="", encoding="utf-8") as file:
            found[name] = list(csv.DictReader(file))
    return found


def test_the_generator_writes_these_very_files(tmp_path):
    subprocess.run([sys.executable, ROOT / "data" / "paraphrases" / "make.py", "--output_dir", tmp_path], check=True)
    for name in ("train.csv", "validation.csv", "test.csv"):
        assert (tmp_path / name).read_bytes() == (DATA / name).read_bytes()


def test_sizes_balance_and_no_leaks(splits):
    assert len(splits["train"]) >= 1_500 and len(splits["validation"]) >= 400
    pairs = [frozenset((row["sentence1"], row["sentence2"])) for rows in splits.values() for row in rows]
    assert len(set(pairs)) == len(pairs)
    for rows in splits.values():
        assert list(rows[0]) == ["sentence1", "sentence2", "label", "idx"]
        assert sum(row["label"] == "1" for row in rows) * 2 == len(rows)


def test_word_overlap_misleads(splits):
    """The best threshold on the share of common words scores far below a model."""

    def overlap(row):
        one, two = (set(row[name].lower().strip(".").split()) for name in ("sentence1", "sentence2"))
        return len(one & two) / len(one | two)

    scored = sorted((overlap(row), row["label"] == "1") for row in splits["validation"])
    total = len(scored)
    positives = sum(label for _, label in scored)
    best, below = 0, 0
    for position, (_, label) in enumerate(scored, start=1):
        below += not label
        right = below + positives - (position - below)
        best = max(best, right, total - right)
    assert best / total < 0.75
