"""Reports from a real record and changed copies of it: means, marks, missing runs and files."""

import base64
import json
import re
import statistics
from html.parser import HTMLParser
from pathlib import Path

import pytest
from records import put, scores

from tensorized_adapters.cli import report
from tensorized_adapters.reporting.figures import figures, pareto
from tensorized_adapters.reporting.results import read_results
from tensorized_adapters.reporting.style import LOOKS, lines_of
from tensorized_adapters.reporting.tables import score_table
from tensorized_adapters.runtime import exits

ERROR = "mean_absolute_error"


@pytest.mark.parametrize(
    "message, setting",
    [("interleaved", {"tensor_split": "interleaved"}), ("one matrix", {"if_adapter_like": False})],
)
def test_what_differs_in_more_than_the_rank_is_a_line_of_its_own(real, tmp_path, message, setting):
    for rank in (2, 4):
        put(tmp_path / f"plain{rank}", real, 0.8, tensorized_layer_rank=rank)
        name = f"cp-{rank} ({message})"
        put(tmp_path / f"other{rank}", real, 0.7, method=name, tensorized_layer_rank=rank, **setting)
    lines = [(list(line["rank"]), set(line["variant"])) for line in lines_of(read_results([tmp_path]).cells)]
    assert lines == [([2, 4], {""}), ([2, 4], {f"({message})"})]


def test_means_and_deviations_over_seeds(results, tmp_path, capsys, undrawn):
    out = tmp_path / "out"
    assert report.main([str(results), "--output_dir", str(out)]) == 0
    row = scores(out)["cp-2", "mrpc"]
    values = (0.8, 0.83, 0.85)
    assert float(row["last_mean"]) == pytest.approx(statistics.mean(values))
    assert float(row["last_std"]) == pytest.approx(statistics.stdev(values))
    assert float(row["best_mean"]) == pytest.approx(statistics.mean(values) + 0.02)
    assert row["seeds"] == "1 2 3" and row["metric"] == "f1"
    assert scores(out)["tt-2", "rte"]["last_std"] == ""
    message = capsys.readouterr().out
    assert "| cp-2 | **0.827 ± 0.025 (3)** | 0.600 |" in message and "| tt-2 | 0.820 | **0.700** |" in message
    assert "mrpc (F1)" in message and "rte (accuracy)" in message


def test_what_is_missing_is_reported(results, real, tmp_path, capsys, undrawn):
    failed = put(results / "failed", real, 0, task="rte", tensorized_layer_rank=4)
    failed |= {"status": "failed", "reason": "out of memory"}
    del failed["metrics"]  # which are written last
    (results / "failed" / "run.json").write_text(json.dumps(failed))
    entry = {"task": "mrpc", "method": "tr-9", "seed": 1, "state": "refused", "reason": "too large"}
    deleted = entry | {"seed": 2, "state": "finished", "reason": None}
    (results / "sweep.json").write_text(json.dumps({"trials": {"x": entry, "y": deleted}}))
    lacking = put(results / "lacking", real, 0.9)
    del lacking["parameters"], lacking["arguments"]["method"]
    (results / "lacking" / "run.json").write_text(json.dumps(lacking))
    (results / "odd").mkdir()
    (results / "odd" / "run.json").write_text("{")
    assert report.main([str(results), "--output_dir", str(tmp_path / "out")]) == 0
    message = capsys.readouterr().out
    assert "missing: rte cp-4 seed 1: failed: out of memory" in message
    assert "missing: mrpc tr-9 seed 1: refused: too large" in message
    record = results / "trials" / "y" / "run.json"
    assert f"missing: mrpc tr-9 seed 2: finished, but {record} is missing" in message
    assert "missing: mrpc, tt-2: no run of seed 2, 3" in message and "missing: rte: no run of cp-4" in message
    assert message.count("not a run record") == 2
    assert "tr-9" in (tmp_path / "out" / "report.html").read_text()


def test_figures_tell_methods_apart_and_a_linear_probe_does_not_press_them_together(real, tmp_path):
    assert len({colour for _, colour, _ in LOOKS.values()}) == len({mark for *_, mark in LOOKS.values()}) == len(LOOKS)
    for seed, score in enumerate((0.81, 0.82, 0.83)):
        put(tmp_path / f"cp{seed}", real, score, seed)
    record = put(tmp_path / "head", real, 0.4, method="head", trained=100)
    record["arguments"]["method"] = "head"
    (tmp_path / "head" / "run.json").write_text(json.dumps(record))
    drawn = {stem: figure.axes for stem, _, figure in figures(read_results([tmp_path]))}
    for axes in (drawn["score_by_parameters"][0], drawn["training_mrpc"][1]):
        low, high = axes.get_ylim()
        assert 0.75 < low < 0.82 and 0.83 <= high < 0.9
        assert [text.get_text() for text in axes.texts][0].startswith("head: 0.4")


def test_tasks_whose_names_differ_in_characters_that_a_file_name_lacks_have_figures_of_their_own(real, tmp_path):
    for number, task in enumerate(("a b", "a_b", "a_b_2")):
        put(tmp_path / str(number), real, 0.8, task=task, metric="f1")
    stems = [stem for stem, *_ in figures(read_results([tmp_path])) if stem.startswith("training")]
    assert sorted(stems) == sorted({*stems}) and len(stems) == 3


def test_variants_of_a_method_look_apart(real, tmp_path):
    for number in range(9):
        put(tmp_path / str(number), real, 0.8, adapter_size=8 + number)
    axes = next(iter(figures(read_results([tmp_path]))))[2].axes[0]
    marks = [line for line in axes.lines if line.get_marker() not in ("None", "", "_")]  # not error bars' ends
    looks = {(str(line.get_marker()), str(line.get_markerfacecolor())) for line in marks}
    assert len({line.get_color() for line in marks}) == 1 and len(looks) == 9


def test_each_type_of_peft_is_a_line_of_the_table(real, tmp_path, undrawn):
    plain = {"method": "peft", "adapter_projection_type": None, "peft_config": "{}"}
    for kind, score in (("vera", 0.7), ("loha", 0.8)):
        record = put(tmp_path / "in" / kind, real, score, method=kind, adapter_projection_type="cp")
        record["arguments"] |= plain | {"peft_type": kind}
        (tmp_path / "in" / kind / "run.json").write_text(json.dumps(record))
    assert report.main([str(tmp_path / "in"), "--output_dir", str(tmp_path / "out")]) == 0
    assert {method for method, _ in scores(tmp_path / "out")} == {"vera", "loha"}


def test_methods_of_one_family_look_apart_and_have_their_names_in_the_legend(real, tmp_path):
    for family, names in (("peft", ("vera", "loha")), ("lora", ("lora-8", "lora-16"))):
        for name in names:
            record = put(tmp_path / name, real, 0.8, method=name)
            record["arguments"] |= {"method": family, "adapter_projection_type": None, "peft_type": name}
            (tmp_path / name / "run.json").write_text(json.dumps(record))
    axes = next(iter(figures(read_results([tmp_path]))))[2].axes[0]
    marks = [line for line in axes.lines if line.get_marker() not in ("None", "", "_")]
    assert len({(str(line.get_marker()), str(line.get_markerfacecolor())) for line in marks}) == 4
    assert {"vera", "loha", "LoRA-8", "LoRA-16"} <= {*axes.get_legend_handles_labels()[1]}


def test_a_setting_tried_on_one_task_is_not_asked_for_on_the_others(results, real, tmp_path, capsys, undrawn):
    for rate in (0.1, 0.2):
        put(results / f"rate{rate}", real, 0.8, learning_rate=rate)  # of cp-2, on mrpc alone and with one seed
    assert report.main([str(results), "--output_dir", str(tmp_path / "out")]) == 0
    missing = [line for line in capsys.readouterr().out.splitlines() if line.startswith("missing")]
    assert len(missing) == 3 and not any("learning_rate" in line for line in missing), missing


def test_the_head_says_of_which_model_and_data(results, real, tmp_path, undrawn):
    out = tmp_path / "out"
    assert report.main([str(results), "--output_dir", str(out), "--published"]) == 0
    model = "/".join(Path(real["arguments"]["model_name_or_path"]).parts[-2:])
    samples = real["metrics"]["train_samples"]
    for name in ("report.html", "tables.md"):
        message = (out / name).read_text().replace("\\", "")
        assert f"model {model}, {samples} training examples, 2 epochs" in message
        assert f"The runs here use {model}, so the two must not be compared." in message


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"num_train_epochs": 9}, "num_train_epochs 9"),
        ({"learning_rate": 0.5}, "learning_rate 0.5"),
        ({"adapter_size": 4}, "adapter_size 4"),
        ({"weight_decay": 0.3}, "weight_decay 0.3"),
    ],
)
def test_what_differs_in_more_than_the_seed_is_not_averaged(real, tmp_path, change, message):
    put(tmp_path / "a", real, 0.8)
    put(tmp_path / "b", real, 0.9, seed=2, **change)
    results = read_results([tmp_path])
    assert len(results.methods) == 2 and any(message in method for method in results.methods)
    assert list(results.cells["last_count"]) == [1, 1]


@pytest.mark.parametrize(
    "change",
    [
        {"versions": {"torch": "3"}},
        {"threads": 99},
        {"git": {"commit": "x", "clean": True}},
        {"machine": {"gpu": None, "gpus_used": 2}},
    ],
)
def test_nor_is_what_another_program_computed(real, tmp_path, change):
    put(tmp_path / "a", real, 0.8)
    other = put(tmp_path / "b", real, 0.9, seed=2)
    (tmp_path / "b" / "run.json").write_text(json.dumps(other | change))
    assert len(read_results([tmp_path]).methods) == 2


def test_a_score_that_is_no_number_is_missing(real, tmp_path):
    put(tmp_path / "a", real, 0.8)
    put(tmp_path / "b", real, float("nan"), seed=2)
    record = put(tmp_path / "c", real, float("nan"), seed=3)
    del record["metrics"]["eval_loss"]
    (tmp_path / "c" / "run.json").write_text(json.dumps(record))
    results = read_results([tmp_path])
    assert len(results.runs) == 1 and len(results.missing) == 2
    assert "no score (f1 is not defined for its evaluation set)" in results.missing[0]
    assert "no score (evaluate it with --do_eval)" in results.missing[1]


def test_the_same_run_twice_counts_once(results, real, tmp_path):
    put(results / "again", real, 0.8)
    put(results / "other", real, 0.9)
    found = read_results([results, results / "again"])
    assert found.cells.set_index(["method", "task"])["seeds"]["cp-2", "mrpc"] == [1, 2, 3]
    assert sum("counted once" in note for note in found.notes) == 2
    assert sum("OTHER scores" in note for note in found.notes) >= 1


def test_the_files(results, tmp_path):
    out = tmp_path / "out"
    assert report.main([str(results), "--output_dir", str(out), "--published"]) == 0
    for stem in ("score_by_parameters", "score_by_rank", "gap_by_parameters", "training_mrpc", "training_rte"):
        assert (out / "figures" / f"{stem}.png").read_bytes().startswith(b"\x89PNG")
        assert b"<svg" in (out / "figures" / f"{stem}.svg").read_bytes()
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    assert report.main([str(results), "--output_dir", str(out), "--published"]) == 0
    assert before == {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    assert "as published" in (out / "tables.md").read_text()


def test_latex_is_balanced_and_escaped(results, tmp_path, undrawn):
    report.main([str(results), "--output_dir", str(tmp_path / "out")])
    text = (tmp_path / "out" / "tables.tex").read_text()
    assert text.count("\\begin{tabular}") == text.count("\\end{tabular}") == 5
    assert text.count("{") == text.count("}") and r"\textbf{0.827 $\pm$ 0.025 (3)}" in text
    assert "layer\\_norm" in text and not re.search(r"(?<!\\)[_%&](?!\s)", re.sub(r" & ", " ", text))


def test_the_page_needs_nothing_else_and_holds_every_command(results, tmp_path):
    report.main([str(results), "--output_dir", str(tmp_path / "out")])
    text = (tmp_path / "out" / "report.html").read_text()

    class Reader(HTMLParser):
        def __init__(self):
            super().__init__()
            self.sources, self.open, self.commands = [], [], []

        def handle_starttag(self, tag, attributes):
            self.sources += [value for name, value in attributes if name in ("src", "href")]
            if tag not in ("meta", "img", "br"):
                self.open.append(tag)

        def handle_endtag(self, tag):
            assert self.open.pop() == tag

        def handle_data(self, data):
            if self.open and self.open[-1] == "pre":
                self.commands.append(data)

    reader = Reader()
    reader.feed(text)
    assert not reader.open and len(reader.commands) == 7
    assert all(command.startswith("python run_glue_tensorized.py --") for command in reader.commands)
    assert len(reader.sources) == 5 and all(
        source.startswith("data:image/svg+xml;base64,") for source in reader.sources
    )
    assert all(b"<svg" in base64.b64decode(source.split(",")[1]) for source in reader.sources)


def test_names_cannot_break_the_page(results, real, tmp_path, undrawn):
    put(results / "evil", real, 0.5, model_name_or_path="<script>alert(1)</script>")
    report.main([str(results), "--output_dir", str(tmp_path / "out")])
    assert "<script>alert" not in (tmp_path / "out" / "report.html").read_text()


def test_of_an_error_the_lowest_is_the_best(real, tmp_path):
    for rank, error in ((2, 0.4), (4, 0.3)):
        put(tmp_path / f"cp{rank}", real, error, 1, trained=450 * rank, metric=ERROR, tensorized_layer_rank=rank)
    results = read_results([tmp_path])
    assert results.runs.set_index("method")["best"].to_dict() == {"cp-2": 0.4, "cp-4": 0.3}  # each at its last epoch
    table = score_table(results, "last", False)
    marked = [row[0][1] for row in table.rows() if row[1][2]]
    assert marked == ["cp-4"] and "For an error measure the lowest mean is marked" in table.caption
    [drawn] = [figure for stem, _, figure in figures(results) if stem == "score_by_parameters"]
    [front] = [line for line in drawn.axes[0].lines if line.get_label() == "Pareto front"]
    assert list(zip(*front.get_data()))[:2] == [(900, 0.4), (1800, 0.3)]


def test_the_pareto_front_against_brute_force():
    points = [(10, 0.5), (10, 0.6), (20, 0.6), (30, 0.9), (40, 0.8), (5, 0.1)]
    beaten = {p for p in points for q in points if q != p and q[0] <= p[0] and q[1] >= p[1]}
    assert pareto(points) == sorted(set(points) - beaten)


@pytest.mark.parametrize(("words", "message"), [(["nowhere"], "nowhere is not there"), (["."], "no finished run")])
def test_bad_input_is_one_line(tmp_path, monkeypatch, capsys, words, message):
    monkeypatch.chdir(tmp_path)
    assert exits.run(report.main, [*words, "--output_dir", "out"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and message in error and error.count("\n") == 1 and not Path("out").exists()
