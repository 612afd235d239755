"""Values that are no strings give the same tokens in training, in evaluation and in every kind of prediction."""

import io
import json
import re
import sys
from types import SimpleNamespace
from unittest.mock import Mock

import datasets
import numpy as np
import pandas as pd
import pytest
from datasets import Dataset
from transformers import AutoTokenizer

from tensorized_adapters import UsageError, load_pipeline
from tensorized_adapters.data.arguments import DataTrainingArguments
from tensorized_adapters.data.columns import Columns, kept_columns
from tensorized_adapters.data.encoding import tokenize
from tensorized_adapters.data.loading import load_data
from tensorized_adapters.data.texts import text_of
from tensorized_adapters.predicting.pipeline import _of_columns
from tensorized_adapters.predicting.rows import text_columns, text_rows

COLUMNS = {
    "numbers": [0.5, 1, 2, 3.5],
    "integers": [1, 2, 3, 2**60],
    "large": [1e20, 0.1, -0.0, 1e-7],
    "truth": [True, False, True, True],
}


def tokens_of(tokenizer, **arguments):
    arguments = DataTrainingArguments(text_columns="text", **arguments)
    data = load_data(arguments, {"train", "evaluation"} if arguments.validation_file else {"train"})
    sets = [data.train, *data.evaluation.values()]
    return [tokenize(examples, data.task, tokenizer, arguments, 32)["input_ids"][:] for examples in sets]


@pytest.mark.parametrize("kind", COLUMNS)
def test_every_reader_makes_the_same_text(base, monkeypatch, tmp_path, kind):
    values = COLUMNS[kind]
    rows = [{"text": value, "label": ("no", "yes")[i % 2]} for i, value in enumerate(values)]
    path, folder, listing = tmp_path / "a.jsonl", tmp_path / "folder", tmp_path / "a.json"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    listing.write_text(json.dumps(rows))
    folder.mkdir()
    Dataset.from_list([row | {"text": type(values[0])(row["text"])} for row in rows]).to_parquet(
        folder / "train.parquet"
    )
    read = [texts[0] for texts in text_rows(path, None, ("text",))]
    assert read == [text_of(value) for value in values]
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(path.read_bytes())))
    assert [texts[0] for texts in text_rows(None, None, ("text",))] == read
    tokenizer = AutoTokenizer.from_pretrained(base)
    expected = tokenizer(read)["input_ids"]
    seen = []
    monkeypatch.setattr(
        type(tokenizer), "__call__", lambda self, *texts, **_: seen.append(texts) or {"input_ids": expected}
    )
    tokens_of(tokenizer, train_file=str(path), validation_file=str(listing))
    tokens_of(tokenizer, dataset_name=str(folder))
    assert seen == [(read,)] * 3


@pytest.mark.parametrize(
    "value, text",
    [
        (1.0, "1"),
        (1, "1"),
        (0.5, "0.5"),
        (1e300, "1e+300"),
        (np.float32(0.1), "0.1"),
        (np.float64(0.1), "0.1"),
        (np.int64(3), "3"),
        (True, "true"),
        (float("nan"), ""),
        (None, ""),
        ("1.0", "1.0"),
    ],
)
def test_text_of(value, text):
    assert text_of(value) == text


def test_a_narrow_column_has_the_shortest_decimals(base, monkeypatch, tmp_path):
    features = datasets.Features({"text": datasets.Value("float32"), "label": datasets.Value("string")})
    Dataset.from_dict({"text": [0.1, 2.0, None], "label": ["a", "b", "a"]}, features=features).to_parquet(
        tmp_path / "train.parquet"
    )
    tokenizer, seen = AutoTokenizer.from_pretrained(base), []
    monkeypatch.setattr(
        type(tokenizer), "__call__", lambda self, *texts, **_: seen.append(texts) or {"input_ids": [[1], [1], [1]]}
    )
    tokens_of(tokenizer, dataset_name=str(tmp_path))
    assert seen == [(["0.1", "2", ""],)]


def test_classes_are_read_as_their_names(tmp_path):
    kinds = datasets.ClassLabel(names=["alpha", "beta"])
    features = datasets.Features({"kind": kinds, "text": datasets.Value("string"), "label": kinds})
    rows = {"kind": [1, 0, None], "text": ["a", "b", "c"], "label": [0, 1, 0]}
    for split in ("train", "validation", "test"):
        Dataset.from_dict(rows, features=features).to_parquet(tmp_path / f"{split}.parquet")
    arguments = DataTrainingArguments(text_columns="kind,text", dataset_name=str(tmp_path))
    data = load_data(arguments, {"train", "evaluation", "prediction"})
    for examples in (data.train, *data.evaluation.values(), *data.prediction.values()):
        tokenizer = Mock(return_value={"input_ids": [[1]] * 3})
        tokenize(examples, data.task, tokenizer, arguments, 32)
        assert tokenizer.call_args.args == (["beta", "alpha", ""], ["a", "b", "c"])
    Dataset.from_dict(rows | {"kind": [1, -1, 0]}, features=features).to_parquet(tmp_path / "train.parquet")
    with pytest.raises(UsageError, match="column 'kind': row 2 has the label -1; expected some of alpha, beta"):
        load_data(arguments, {"train"})


def test_joined_columns_are_the_same_text_everywhere(tmp_path):
    rows = [{"a": f"x {i}", "b": i / 2, "c": "" if i else "y", "label": "xy"[i % 2]} for i in range(4)]
    path = tmp_path / "a.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    tokenizer = Mock(return_value={"input_ids": [[1]] * 4})
    arguments = DataTrainingArguments(text_columns="a,b,c", text_column_delimiter=" / ", train_file=str(path))
    data = load_data(arguments, {"train"})
    tokenize(data.train, data.task, tokenizer, arguments, 32)
    expected = [f"x {i} / {text_of(i / 2)} / {'' if i else 'y'}" for i in range(4)]
    assert tokenizer.call_args.args == (expected,)
    columns = text_columns({"notes": data.notes}, None, "folder")
    assert columns == kept_columns({"notes": data.notes}) and data.task.inputs == 1
    assert list(text_rows(path, None, columns.texts, columns.delimiter)) == [(text,) for text in expected]
    assert [_of_columns(row, columns) for row in rows] == expected


def test_a_missing_key_is_an_empty_part_of_a_joined_text_everywhere(tmp_path):
    rows = [
        {"a": "x", "c": "z", "label": "n"},
        {"a": "x", "b": "y", "label": "m"},
        {"b": "y", "c": None, "label": "n"},
    ]
    path = tmp_path / "a.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    tokenizer = Mock(return_value={"input_ids": [[1]] * 3})
    arguments = DataTrainingArguments(text_columns="a,b,c", text_column_delimiter="/", train_file=str(path))
    data = load_data(arguments, {"train"})
    tokenize(data.train, data.task, tokenizer, arguments, 32)
    assert tokenizer.call_args.args == (["x//z", "x/y/", "/y/"],)
    assert list(text_rows(path, None, ("a", "b", "c"), "/")) == [("x//z",), ("x/y/",), ("/y/",)]
    columns = Columns(("a", "b", "c"), delimiter="/")
    assert [_of_columns(row, columns) for row in rows] == ["x//z", "x/y/", "/y/"]
    assert _of_columns({"d": "x"}, columns) == {"d": "x"}  # is refused afterwards
    path.write_text('{"d": "x"}\n')
    with pytest.raises(UsageError, match="line 1 has no column 'a'; it has d;"):
        text_rows(path, None, ("a", "b", "c"), "/")
    path.write_text('{"a": "x"}\n')  # a part of a pair is not missing
    with pytest.raises(UsageError, match="line 1 has no column 'b'; it has a;"):
        text_rows(path, None, ("a", "b"))
    (tmp_path / "a.csv").write_text("a,b\nx,y\n")
    with pytest.raises(UsageError, match="line 2 has no column 'c'; it has a, b;"):
        text_rows(tmp_path / "a.csv", None, ("a", "b", "c"), "/")


def test_columns_with_the_names_of_transformers_are_read_as_they_were_trained():
    row = {"text": "a", "text_pair": "b"}
    assert _of_columns(row, Columns(("text", "text_pair"), delimiter=" ")) == "a b"
    assert _of_columns(row, Columns(("text_pair", "text"))) == {"text": "b", "text_pair": "a"}
    assert _of_columns(row, Columns(("text",))) == row  # Transformers' pair
    joined = Columns(("text", "title"), delimiter=" / ")
    assert _of_columns({"text": "a"}, joined) == "a / "  # as predict reads a line without the title
    assert _of_columns({"text": "a", "title": "b"}, joined) == "a / b"
    assert _of_columns({"text_pair": "a"}, Columns(("title", "text_pair"), delimiter=" / ")) == " / a"
    assert _of_columns(row, joined) == row  # is refused afterwards


def test_a_row_as_a_dict_of_columns_is_the_pair_or_the_text(folders):
    pipeline = load_pipeline(folders / "pairs" / "adapter", device="cpu")
    pair = {"text": "the cat", "text_pair": "a dog"}
    assert pipeline({"sentence1": "the cat", "sentence2": "a dog", "idx": 3}) == pipeline(pair)
    pipeline = load_pipeline(folders / "single" / "adapter", device="cpu")
    assert pipeline([{"text": "the cat", "idx": 3}]) == pipeline(["the cat"])


def test_the_pipeline_takes_values_as_training_does(folders):
    pipeline = load_pipeline(folders / "single" / "adapter", device="cpu")
    ids = [pipeline.preprocess(value)["input_ids"].tolist() for value in (1.0, 1, "1", {"text": 1.0})]
    assert ids[0] == ids[1] == ids[2] == ids[3]
    assert pipeline([1.0, True]) == pipeline(["1", "true"])


def test_the_pipeline_takes_the_columns_of_other_libraries(folders):
    texts, pipeline = ["the cat", "a dog"], load_pipeline(folders / "single" / "adapter", device="cpu")
    for column in (Dataset.from_dict({"text": texts})["text"], pd.Series(texts), np.array(texts)):
        assert pipeline(column) == pipeline(texts)
    with pytest.raises(UsageError, match=r"an input is array\('the cat', .*\); give a text"):
        pipeline(np.array(texts[0]))
    for nothing in (pd.Series([], dtype=object), np.array([]), [], ()):
        with pytest.raises(UsageError, match="there are no inputs; give at least one text"):
            pipeline(nothing)


@pytest.mark.parametrize("nothing", ["", " \n", None, float("nan")])
def test_the_pipeline_refuses_empty_texts_as_predict_does(folders, nothing):
    single = load_pipeline(folders / "single" / "adapter", device="cpu")
    pairs = load_pipeline(folders / "pairs" / "adapter", device="cpu")
    for pipeline, value in (
        (single, nothing),
        (single, [nothing]),
        (single, {"text": nothing}),
        (pairs, {"text": "the cat", "text_pair": nothing}),
        (pairs, {"sentence1": nothing, "sentence2": "the cat"}),
        (pairs, [[[nothing, "the cat"]]]),
    ):
        with pytest.raises(UsageError, match="an input is .*, with an empty text; write it or leave the input out"):
            pipeline(value)
    single.columns = Columns(("one", "two"), delimiter=" ")
    assert single([{"one": "the cat", "two": nothing}])
    with pytest.raises(UsageError, match="with an empty text"):
        single([{"one": nothing, "two": nothing}])


def test_the_pipeline_refuses_half_a_character(folders):
    for kind, value in (("single", "the \ud83d"), ("pairs", {"text": "the cat", "text_pair": "\ud83d"})):
        with pytest.raises(UsageError, match=r"ud83d'.*, with an unpaired surrogate \(half of a character\)"):
            load_pipeline(folders / kind / "adapter", device="cpu")(value)


@pytest.mark.parametrize(
    ("kind", "value", "message"),
    [
        ("pairs", "the cat", "was trained on pairs; give a dict of sentence1 and sentence2, or of text and text_pair"),
        ("pairs", {"text": "the cat"}, "was trained on pairs"),
        ("pairs", {"sentence1": "the cat"}, "an input is {'sentence1': 'the cat'}; give a dict of sentence1 and"),
        ("pairs", ("the cat", "a dog"), "an input is ('the cat', 'a dog'); give a dict of sentence1 and sentence2"),
        ("single", ("the cat", "a dog"), "an input is ('the cat', 'a dog'); give a text, a dict of text, or a list"),
        ("single", {"text": ["the cat", "a dog"]}, "an input is {'text': ['the cat', 'a dog']}; give"),
        ("single", {"words": "the cat"}, "an input is {'words': 'the cat'}; give"),
        ("single", {"text": "a", "text_pair": "b"}, "trained on one text; give a text or a dict of text, or a list"),
        ("single", {"text": "a", "text_pair": ["b"]}, "the adapter was trained on one text; give"),
        ("single", [["the cat", "a dog"]], "the adapter was trained on one text; give a text or a dict of text"),
        ("single", ["the cat", "a dog"], "the adapter was trained on one text; give"),
        ("pairs", ["the cat", "a dog"], "an input is ['the cat', 'a dog']; give a dict of sentence1 and sentence2"),
    ],
)
def test_the_pipeline_refuses_what_it_would_read_otherwise(folders, kind, value, message):
    """Transformers would take the first of several texts, and of a pair one text alone, without a word."""
    pipeline = load_pipeline(folders / kind / "adapter", device="cpu")
    with pytest.raises(UsageError, match=re.escape(message)):
        pipeline([value])


def test_a_pair_is_refused_where_columns_were_joined_and_taken_where_nothing_is_known(folders):
    pair = {"text": "the cat", "text_pair": "a dog"}
    pipeline = load_pipeline(folders / "single" / "adapter", device="cpu")
    for nothing in (None, ""):  # no pair for the tokenizer
        assert pipeline({"text": "the cat", "text_pair": nothing}) == pipeline({"text": "the cat"})
    pipeline.columns = Columns(("one", "two"), delimiter=" ")
    for value in (pair, [["the cat", "a dog"]]):
        with pytest.raises(UsageError, match="trained on one text; give a text or a dict of one and two, or a list"):
            pipeline([value])
    assert pipeline([{"one": "the cat", "two": "a dog"}]) == pipeline(["the cat a dog"])
    pipeline.columns = Columns(("text\u00e9",))  # names of columns are compared in NFC
    assert pipeline([{"texte\u0301": "the cat"}]) == pipeline(["the cat"])
    pipeline.columns = None
    assert pipeline([[["the cat", "a dog"]]])[0] == pipeline(pair)
    pipeline = load_pipeline(folders / "pairs" / "adapter", device="cpu")
    assert pipeline([[["the cat", "a dog"]]])[0] == pipeline(pair)
