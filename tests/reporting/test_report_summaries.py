"""Reports beyond the scores: means over tasks, the adapters' contribution, gaps, and starts side by side."""

import csv
import json
import statistics

import collect_records
import pytest
from records import put

from tensorized_adapters.cli import report
from tensorized_adapters.reporting.curves import starts_of
from tensorized_adapters.reporting.figures import as_bytes, figures
from tensorized_adapters.reporting.results import read_results
from tensorized_adapters.reporting.summaries import gap_table, mean_table
from tensorized_adapters.reporting.tables import score_table
from tensorized_adapters.reporting.write import latex, markdown

ERROR = "mean_absolute_error"
PUBLISHED = {"adapter_init": "published", "learning_rate": 2e-4, "warmup_steps": 0, "head_start": "random"}


def changed(folder, record, **changes):
    (folder / "run.json").write_text(json.dumps(record | changes))


def contribution(share, **losses):
    values = {"initial": 0.7, "trained": 0.2, "without_adapters": 0.6} | losses
    return {"share": share, **{of: {"loss": values, "metric": values} for of in ("train", "eval")}}


def rows_of(text, title):
    """Return the lines of a table in Markdown by their first cell; empty without the table."""
    _, _, below = text.partition(f"## {title}\n\n")
    rows = [line.strip("| ").split(" | ") for line in below.partition("\n\n")[0].splitlines()]
    return {name: values for name, *values in rows}


def written(results, out):
    assert report.main([str(results), "--output_dir", str(out)]) == 0
    return out


def test_the_mean_over_the_tasks_has_a_standard_error_over_seeds_within_tasks(results, real):
    put(results / "cp-rte2", real, 0.7, seed=2, task="rte")
    rows = rows_of(markdown(mean_table(read_results([results]))), "Mean over the tasks")
    mrpc, rte = (0.8, 0.83, 0.85), (0.6, 0.7)
    mean = (statistics.mean(mrpc) + statistics.mean(rte)) / 2
    error = (statistics.variance(mrpc) / 3 + statistics.variance(rte) / 2) ** 0.5 / 2
    assert rows["cp-2"] == [f"{mean:.3f}", f"{error:.3f}", f"{mean + 0.02:.3f}", f"{error:.3f}"]
    assert rows["tt-2"] == ["**0.760**", "–", "**0.780**", "–"]  # one seed a task
    assert "cp-4" not in rows  # it has one task of two


def test_one_task_has_no_mean_over_tasks(real, tmp_path):
    put(tmp_path / "a", real, 0.8)
    assert mean_table(read_results([tmp_path])) is None


def test_errors_are_not_in_the_mean_over_the_tasks(results, real, tmp_path):
    expected = markdown(mean_table(read_results([results])))
    for method, error in (("cp", 0.3), ("tt", 0.4)):
        put(results / f"{method}-error", real, error, task="prices", metric=ERROR, adapter_projection_type=method)
    table = mean_table(read_results([results]))
    assert "Without the tasks that are measured by an error: prices (mean_absolute_error)." in table.caption
    title = "Mean over the tasks"
    assert rows_of(markdown(table), title) == rows_of(expected, title)
    put(tmp_path / "two" / "score", real, 0.8)
    put(tmp_path / "two" / "error", real, 0.3, task="prices", metric=ERROR)
    assert mean_table(read_results([tmp_path / "two"])) is None  # one score is no mean over tasks


def test_several_labels_have_a_column_of_their_micro_f1(real, tmp_path):
    put(tmp_path / "topics", real, 0.625, task="topics", metric="f1_micro")
    results = read_results([tmp_path])
    assert rows_of(markdown(score_table(results, "last", published=False)), "Scores, last epoch") == {
        "method": ["topics (micro F1)"],
        ":--": ["--:"],
        "cp-2": ["**0.625**"],
    }


def test_what_adapters_account_for_where_it_was_measured(results, real, tmp_path, capsys):
    out, title = tmp_path / "out", "What adapters account for"
    for seed, share in enumerate((0.8, 0.9, None), 1):
        record = put(results / f"tr{seed}", real, 0.8, seed, adapter_projection_type="tr")
        changed(results / f"tr{seed}", record, contribution=contribution(share, initial=0.6 + seed / 10))
    text = (written(results, out) / "tables.md").read_text()
    rows = rows_of(text, title)
    assert rows.keys() == {"method", ":--", "tr-2"} and rows["method"] == ["mrpc"]
    assert rows["tr-2"] == ["0.850 ± 0.071 (2 of 3)"]
    means = rows_of(text, "Mean over the tasks")
    printed = capsys.readouterr().out
    assert means and means == rows_of(printed, "Mean over the tasks")
    assert "note: tr-2 on mrpc: the mean share of the adapters is over 2 of 3 runs; seed 3 left out" in printed
    assert all(title in (out / name).read_text() for name in ("tables.tex", "report.html"))
    with open(out / "contribution.csv") as file:
        (line,) = csv.DictReader(file)
    assert float(line["share_mean"]) == pytest.approx(0.85) and line["runs"] == "3"
    assert line["share_count"] == "2" and line["train_loss_initial_count"] == "3"
    assert float(line["train_loss_initial"]) == pytest.approx(0.8)
    assert float(line["eval_metric_without_adapters"]) == pytest.approx(0.6)
    made = {out / "contribution.csv", out / "figures" / "share_of_adapters.svg"}
    assert all(path.is_file() for path in made)
    assert title not in (written(results / "cp4", out) / "tables.md").read_text()
    assert not any(path.exists() for path in made)


def test_the_gap_is_of_the_weights_at_the_end(real, tmp_path):
    for seed, score in enumerate((0.7, 0.8), 1):
        record = put(tmp_path / f"cp{seed}", real, score, seed)
        del record["metrics"]["train_metric_samples"]  # as in earlier records
        changed(tmp_path / f"cp{seed}", record, metrics=record["metrics"] | {"train_f1": 0.95})
    record = put(tmp_path / "tt", real, 0.8, adapter_projection_type="tt")
    changed(tmp_path / "tt", record, metrics={"eval_f1": 0.8})
    rows = rows_of(markdown(gap_table(read_results([tmp_path]))), "Train-to-development gap")
    assert rows.keys() == {"method", ":--", "cp-2"} and rows["cp-2"] == ["0.200 ± 0.071 (2)"]
    record = put(tmp_path / "tr", real, 0.8, adapter_projection_type="tr")
    changed(tmp_path / "tr", record, metrics={"eval_f1": 0.8, "train_f1": 0.9, "train_metric_samples": 2000})
    rows = rows_of(markdown(gap_table(read_results([tmp_path]))), "Train-to-development gap")
    assert rows["tr-2"] == ["0.100 / 2,000"]


def test_every_mean_of_fewer_runs_says_so(real, tmp_path):
    """Runs lack a training score, a history or losses, and no run has a share."""
    for seed in (1, 2, 3):
        record = put(tmp_path / f"cp{seed}", real, 0.8, seed)
        metrics = {"eval_f1": 0.8} | ({"train_f1": 0.9} if seed > 1 else {})
        rest = {"history": [], "step_losses": []} if seed == 3 else {}
        changed(tmp_path / f"cp{seed}", record, metrics=metrics, contribution=contribution(None), **rest)
    results = read_results([tmp_path])
    assert rows_of(markdown(gap_table(results)), "Train-to-development gap")["cp-2"] == ["0.100 ± 0.000 (2 of 3)"]
    best = rows_of(markdown(score_table(results, "best", published=False)), "Scores, best epoch")
    assert best["cp-2"] == ["**0.820 ± 0.000 (2 of 3)**"]
    notes = "\n".join(results.notes)
    assert "cp-2 on mrpc: the mean gap is over 2 of 3 runs; seed 1 left out" in notes
    assert "the mean score of the best epoch is over 2 of 3 runs; seed 3 left out" in notes
    assert "the mean share of the adapters is over 0 of 3 runs; seed 1, 2, 3 left out: the training loss" in notes
    drawn = {stem: figure for stem, _, figure in figures(results)}["training_mrpc"]
    assert drawn.legends[0].get_texts()[0].get_text() == "cp-2 (loss: 2 of 3 runs, score: 2 of 3 runs)"
    assert len(drawn.axes[1].lines[0].get_xdata()) == 2


def test_curves_go_on_after_the_shortest_run(real, tmp_path):
    """Early stopping ends runs at different steps."""
    for seed, (length, score) in enumerate(((10, 0.9), (40, 0.5), (40, 0.7)), 1):
        record = put(tmp_path / f"a{seed}", real, 0.8, seed)
        history = [{"step": step, "eval_f1": score} for step in range(10, length + 1, 10)]
        changed(tmp_path / f"a{seed}", record, step_losses=[score] * length, history=history)
    drawn = {stem: figure for stem, _, figure in figures(read_results([tmp_path]))}["training_mrpc"]
    loss, metric = (axes.lines[0].get_xydata().tolist() for axes in drawn.axes)
    assert loss == [[step, pytest.approx(0.7 if step <= 10 else 0.6)] for step in range(1, 41)]
    assert metric == [[step, pytest.approx(0.7 if step <= 10 else 0.6)] for step in (10, 20, 30, 40)]
    label = drawn.legends[0].get_texts()[0].get_text()
    assert label == "cp-2 (loss: fewer runs from step 11 on, score: fewer runs from step 20 on)"


def test_methods_that_lack_a_task_are_named_below_the_mean(results):
    assert "Left out, since they lack a task: cp-4." in mean_table(read_results([results])).caption


def test_a_score_of_one_class_has_a_footnote_and_a_tie_of_all_no_mark(real, tmp_path):
    record = put(tmp_path / "cp", real, 0.8)
    changed(tmp_path / "cp", record, one_class={"eval": "equivalent"})
    put(tmp_path / "tt", real, 0.8, adapter_projection_type="tt")
    table = score_table(read_results([tmp_path]), "last", published=False)
    rows = rows_of(markdown(table), "Scores, last epoch")
    assert rows["cp-2"] == ["0.800 †"] and rows["tt-2"] == ["0.800"]
    assert "†: in at least one run all predictions are the same class" in table.caption
    assert r"0.800 $\dagger$" in latex(table)
    put(tmp_path / "tr", real, 0.7, adapter_projection_type="tr")
    rows = rows_of(markdown(score_table(read_results([tmp_path]), "last", False)), "Scores, last epoch")
    assert (rows["cp-2"], rows["tt-2"], rows["tr-2"]) == (["**0.800 †**"], ["**0.800**"], ["0.700"])


def test_a_score_of_a_collapsed_run_has_a_footnote_at_the_last_epoch(real, tmp_path):
    for name, step in (("a", 40), ("b", None)):
        record = put(tmp_path / name, real, 0.8, adapter_projection_type="cp" if step else "tt")
        changed(tmp_path / name, record, collapsed_at_step=step)
    last, best = (score_table(read_results([tmp_path]), which, published=False) for which in ("last", "best"))
    rows = rows_of(markdown(last), "Scores, last epoch")
    assert rows["cp-2"] == ["0.800 ‡"] and rows["tt-2"] == ["0.800"] and r"0.800 $\ddagger$" in latex(last)
    assert "‡: at least one run collapsed" in last.caption and "‡" not in markdown(best)


@pytest.mark.parametrize(
    ("calibrated", "published", "given", "pairs"),
    [
        ({}, PUBLISHED, (), 1),  # each start with the defaults that are its own
        ({"learning_rate": 2e-4}, PUBLISHED, ("learning_rate",), 1),
        ({"learning_rate": 1e-3}, PUBLISHED, ("learning_rate",), 0),
        ({}, PUBLISHED | {"num_train_epochs": 9}, (), 0),
        ({}, PUBLISHED | {"tensorized_layer_rank": 4}, (), 0),
        ({}, {}, (), 0),
    ],
)
def test_starts_are_compared_where_they_differ_in_nothing_else(real, tmp_path, calibrated, published, given, pairs):
    for name, changes in (("a", calibrated), ("b", published)):
        record = put(tmp_path / name, real, 0.8, **changes)
        changed(tmp_path / name, record, given=[*given])
    found = starts_of(read_results([tmp_path]).cells)
    assert len(found) == pairs
    assert all(other["record"]["arguments"]["adapter_init"] == "published" for _, other in found)


def test_starts_are_drawn_for_each_task_and_format(real, tmp_path):
    """There are more panels than fit side by side, and one run has no losses."""
    settings = [{"adapter_projection_type": kind} for kind in ("cp", "tucker", "tt", "tr", "matrix")]
    for number, setting in enumerate([*settings, {"tensorized_layer_rank": 4}]):
        put(tmp_path / f"a{number}", real, 0.8, **setting)
        record = put(tmp_path / f"b{number}", real, 0.7, **setting, **PUBLISHED)
    changed(tmp_path / f"b{number}", record, step_losses=[])
    put(tmp_path / "rte", real, 0.8, task="rte")
    drawn = {stem: figure for stem, _, figure in figures(read_results([tmp_path]))}
    assert [stem for stem in drawn if stem.startswith("starts_")] == ["starts_mrpc"]
    panels, (legend,) = drawn["starts_mrpc"].axes, drawn["starts_mrpc"].legends
    names = ["CP, rank 2", "CP, rank 4", "Tucker, rank 2", "Tensor-Train, rank 2", "Tensor-Ring, rank 2"]
    assert [axes.get_title() for axes in panels if axes.get_title()] == [*names, "low-rank matrix, rank 2"]
    assert len(panels) == 12 and all(len(axes.lines) == 2 for axes in panels)
    labels = [text.get_text() for text in legend.get_texts()]
    assert labels == ["calibrated start, learning rate 0.002", "published start, learning rate 0.0002"]
    assert as_bytes(drawn["starts_mrpc"], "svg").endswith(b"</svg>\n")


def test_a_kept_record_reports_the_same(real, tmp_path):
    record = put(tmp_path / "runs" / "cp", real, 0.8)
    changed(tmp_path / "runs" / "cp", record, contribution=contribution(0.8))
    assert collect_records.main([str(tmp_path / "runs"), "--output_dir", str(tmp_path / "kept")]) == 0
    assert json.loads((tmp_path / "kept" / "cp" / "run.json").read_text())["contribution"] == contribution(0.8)
