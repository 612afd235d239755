"""Columns of CSV files are strings as they stand, unless the card has types or words for missing values."""

import json

import pytest
from datasets import load_dataset

from tensorized_adapters.data.arguments import DataTrainingArguments
from tensorized_adapters.data.loading import load_data
from tensorized_adapters.data.locations import DatasetLocation, read_splits
from tensorized_adapters.data.sources import load_splits
from tensorized_adapters.errors import UsageError


def card_with(*options):
    return "\n  ".join(["configs:\n- config_name: default", "data_files: '*.csv'", *options])


def write_card(folder, card):
    (folder / "README.md").write_text(f"---\n{card}\n---\n")


COLUMNS = ("text", "number")
STRINGS = ["007", "0015.50", "True", "2.0", "", "NA", "None"]


@pytest.mark.parametrize("of_hub", [False, True])
@pytest.mark.parametrize(
    "sep, card",
    [
        (";", card_with("sep: ';'")),
        ("||", card_with(r"sep: '\|\|'", "engine: python")),
        (",", card_with("encoding: utf-8")),
        (",", "language: en"),
        (",", "dataset_info:\n  features:\n" + "".join(f"  - name: {x}\n    dtype: string\n" for x in COLUMNS)),
    ],
)
def test_strings_stay_as_they_stand(tmp_path, sep, card, of_hub):
    write_card(tmp_path, card)
    rows = [COLUMNS, *((text, ("1", "")[i % 2]) for i, text in enumerate(STRINGS))]
    (tmp_path / "train.csv").write_text("\n".join(map(sep.join, rows)) + "\n")
    load_dataset(str(tmp_path))  # the cache has what pandas makes of them
    location = DatasetLocation("--dataset_name", str(tmp_path), None, None if of_hub else tmp_path)
    for _ in range(2):
        examples = read_splits(location, ["train"], anew=False)["train"]
        assert examples[:] == {"text": STRINGS, "number": [("1", "")[i % 2] for i in range(7)]}


def test_a_table_without_a_header(tmp_path):
    write_card(tmp_path, card_with("sep: '|'", "header: null"))
    (tmp_path / "train.csv").write_text("a b|0111|1\nc d|007|\ne f|007|2.5\n")
    arguments = DataTrainingArguments(dataset_name=str(tmp_path), text_columns="0", label_column="1")
    data = load_data(arguments, {"train"})
    assert data.train["0"][:] == ["a b", "c d", "e f"]
    assert data.task.labels == ("007", "0111") and data.train["label"][:] == [1, 0, 0]
    for anew in (False, True):  # the second time the cache has the types of the columns
        rows = read_splits(DatasetLocation("--dataset_name", str(tmp_path), None, None), ["train"], anew)["train"]
        assert rows["1"][:] == ["0111", "007", "007"] and rows["2"][:] == ["1", "", "2.5"]


WORDS_OF_PANDAS = ["NA", "null", "None", "nan", "n/a", "", "good"]


TYPES = """dataset_info:
  features:
  - name: text
    dtype: string
  - name: score
    dtype: float64
  - name: count
    dtype: int64
  - name: label
    dtype:
      class_label:
        names:
          '0': None
          '1': b"""


@pytest.mark.parametrize("sep, card", [(",", TYPES), (";", card_with("sep: ';'"))])
def test_words_for_missing_values_are_texts_beside_a_card_too(tmp_path, sep, card):
    write_card(tmp_path, card)
    others = [(("0.5", "", "NA")[i % 3], ("7", "8")[i % 2], ("None", "b")[i % 2]) for i in range(7)]
    rows = [(text, *other) for text, other in zip(WORDS_OF_PANDAS, others)]
    (tmp_path / "train.csv").write_text("\n".join(map(sep.join, [("text", "score", "count", "label"), *rows])) + "\n")
    data = load_data(DataTrainingArguments(dataset_name=str(tmp_path), text_columns="text"), {"train"})
    assert [text or "" for text in data.train["text"][:]] == WORDS_OF_PANDAS
    # A number may be missing, if the card says that the column holds numbers.
    scores, counts = ((0.5, None, None), (7, 8)) if card is TYPES else (("0.5", "", "NA"), ("7", "8"))
    assert data.train["score"][:] == [scores[i % 3] for i in range(7)]
    assert data.train["count"][:] == [counts[i % 2] for i in range(7)]
    assert data.task.labels == ("None", "b") and data.train["label"][:] == [i % 2 for i in range(7)]


@pytest.mark.parametrize("option", ["keep_default_na: true", "na_values: [good]"])
def test_a_card_may_name_the_words_for_missing_values(tmp_path, option):
    write_card(tmp_path, card_with(option, "sep: ';'"))
    (tmp_path / "train.csv").write_text("text;label\n" + "".join(f"{x};y\n" for x in WORDS_OF_PANDAS))
    examples = load_splits(DataTrainingArguments(dataset_name=str(tmp_path)), {"train"})[0]["train"]
    kept = ["good"] if option.startswith("keep") else []
    assert [text for text in examples["text"][:] if text] == kept


def card_of(folder, features, *options):
    types = "".join(f"  - name: {name}\n    dtype: {kind}\n" for name, kind in features.items())
    write_card(folder, "\n".join([card_with(*options), f"dataset_info:\n  features:\n{types}".rstrip()]))


def test_json_beside_a_card_of_types_is_the_text_that_predictions_read(tmp_path):
    """pyarrow makes dates of such texts, and another number of decimals."""
    card_of(tmp_path, {"day": "string", "count": "string", "label": "string", "score": "float32"})
    rows = [{"day": "2020-01-01T10:00:00Z", "count": 15000000000, "label": "2019-01-01", "score": 1}]
    rows += [{"day": "2020-01-02", "count": 10**15, "label": "2019-01-02", "score": None, "more": {"a": 1}}]
    (tmp_path / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    write_card(tmp_path, (tmp_path / "README.md").read_text().strip("-\n").replace("*.csv", "*.jsonl"))
    examples = load_splits(DataTrainingArguments(dataset_name=str(tmp_path)), {"train"})[0]["train"]
    assert examples["day"][:] == ["2020-01-01T10:00:00Z", "2020-01-02"]
    assert examples["count"][:] == ["15000000000", "1000000000000000"]
    assert examples["label"][:] == ["2019-01-01", "2019-01-02"] and examples["score"][:] == [1.0, None]


@pytest.mark.parametrize("option", ["sep: ';'", "encoding: utf-8"])
@pytest.mark.parametrize("row", ["good;x;", "good;x;more"])
def test_a_row_with_a_surplus_field_is_refused_beside_a_card(tmp_path, option, row):
    sep = ";" if option.startswith("sep") else ","
    write_card(tmp_path, card_with(option))
    (tmp_path / "train.csv").write_text(f"text;label\n{row}\nbad;y;\n".replace(";", sep))
    with pytest.raises(UsageError, match="has 3 fields, the header 2|more fields than the header"):
        load_splits(DataTrainingArguments(dataset_name=str(tmp_path)), {"train"})


def test_tsv_beside_a_card_of_types_has_no_quotes(tmp_path):
    card_of(tmp_path, {"text": "string", "label": "string"})
    write_card(tmp_path, (tmp_path / "README.md").read_text().strip("-\n").replace("*.csv", "*.tsv"))
    (tmp_path / "train.tsv").write_text('text\tlabel\n"Wow\tpos\n"Oh no," she said\tneg\n007\tpos\n')
    data = load_data(DataTrainingArguments(dataset_name=str(tmp_path)), {"train"})
    assert data.train["text"][:] == ['"Wow', '"Oh no," she said', "007"]


def test_numbers_beside_a_card_of_types(tmp_path):
    card_of(tmp_path, {"text": "string", "count": "int64", "score": "float32", "sure": "bool", "label": "int64"})
    rows = ["a,1.0, 2.25,True,1", "b,+3,1e2,false,0", "c, 7,NA,1,1.0"]
    (tmp_path / "train.csv").write_text("text,count,score,sure,label\n" + "\n".join(rows) + "\n")
    examples = load_splits(DataTrainingArguments(dataset_name=str(tmp_path)), {"train"})[0]["train"]
    assert examples["count"][:] == [1, 3, 7] and examples["score"][:] == [2.25, 100, None]
    assert examples["sure"][:] == [True, False, True] and examples["label"][:] == [1, 0, 1]
    (tmp_path / "train.csv").write_text("text,count,score,sure,label\na,1.5,1,true,1\n")
    with pytest.raises(UsageError, match=r"train.csv: row 1 has '1.5' in the column 'count', whose type in README.md"):
        load_splits(DataTrainingArguments(dataset_name=str(tmp_path)), {"train"})


def test_lists_and_objects_are_no_texts_beside_a_card_that_says_so(tmp_path):
    card_of(tmp_path, {"text": "string", "label": "string"})
    write_card(tmp_path, (tmp_path / "README.md").read_text().strip("-\n").replace("*.csv", "*.jsonl"))
    for text in ({"en": "hello"}, ["a", "b"]):
        (tmp_path / "train.jsonl").write_text("".join(json.dumps({"text": text, "label": x}) + "\n" for x in "ab"))
        with pytest.raises(UsageError, match="holds values of type list or object, no text; write one text a row"):
            load_data(DataTrainingArguments(dataset_name=str(tmp_path), text_columns="text"), {"train"})


def test_types_hold_for_each_of_several_files(tmp_path):
    names = "class_label:\n        names:\n          '0': no\n          '1': yes"
    card_of(tmp_path, {"text": "string", "label": f"\n      {names}".replace("no", "'no'").replace("yes", "'yes'")})
    write_card(tmp_path, (tmp_path / "README.md").read_text().strip("-\n").replace("*.csv", "*.jsonl"))
    (tmp_path / "train-1.jsonl").write_text('{"text": 1, "label": 1}\n')
    (tmp_path / "train-2.jsonl").write_text('{"text": "x", "label": "no"}\n{"text": null, "label": null}\n')
    examples = load_splits(DataTrainingArguments(dataset_name=str(tmp_path)), {"train"})[0]["train"]
    assert examples["text"][:] == ["1", "x", None] and examples["label"][:] == [1, 0, None]
    assert examples.features["label"].names == ["no", "yes"]


def test_excels_first_line_beside_a_card(tmp_path):
    write_card(tmp_path, card_with("sep: ';'"))
    (tmp_path / "train.csv").write_text("sep=;\ntext;label\na, b;1\n")
    examples = load_splits(DataTrainingArguments(dataset_name=str(tmp_path)), {"train"})[0]["train"]
    assert examples[:] == {"text": ["a, b"], "label": ["1"]}
