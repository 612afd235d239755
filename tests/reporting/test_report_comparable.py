"""What stands side by side in a report is of the same metric, weights and data."""

import json

import pytest
from records import put
from test_report_classes import classes

from tensorized_adapters.reporting.classes import class_scores, class_table
from tensorized_adapters.reporting.results import read_results
from tensorized_adapters.reporting.summaries import gap_table
from tensorized_adapters.reporting.tables import score_table


def test_published_scores_stand_beside_the_same_metric_only(real, tmp_path):
    put(tmp_path / "mrpc", real, 0.75, metric="accuracy")
    put(tmp_path / "rte", real, 0.6, task="rte")
    table = score_table(read_results([tmp_path]), "last", published=True)
    assert [*table.cells] == ["method", "mrpc (accuracy)", "rte (accuracy)", "rte as published"]
    assert "The published scores of mrpc are of F1 and are left out beside another metric." in table.caption


def changed(folder, record, **changes):
    (folder / "run.json").write_text(json.dumps(record | changes))


def test_a_constant_of_the_best_weights_is_not_said_of_the_last_epoch(real, tmp_path):
    """With --load_best_model_at_end the class is that of the best weights, and may be the score of another epoch."""
    for rank, best in ((2, 0.52), (4, 0.47)):
        record = put(tmp_path / f"cp{rank}", real, 0.47, tensorized_layer_rank=rank, load_best_model_at_end=True)
        metrics = record["metrics"] | {"eval_f1": best}
        changed(tmp_path / f"cp{rank}", record, metrics=metrics, one_class={"eval": "equivalent"})
    table = score_table(read_results([tmp_path]), "last", published=False)
    assert [text for row in table.rows() for _, text, _ in row] == ["cp-2", "0.470", "cp-4", "0.470 †"]


def test_the_best_epoch_is_the_one_whose_weights_were_kept(real, tmp_path):
    """--metric_for_best_model may have chosen another epoch than the primary metric would."""
    record = put(tmp_path / "a", real, 0.47, load_best_model_at_end=True, metric_for_best_model="loss")
    changed(tmp_path / "a", record, metrics=record["metrics"] | {"eval_f1": 0.48})
    table = score_table(read_results([tmp_path]), "best", published=False)
    assert "0.480" in table.cells.values and "it is the epoch whose weights were kept" in table.caption


def test_a_constant_on_a_second_set_is_not_said_of_the_first(real, tmp_path):
    record = put(tmp_path / "a", real, 0.75)
    changed(tmp_path / "a", record, one_class={"eval_mm": "neutral"})
    table = score_table(read_results([tmp_path]), "last", published=False)
    assert "0.750" in table.cells.values and "†" not in table.caption


def test_captions_say_of_which_weights(real, tmp_path):
    record = put(tmp_path / "a", real, 0.47, load_best_model_at_end=True)
    metrics = record["metrics"] | {"eval_f1": 0.52, "train_f1": 0.6}
    changed(tmp_path / "a", record, metrics=metrics, classes={"eval": classes()})
    results = read_results([tmp_path])
    (scores,) = class_scores(results)
    for table in (gap_table(results), class_table(scores)):
        assert "with --load_best_model_at_end those that were kept" in table.caption


def test_predicting_test_sets_makes_no_other_method_or_task(real, tmp_path):
    for seed, score in enumerate((0.71, 0.72), 1):
        put(tmp_path / f"a{seed}", real, score, seed, do_predict=False, input_sha256={"train": "0", "evaluation": "1"})
    hashes = {"train": "0", "evaluation": "1", "prediction": "2"}
    flags = {"do_predict": True, "test_file": "/data/test.csv", "max_predict_samples": 5, "test_split_name": "test"}
    put(tmp_path / "b", real, 0.73, 3, input_sha256=hashes, **flags)
    cells = read_results([tmp_path]).cells
    assert [*cells[["method", "task"]].itertuples(index=False, name=None)] == [("cp-2", "mrpc")]
    assert cells["seeds"][0] == [1, 2, 3]


def test_what_all_runs_of_a_task_share_is_of_the_task(real, tmp_path):
    """A grid may train each task for its own number of epochs. Then a method still has one row."""
    for task, epochs in (("mrpc", 4), ("rte", 5)):
        for rank in (2, 4):
            flags = {"task": task, "tensorized_layer_rank": rank, "num_train_epochs": epochs}
            put(tmp_path / f"{task}{rank}", real, 0.7, **flags)
    results = read_results([tmp_path])
    assert {*results.cells[["method", "task"]].itertuples(index=False, name=None)} == {
        (method, task) for method in ("cp-2", "cp-4") for task in ("mrpc", "rte")
    }
    assert results.notes[-2:] == [
        f"the runs of {task} have num_train_epochs {n}" for task, n in (("mrpc", 4), ("rte", 5))
    ]
    put(tmp_path / "other", real, 0.8, task="rte", tensorized_layer_rank=8, num_train_epochs=9)
    names = {*read_results([tmp_path]).cells["method"]}
    assert names == {f"cp-{rank} [num_train_epochs {n}]" for rank, n in ((2, 4), (2, 5), (4, 4), (4, 5), (8, 9))}


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("model_name_or_path", ("bert-base-cased", "microsoft/mpnet-base")),
        ("model_revision", ("main", "v2")),
        ("weight_decay", (0.0, 0.1)),
        ("class_weights", (None, "balanced")),
        ("bf16", (False, True)),
    ],
)
def test_tasks_with_another_model_or_method_have_rows_of_their_own(real, tmp_path, name, values):
    """Otherwise the mean over the tasks would be of two models or methods."""
    for task, epochs, value in zip(("mrpc", "rte"), (4, 5), values):
        put(tmp_path / task, real, 0.7, task=task, num_train_epochs=epochs, **{name: value})
    results = read_results([tmp_path])
    assert len(set(results.cells["method"])) == 2
    assert all(f"[{name} " in method for method in results.cells["method"])
    assert {note for note in results.notes if note.startswith("the runs of")} == {
        f"the runs of {task} have num_train_epochs {n}" for task, n in (("mrpc", 4), ("rte", 5))
    }


def test_other_data_of_the_same_task_is_another_column(real, tmp_path):
    put(tmp_path / "a", real, 0.8)
    put(tmp_path / "b", real, 0.9, seed=2, train_file="/data/my/train.csv", input_sha256={"train": "0"})
    put(tmp_path / "c", real, 0.9, seed=3, train_file="/data/my/train.csv", input_sha256={"train": "1"})
    first, second, third = read_results([tmp_path]).metrics
    assert first == "mrpc" and second.startswith("my/train.csv as mrpc [input_sha256") and third != second


def test_a_file_without_a_glue_task_is_named_once(real, tmp_path):
    record = put(tmp_path / "a", real, 0.8, train_file="/data/my/train.csv", task_name=None)
    changed(tmp_path / "a", record, task="/data/my/train.csv")
    assert list(read_results([tmp_path]).metrics) == ["my/train.csv"]


def test_columns_stay_apart_where_their_names_are_cut_alike(real, tmp_path):
    for number, folder in enumerate(("aaa", "bbb", "ccc")):
        hashes = {"train": str(number)}
        file = f"/{folder}/some/long/folder/name/data/train.csv"
        put(tmp_path / folder, real, number / 10, seed=number, train_file=file, input_sha256=hashes)
    put(tmp_path / "ddd", real, 0.9, seed=9, train_file="/aaa/some/long/folder/name/data/train.csv", input_sha256={})
    results = read_results([tmp_path])
    assert len(results.metrics) == 4
    assert list(results.cells["last_count"]) == [1, 1, 1, 1]
