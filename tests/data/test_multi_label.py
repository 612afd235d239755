"""Several labels a text: how they are read and refused, metrics and loss against other libraries, and runs."""

import csv
import io
import json

import numpy as np
import pytest
import torch
from datasets import ClassLabel, Dataset, List
from helpers import argv, assert_equal_runs, kill_9_after_checkpoint, pairs, record_of, refused
from scipy.special import entr, expit
from sklearn.metrics import f1_score
from sklearn.preprocessing import MultiLabelBinarizer

from run_glue_tensorized import main
from tensorized_adapters import UsageError, load_pipeline
from tensorized_adapters.cli.predict import main as predict
from tensorized_adapters.data.arguments import DataTrainingArguments
from tensorized_adapters.data.loading import load_data
from tensorized_adapters.data.metrics import GlueMetric, predictions_of
from tensorized_adapters.data.multi_label import joined_names
from tensorized_adapters.data.tasks import other_task
from tensorized_adapters.training.collapse import loss_of_best_constant

SETS = [["b", "a"], [], ["c"], ["a"], ["a", "c", "b"], ["b", "b"]]
ONES = MultiLabelBinarizer().fit_transform(SETS).tolist()


def write_sets(path, sets, texts=None, separator=";"):
    """The sets as lists in JSON lines, or joined in CSV."""
    texts = texts or [f"the cat {i}" for i in range(len(sets))]
    if path.suffix == ".jsonl":
        path.write_text("".join(json.dumps({"text": t, "label": s}) + "\n" for t, s in zip(texts, sets)))
    else:
        with open(path, "w", newline="") as file:
            rows = [(t, separator.join(map(str, s))) for t, s in zip(texts, sets)]
            csv.writer(file).writerows([("text", "label"), *rows])
    return path


def loaded(train, dev=None, saved=None, **given):
    if dev is not None:
        given["validation_file"] = str(dev)
    wanted = {"train", "evaluation"} if dev is not None else {"train"}
    return load_data(DataTrainingArguments(train_file=str(train), **given), wanted, saved)


def test_lists_and_separated_names_are_the_same_labels(capsys, tmp_path):
    data = loaded(write_sets(tmp_path / "a.jsonl", SETS))
    assert data.task.labels == ("a", "b", "c") and data.task.problem_type == "multi_label_classification"
    assert data.train["label"][:] == ONES and data.notes["label_separator"] == ";"
    assert "the labels are lists, so that a text may have several" in capsys.readouterr().out
    for separator, given in ((";", ";"), (" | ", "|")):
        joined = loaded(write_sets(tmp_path / "a.csv", SETS, separator=separator), label_separator=given)
        assert joined.task.labels == data.task.labels and joined.train["label"][:] == ONES
        assert "are lists" not in capsys.readouterr().out
    numbers = loaded(write_sets(tmp_path / "b.jsonl", [[10, 2], [], [True], [2.0]]))
    assert numbers.task.labels == ("10", "2", "true")
    assert numbers.train["label"][:] == [[1, 1, 0], [0, 0, 0], [0, 0, 1], [0, 1, 0]]
    folder = tmp_path / "folder"
    folder.mkdir()
    feature = List(ClassLabel(names=["z", "y"]))
    examples = Dataset.from_dict({"text": ["k", "l"], "label": [[0, 1], [0]]})
    examples.cast_column("label", feature).to_parquet(folder / "train.parquet")
    data = load_data(DataTrainingArguments(dataset_name=str(folder)), {"train"})
    assert data.task.labels == ("z", "y") and data.train["label"][:] == [[1, 1], [1, 0]]


def test_a_separator_that_no_row_holds_is_reported(capsys, tmp_path):
    note = "no row holds '|'; each cell is one label (3: a, a;c, b); --label_separator names another separator"
    path = write_sets(tmp_path / "a.csv", [["a", "c"], ["b"], ["a"]])
    assert loaded(path, label_separator="|").task.labels == ("a", "a;c", "b")
    assert f"note: --train_file {path}: {note}" in capsys.readouterr().out
    for given in (path, write_sets(tmp_path / "a.jsonl", SETS)):  # a list needs no separator
        assert len(loaded(given, label_separator=";").task.labels) == 3
        assert "no row holds" not in capsys.readouterr().out


def test_an_evaluation_set_has_the_labels_of_training(tmp_path):
    train, dev = write_sets(tmp_path / "a.jsonl", SETS), tmp_path / "b.jsonl"
    assert loaded(train, write_sets(dev, [[], []])).evaluation[""]["label"][:] == [[0, 0, 0]] * 2
    with pytest.raises(UsageError, match="row 2 has the label 'd'; expected some of a, b, c"):
        loaded(train, write_sets(dev, [["a"], ["c", "d"]]))
    saved = {"problem_type": "multi_label_classification", "num_labels": 3, "notes": {"label_separator": ";"}}
    saved["id2label"] = dict(zip("012", "abc"))
    data = loaded(write_sets(tmp_path / "c.csv", [["b", "a"], ["c"]]), saved=saved)
    assert data.task.labels == ("a", "b", "c") and data.train["label"][:] == [[1, 1, 0], [0, 0, 1]]
    saved |= {"problem_type": "single_label_classification"}
    with pytest.raises(UsageError, match="--label_separator contradicts --adapter_path, which gives a text one label"):
        loaded(train, saved=saved, label_separator=";")
    few = {"max_train_samples": 2, "shuffle_train_dataset": False}
    with pytest.raises(UsageError, match="cut by --max_train_samples, has the same labels in every row"):
        loaded(write_sets(tmp_path / "d.jsonl", [["a"], ["a"], ["b"]]), **few)


@pytest.mark.parametrize(
    "lines, changes, message",
    [
        ([["a"], ["a"]], {}, "has the same labels in every row; training needs a difference"),
        ([[], []], {}, "no row has a label; training needs at least one label"),
        ([["a"], None], {}, "row 2 has no labels; write an empty list, or remove the row"),
        ([["a"], [""]], {}, "row 2 has an empty label in its list"),
        ([["a"], ["b", None]], {}, "row 2 has an empty label in its list; correct it or remove the row"),
        ([["a"], ["b;c"]], {}, "the label 'b;c' holds ';', by which predictions join the names; --label_separator"),
        ([["a"], "b"], {}, "row 2 has 'b' in the column 'label', text, where rows before have a list or an object"),
        ([["a"], [["b"]]], {}, "'label' holds values of type list or object, no labels; write a label, or a list"),
        ([["a"], ["\ud83d"]], {}, "row 2 has an unpaired surrogate (half of a character)"),
        ([["a"], ["b"]], {"label_separator": ""}, "--label_separator is empty"),
        ([["a"], ["b"]], {"label_separator": ";", "task_name": "mrpc"}, "--label_separator excludes --task_name"),
        ([["a"], ["b"]], {"label_separator": ";", "do_regression": True}, "--label_separator exclude each other"),
        ([["a"], ["b"]], {"do_regression": True}, "row 1 has the label ['a']; expected a number"),
        ([["a"], ["b"]], {"label_smoothing_factor": 0.1}, "--label_smoothing_factor is for one class a text"),
        ([["a"], ["b"]], {"metric_for_best_model": "combined_score"}, "unknown here; known: f1_macro, f1_micro, loss"),
    ],
)
def test_labels_that_cannot_be(capsys, flags, tmp_path, lines, changes, message):
    path = write_sets(tmp_path / "a.jsonl", lines)
    given = {"task_name": None, "train_file": path, "validation_file": path} | changes
    assert message in refused(capsys, argv(flags, **given), flags["output_dir"])


@pytest.mark.parametrize("count", [1, 2, 5])
def test_metrics_are_scikit_learns(count):
    generator = np.random.default_rng(count)
    truth, logits = generator.integers(2, size=(30, count)), generator.normal(size=(30, count))
    task = other_task(("text",), tuple("abcde"[:count]), label_separator=";")
    guess = predictions_of(logits, task)
    assert (guess == (expit(logits) > 0.5)).all()
    values = GlueMetric(task).compute(predictions=guess, references=truth.astype(np.float32))
    if count == 1:
        assert values == pytest.approx(dict.fromkeys(("f1_micro", "f1_macro"), f1_score(truth, guess)))
        return
    averages = {f"f1_{kind}": f1_score(truth, guess, average=kind, zero_division=0) for kind in ("micro", "macro")}
    assert values == pytest.approx(averages) and task.primary == "f1_micro"


def test_the_best_constant_is_that_of_the_binary_cross_entropy():
    truth = torch.tensor(ONES, dtype=torch.float64)
    shares = truth.mean(0)
    expected = torch.nn.functional.binary_cross_entropy(shares.expand_as(truth), truth).item()
    assert loss_of_best_constant(ONES, 3) == pytest.approx(expected)
    assert loss_of_best_constant([[1.0], [1.0]], 1) == 0 and entr(0.0) == 0


@pytest.fixture
def given(flags, tmp_path):
    """A run on texts whose labels are words in them."""
    words = ("cat", "dog", "bird")
    rows = [row[0] for row in pairs(48, 1)]
    sets = [[word for word in words if word in text.split()] for text in rows]
    train = write_sets(tmp_path / "train.jsonl", sets, rows)
    changes = {"task_name": None, "train_file": train, "validation_file": train, "num_train_epochs": 2}
    return flags | changes | {"output_dir": tmp_path / "run", "learning_rate": 0.02}


def test_a_run_from_training_to_predictions(capsys, given, tmp_path):
    out = given["output_dir"]
    assert main(argv(given, do_predict=True, test_file=given["validation_file"])) == 0
    results, record = json.loads((out / "all_results.json").read_text()), record_of(out)
    assert {"eval_f1_micro", "eval_f1_macro", "train_f1_micro"} <= set(results)
    assert record["primary_metric"] == "f1_micro"
    saved = json.loads((out / "adapter" / "adapter_config.json").read_text())
    assert saved["problem_type"] == "multi_label_classification" and saved["notes"]["label_separator"] == ";"
    assert saved["id2label"] == {"0": "bird", "1": "cat", "2": "dog"}
    # The files of the run, and the metrics and the loss that they stand for.
    rows = list(csv.DictReader((out / "eval_predictions.tsv").open(), delimiter="\t"))
    names, binary = ["bird", "cat", "dog"], MultiLabelBinarizer(classes=["bird", "cat", "dog"])
    decided = [
        binary.fit_transform([row[key].split(";") if row[key] else [] for row in rows])
        for key in ("label", "prediction")
    ]
    assert results["eval_f1_micro"] == pytest.approx(f1_score(*decided, average="micro", zero_division=0))
    shares = np.array([[float(row[f"probability_of_{name}"]) for name in names] for row in rows])
    assert ((shares > 0.5) == decided[1]).all()
    loss = torch.nn.functional.binary_cross_entropy(torch.tensor(shares), torch.tensor(decided[0]).double())
    assert results["eval_loss"] == pytest.approx(loss.item(), abs=1e-4)
    submitted = list(csv.DictReader((out / "predictions.tsv").open(), delimiter="\t"))
    assert submitted == [{key: value for key, value in row.items() if key != "label"} for row in rows]
    # Python, and the command line as TSV and as JSON lines.
    texts = [json.loads(line)["text"] for line in given["train_file"].read_text().splitlines()]
    pipeline = load_pipeline(out / "adapter", device="cpu")
    assert pipeline.model.config.problem_type == "multi_label_classification" and pipeline.model.num_labels == 3
    for found, expected in zip(pipeline(texts), shares, strict=True):
        assert {one["label"]: one["score"] for one in found} == pytest.approx(dict(zip(names, expected)), abs=1e-5)
    for name in ("a.tsv", "a.jsonl"):
        words = ["--adapter_path", out, "--input", given["train_file"], "--output", tmp_path / name]
        assert predict([str(word) for word in words]) == 0
    table = list(csv.DictReader(io.StringIO((tmp_path / "a.tsv").read_text()), delimiter="\t"))
    assert [row["prediction"] for row in table] == [row["prediction"] for row in rows]
    objects = [json.loads(line) for line in (tmp_path / "a.jsonl").read_text().splitlines()]
    assert [";".join(row["prediction"]) for row in objects] == [row["prediction"] for row in rows]
    assert [list(row["probabilities"].values()) for row in objects] == pytest.approx(shares, abs=1e-5)
    # A saved adapter is evaluated on CSV with the separator that it keeps.
    again = dict.fromkeys(
        ("do_train", "train_file", "adapter_projection_type", "tensorized_layer_rank", "adapter_size")
    )
    sets = [row["label"].split(";") if row["label"] else [] for row in rows]
    again |= {"validation_file": write_sets(tmp_path / "dev.csv", sets, texts), "adapter_path": out}
    assert main(argv(given, **again | {"output_dir": tmp_path / "again"})) == 0
    assert record_of(tmp_path / "again")["metrics"]["eval_loss"] == results["eval_loss"]


def test_a_resumed_run_has_the_same_bits(given, tmp_path):
    for name in ("one", "other"):
        words = argv(given, output_dir=tmp_path / name)
        if name == "other":
            kill_9_after_checkpoint(words, 1)
        assert main(words) == 0
    assert_equal_runs(tmp_path / "one", tmp_path / "other")


def test_decisions_are_named_in_the_order_of_the_labels():
    task = other_task(("text",), ("a", "b", "c"), label_separator=" | ")
    assert [joined_names(row, task) for row in ONES[:3]] == ["a | b", "", "c"]
