"""Labels that look alike: those that are equal in NFC are one class, and others are two, which a note shows
escaped."""

import json
import re

import pytest
from datasets import ClassLabel, Dataset, Features, List, Value

from tensorized_adapters import UsageError
from tensorized_adapters.data.arguments import DataTrainingArguments
from tensorized_adapters.data.loading import load_data

COMPOSED, APART = "caf\u00e9", "cafe\u0301"


def load_classes(folder, names, labels):
    """Load a folder whose column of labels is of type ClassLabel, or a list of it."""
    kind = ClassLabel(names=names)
    features = Features({"text": Value("string"), "label": List(kind) if isinstance(labels[0], list) else kind})
    columns = {"text": [f"the cat {i}" for i in range(len(labels))], "label": labels}
    Dataset.from_dict(columns, features=features).to_parquet(folder / "train.parquet")
    return load_data(DataTrainingArguments(dataset_name=str(folder)), {"train"})


def load_rows(folder, train, dev=None):
    files = {}
    for name, labels in (("train_file", train), ("validation_file", dev)):
        if labels is not None:
            files[name] = str(folder / f"{name}.jsonl")
            rows = [{"text": f"the cat {i}", "label": label} for i, label in enumerate(labels)]
            (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return load_data(DataTrainingArguments(**files), {"train"} if dev is None else {"train", "evaluation"})


def test_classes_of_a_data_set_that_are_equal_in_nfc_are_one(capsys, tmp_path):
    data = load_classes(tmp_path, [COMPOSED, "the", APART, " the"], [0, 1, 2, 3])
    assert data.task.labels == (COMPOSED, "the") and data.train["label"][:] == [0, 1, 0, 1]
    out = capsys.readouterr().out
    assert r"the classes 'caf\xe9' and 'cafe\u0301' have one name and are one" in out
    assert "the classes 'the' and ' the' have one name and are one" in out


def test_classes_of_lists_that_are_equal_in_nfc_are_one(tmp_path):
    data = load_classes(tmp_path, [APART, "the", COMPOSED], [[0], [1], [2, 0], [1, 2]])
    assert data.task.labels == (COMPOSED, "the") and data.train["label"][:] == [[1, 0], [0, 1], [1, 0], [1, 1]]


@pytest.mark.parametrize("lists", [False, True])
def test_every_kind_of_class_that_looks_like_another_is_noticed(capsys, tmp_path, lists):
    names = ["pos", "pos\u200b"]
    load_classes(tmp_path, names, [[0], [1]] if lists else [0, 1])
    load_rows(tmp_path, [[name] for name in names] if lists else names)
    assert capsys.readouterr().out.count(r"the classes 'pos' and 'pos\u200b' look alike and are two") == 2


@pytest.mark.parametrize(
    "twin, of",
    [("\u2764\ufe0f", "\u2764"), ("pos\ufe0e", "pos"), ("p\u034fos", "pos"), ("non\u2011food", "non-food")],
    ids=["variation selector", "text selector", "joiner", "hyphen"],
)
def test_what_differs_invisibly_is_shown_escaped(capsys, tmp_path, twin, of):
    assert len(load_rows(tmp_path, [of, twin, "neg"]).task.labels) == 3
    first, second = sorted((of, twin))
    assert f"the classes {ascii(first)} and {ascii(second)} look alike and are two" in capsys.readouterr().out
    with pytest.raises(UsageError, match=re.escape(f"the label {ascii(twin)}, which only looks like {ascii(of)};")):
        load_rows(tmp_path, [of, "neg"], [twin, "neg"])
