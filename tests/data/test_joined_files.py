"""Several files of a folder that are one split: which are joined, which are refused, and what is said about it."""

import json
import re

import pytest
from datasets import Dataset

from tensorized_adapters import UsageError
from tensorized_adapters.data.arguments import DataTrainingArguments
from tensorized_adapters.data.sources import load_splits


def read(folder):
    return load_splits(DataTrainingArguments(dataset_name=str(folder)), {"train"})[0]["train"]


def write(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    columns = {name: [row.get(name) for row in rows] for name in rows[0]}
    if path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    elif path.suffix == ".csv":
        path.write_text("\n".join([",".join(columns), *(",".join(row.values()) for row in rows)]) + "\n")
    else:
        Dataset.from_dict(columns).to_parquet(path)


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
def test_files_of_equal_columns_are_joined_with_a_note(capsys, tmp_path, kind):
    write(tmp_path / f"train.{kind}", [{"text": "a", "label": "x"}])
    assert read(tmp_path)["text"][:] == ["a"] and "joined" not in capsys.readouterr().out
    write(tmp_path / f"train_old.{kind}", [{"text": "b", "label": "y"}])
    assert read(tmp_path)[:] == {"text": ["a", "b"], "label": ["x", "y"]}
    out = capsys.readouterr().out
    assert f"split train: 2 files are joined: train.{kind}, train_old.{kind}; to leave one out, move it away" in out


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
def test_shards_of_one_file_are_joined_without_a_note(capsys, tmp_path, kind):
    for number, text in enumerate("ab"):
        write(tmp_path / f"train-0000{number}-of-00002.{kind}", [{"text": text, "label": "x"}])
    assert read(tmp_path)["text"][:] == ["a", "b"] and "joined" not in capsys.readouterr().out
    write(tmp_path / f"train-old.{kind}", [{"text": "c", "label": "x"}])
    assert len(read(tmp_path)) == 3 and "3 files are joined: train-00000-of-00002" in capsys.readouterr().out


@pytest.mark.parametrize("kind", ["csv", "jsonl"])
@pytest.mark.parametrize("other", ["train-notes", "train_notes"])  # before and after the file, by name
def test_files_of_other_columns_are_refused_by_name(tmp_path, kind, other):
    write(tmp_path / f"train.{kind}", [{"text": "a", "label": "x"}])
    write(tmp_path / f"{other}.{kind}", [{"note": "n", "who": "w"}])
    mend = r"move a file away that does not belong there, or name those of the split in README.md \(data_files\)"
    with pytest.raises(UsageError, match=mend) as error:
        read(tmp_path)
    for name, columns in (("train", "text, label"), (other, "note, who")):
        assert re.search(f" {name}.{kind} has (the columns )?{columns}[,;]", str(error.value))
    card = f"---\nconfigs:\n- config_name: default\n  data_files:\n  - split: train\n    path: train.{kind}\n---\n"
    (tmp_path / "README.md").write_text(card)
    assert read(tmp_path)["text"][:] == ["a"]


def test_the_results_of_a_run_below_the_data_are_named(tmp_path):
    write(tmp_path / "train.csv", [{"text": "a", "label": "x"}])
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "eval_predictions.tsv").write_text("index\tlabel\n0\t1\n")
    with pytest.raises(UsageError, match=r"the eval_predictions.tsv of a run in a folder below; move .*data_files"):
        read(tmp_path)


def test_a_table_lacks_no_column_and_json_lines_may_lack_one(tmp_path):
    for kind in ("csv", "jsonl"):
        write(tmp_path / kind / f"train.{kind}", [{"text": "a", "label": "x", "more": "m"}])
        write(tmp_path / kind / f"train-1.{kind}", [{"label": "y", "text": "b"}])
    assert read(tmp_path / "jsonl")["more"][:] == [None, "m"]
    columns = " train.csv has the columns text, label, more, and train-1.csv has label, text; "
    with pytest.raises(UsageError, match=columns):
        read(tmp_path / "csv")
    write(tmp_path / "csv" / "train-1.csv", [{"more": "m", "label": "y", "text": "b"}])  # in another order
    assert read(tmp_path / "csv")["text"][:] == ["b", "a"]


def test_integers_and_decimals_of_two_files_are_decimals(tmp_path):
    for number, labels in enumerate([[1, 2], [2.5, 0.5], [None, 7]]):
        write(tmp_path / f"train-{number}.jsonl", [{"text": "a", "label": label, "more": []} for label in labels])
    write(tmp_path / "train-3.jsonl", [{"text": "b", "label": 3, "more": ["x"]}])
    assert read(tmp_path)[:] == {
        "text": ["a"] * 6 + ["b"],
        "label": [1.0, 2.0, 2.5, 0.5, None, 7.0, 3.0],
        "more": [[]] * 6 + [["x"]],
    }


@pytest.mark.parametrize("value", [True, "x", ["x"], 2**60])
def test_other_kinds_of_values_in_two_files_are_refused_by_name(tmp_path, value):
    for number, more in enumerate([None, 0.5, 1, value]):
        write(tmp_path / f"train-{number}.jsonl", [{"text": "a", "label": "x", "more": more}])
    flaw = "which is too large" if value == 2**60 else "where .*train-1.jsonl has a number"
    refusal = f"train-3.jsonl cannot be parsed: row 1 has .* in the column 'more', .*{flaw}"
    with pytest.raises(UsageError, match=refusal):
        read(tmp_path)
