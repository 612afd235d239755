"""Types that a column of Parquet may have: what is no text or no label is refused by name."""

from datetime import date, datetime
from decimal import Decimal

import pytest
from datasets import Dataset

from tensorized_adapters import UsageError
from tensorized_adapters.data.arguments import DataTrainingArguments
from tensorized_adapters.data.loading import load_data


@pytest.mark.parametrize(
    "column, message",
    [
        (
            Dataset.from_dict({"a": [[1], [2]]}),
            "'a' holds values of type list or object, no text; write",
        ),
        (Dataset.from_dict({"a": [b"x", b"y"]}), "'a' holds values of type binary, no text"),
    ],
)
def test_other_types_are_no_text(tmp_path, column, message):
    column.add_column("label", [0, 1]).to_parquet(tmp_path / "train.parquet")
    with pytest.raises(UsageError, match=message):
        load_data(DataTrainingArguments(dataset_name=str(tmp_path), text_columns="a"), {"train"})


def of_parquet(folder, labels):
    texts = [f"a {i}" for i in range(len(labels))]
    Dataset.from_dict({"text": texts, "label": labels}).to_parquet(folder / "train.parquet")
    return load_data(DataTrainingArguments(dataset_name=str(folder)), {"train"})


@pytest.mark.parametrize(
    "value, dtype",
    [(b"a", "binary"), (datetime(2020, 1, 1), "timestamp"), (date(2020, 1, 1), "date32"), ([b"a"], "binary")],
)
def test_other_types_are_no_labels(tmp_path, value, dtype):
    with pytest.raises(UsageError, match=f"'label' holds values of type {dtype}.*, no labels; write a label"):
        of_parquet(tmp_path, [value] * 2)


def test_decimals_of_a_database_are_integers_or_scores_as_they_are_written(tmp_path):
    data = of_parquet(tmp_path, [Decimal("2"), Decimal("10"), Decimal("-1"), Decimal("2")])
    assert data.task.labels == ("-1", "2", "10") and data.train["label"][:] == [1, 2, 0, 1]
    data = of_parquet(tmp_path, [Decimal("2.0"), Decimal("0.5")])
    assert data.task.labels is None and data.train["label"][:] == [2.0, 0.5]
