"""GLUE's own TSV files of the nine tasks, whose columns differ from the hub's, are read as they are."""

import pytest

from tensorized_adapters import UsageError
from tensorized_adapters.data.arguments import DataTrainingArguments
from tensorized_adapters.data.loading import load_data
from tensorized_adapters.data.sources import used_files
from tensorized_adapters.data.tasks import TASKS
from tensorized_adapters.predicting.rows import text_rows

# The headers of training and test sets; ONE and TWO mark the texts, and LABEL the label.
LAYOUTS = {
    "cola": (None, "index\tsentence"),
    "mnli": (
        "index\tpromptID\tpairID\tgenre\tsentence1_binary_parse\tsentence2_binary_parse\tsentence1_parse\t"
        "sentence2_parse\tsentence1\tsentence2\tlabel1\tgold_label",
        "index\tpromptID\tpairID\tgenre\tsentence1_binary_parse\tsentence2_binary_parse\tsentence1_parse\t"
        "sentence2_parse\tsentence1\tsentence2",
    ),
    "mrpc": ("Quality\t#1 ID\t#2 ID\t#1 String\t#2 String", "index\t#1 ID\t#2 ID\t#1 String\t#2 String"),
    "qnli": ("index\tquestion\tsentence\tlabel", "index\tquestion\tsentence"),
    "qqp": ("id\tqid1\tqid2\tquestion1\tquestion2\tis_duplicate", "id\tquestion1\tquestion2"),
    "rte": ("index\tsentence1\tsentence2\tlabel", "index\tsentence1\tsentence2"),
    "sst2": ("sentence\tlabel", "index\tsentence"),
    "stsb": (
        "index\tgenre\tfilename\tyear\told_index\tsource1\tsource2\tsentence1\tsentence2\tscore",
        "index\tgenre\tfilename\tyear\told_index\tsource1\tsource2\tsentence1\tsentence2",
    ),
    "wnli": ("index\tsentence1\tsentence2\tlabel", "index\tsentence1\tsentence2"),
}
ONE = ("question", "question1", "sentence1", "#1 String")
TWO = ("question2", "sentence2", "#2 String")
LABEL = ("label", "gold_label", "Quality", "is_duplicate", "score")
NAMED = ("mnli", "qnli", "rte")  # their files hold the names of labels


def written(path, task, header, count=6):
    """A file, and the texts and labels that it holds."""
    labels, lines, expected, values = TASKS[task].labels, [], [], []
    for i in range(count):
        texts, number = (f'the "first {i}', f"second {i}")[: len(TASKS[task].texts)], i % len(labels or "ab")
        label = labels[number] if task in NAMED else f"{i / 5:.3f}" if labels is None else str(number)
        if header is None:
            lines.append(f"gj04\t{label}\t{'' if number else '*'}\t{texts[0]}")
        else:
            second = TWO if task != "qnli" else ("sentence",)
            row = []
            for name in header.split("\t"):
                of_text = name in ONE or (name == "sentence" and task != "qnli")
                row.append(
                    texts[0] if of_text else texts[1] if name in second else label if name in LABEL else f"x{i}"
                )
            lines.append("\t".join(row))
        expected.append(texts)
        values.append(i / 5 if labels is None else number)
    path.write_text("\n".join([*([header] if header else []), *lines]) + "\n")
    return expected, values


@pytest.mark.parametrize("task", TASKS)
def test_the_official_layout_of_every_task(tmp_path, task):
    train, test = tmp_path / "train.tsv", tmp_path / "test.tsv"
    (texts, labels), (test_texts, _) = (written(path, task, h) for path, h in zip((train, test), LAYOUTS[task]))
    arguments = DataTrainingArguments(
        task_name=task, train_file=str(train), validation_file=str(train), test_file=str(test)
    )
    data = load_data(arguments, {"train", "evaluation", "prediction"})
    sets = [data.train, *data.evaluation.values(), *data.prediction.values()]
    for examples, expected in zip(sets, (texts, texts, test_texts), strict=True):
        assert [tuple(row[name] for name in TASKS[task].texts) for row in examples] == expected
    assert data.train["label"][:] == pytest.approx(labels)


@pytest.mark.parametrize("layout", [0, 1], ids=["dev", "test"])
@pytest.mark.parametrize("task", TASKS)
def test_predict_reads_the_files_of_glues_server(capsys, tmp_path, task, layout):
    path, columns = tmp_path / "texts.tsv", TASKS[task].texts
    texts, _ = written(path, task, LAYOUTS[task][layout])
    assert list(text_rows(path, None, columns, task=task)) == texts
    output, noted = capsys.readouterr(), task in ("mnli", "mrpc") or not LAYOUTS[task][layout]
    assert output.out == "" and output.err.count("is read in GLUE's own layout") == noted
    if noted:
        with pytest.raises(UsageError, match=f"has no column '{columns[0]}'"):
            text_rows(path, None, columns, task="rte")


@pytest.mark.parametrize("task", TASKS)
def test_a_folder_of_glues_own_files(tmp_path, task):
    own = {"cola": "CoLA", "sst2": "SST-2", "stsb": "STS-B"}.get(task, task.upper())
    (tmp_path / own).mkdir()
    (tmp_path / "other").mkdir()
    (tmp_path / "README.md").write_text("# Unpacked from gluebenchmark.com\n")  # no card
    sets = ["_matched", "_mismatched"] if task == "mnli" else [""]
    train, test = LAYOUTS[task]
    for name, header in [
        ("train", train),
        *((f"{kind}{s}", h) for s in sets for kind, h in (("dev", train), ("test", test))),
    ]:
        texts, _ = written(tmp_path / own / f"{name}.tsv", task, header)
    arguments = DataTrainingArguments(task_name=task, glue_path=str(tmp_path))
    wanted = {"train", "evaluation", "prediction"}
    data = load_data(arguments, wanted)
    found = [data.train, *data.evaluation.values(), *data.prediction.values()]
    assert len(found) == 1 + 2 * len(sets)
    for examples in found:
        assert [tuple(row[name] for name in TASKS[task].texts) for row in examples] == texts
    assert [path.name for paths in used_files(arguments, wanted).values() for path in paths] == [
        "train.tsv",
        *(f"dev{s}.tsv" for s in sets),
        *(f"test{s}.tsv" for s in sets),
    ]
    (tmp_path / own / "train.tsv").unlink()
    with pytest.raises(UsageError, match=f"has no file {own}/train.tsv"):
        load_data(arguments, {"train"})
    for content in ("# Notes".encode("utf-16"), b"---\n- a\n---\n"):  # neither can be read as a card
        (tmp_path / "README.md").write_bytes(content)
        with pytest.raises(UsageError, match="cannot be loaded"):
            used_files(arguments, {"train"})


def test_the_diagnostic_set_of_glues_own_files(tmp_path):
    for folder, name in (("MNLI", "test_matched"), ("MNLI", "test_mismatched"), ("diagnostic", "diagnostic")):
        (tmp_path / folder).mkdir(exist_ok=True)
        header = LAYOUTS["mnli"][1] if folder == "MNLI" else "index\tsentence1\tsentence2"
        texts, _ = written(tmp_path / folder / f"{name}.tsv", "mnli", header)
    arguments = DataTrainingArguments(task_name="mnli", glue_path=str(tmp_path))
    data = load_data(arguments, {"prediction"})
    assert list(data.prediction) == ["MNLI-m", "MNLI-mm", "AX"]
    assert list(zip(data.prediction["AX"]["premise"], data.prediction["AX"]["hypothesis"])) == texts
    assert used_files(arguments, {"prediction"})["prediction"][-1] == tmp_path / "diagnostic" / "diagnostic.tsv"


def test_damaged_rows_of_qqp_are_left_out_and_counted(capsys, tmp_path):
    path = tmp_path / "train.tsv"
    path.write_text(f"{LAYOUTS['qqp'][0]}\n0\t1\t2\ta\tb\t1\n1\t3\t4\tcut\n2\t5\t6\tc\td\t0\n")
    data = load_data(DataTrainingArguments(task_name="qqp", train_file=str(path)), {"train"})
    assert data.train["question1"][:] == ["a", "c"] and data.train["label"][:] == [1, 0]
    assert "1 rows with too few fields are left out" in capsys.readouterr().out


def test_a_header_and_the_hubs_names_go_first(capsys, tmp_path):
    path = tmp_path / "train.tsv"
    path.write_text("sentence\tlabel\ta\tb\nx\t1\t2\t3\ny\t0\t2\t3\n")
    data = load_data(DataTrainingArguments(task_name="cola", train_file=str(path)), {"train"})
    assert data.train["sentence"][:] == ["x", "y"] and "layout" not in capsys.readouterr().out


def test_a_missing_column_of_a_task_is_refused_without_a_circle(tmp_path):
    path = tmp_path / "train.tsv"
    path.write_text("sentence\tgold\nx\t1\ny\t0\n")
    with pytest.raises(UsageError, match="needs sentence and label; rename the columns, or give .* without --task_n"):
        load_data(DataTrainingArguments(task_name="sst2", train_file=str(path)), {"train"})
