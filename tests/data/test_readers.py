"""Data files give equal rows in every format, and irregular ones are refused in one line."""

import gzip
import io
import json
import os
import re
import sys
from types import SimpleNamespace

import pytest
from datasets import Dataset
from helpers import argv, record_of, refused, write_rows

from run_glue_tensorized import main
from tensorized_adapters import UsageError
from tensorized_adapters.arguments.parsing import parse_arguments
from tensorized_adapters.data.arguments import DataTrainingArguments
from tensorized_adapters.data.loading import load_data
from tensorized_adapters.predicting.rows import text_rows


def test_an_ending_may_be_in_capitals(flags, tmp_path):
    """Spreadsheets write such names. Predictions take them too."""
    texts = []
    for name in ("TRAIN.CSV", "TRAIN.CSV.GZ"):
        content = flags["train_file"].read_bytes()
        (tmp_path / name).write_bytes(gzip.compress(content) if name.endswith("GZ") else content)
        arguments = parse_arguments(argv(flags, train_file=tmp_path / name)).data
        data = load_data(arguments, {"train"})
        texts.append(list(zip(data.train["sentence1"], data.train["sentence2"])))
        texts.append(list(text_rows(tmp_path / name, None, ("sentence1", "sentence2"))))
    assert texts == texts[:1] * 4 and len(texts[0]) == 48


def test_csv_tsv_and_json_lines_hold_the_same(tmp_path):
    rows = [('says "no', "None", 1, 0), ("007", "a, b", 0, 1), ("", "NA", 1, 2), ("x", "y", 0, 3)]
    paths = [write_rows(tmp_path / "a.csv", rows)]
    header = ("sentence1", "sentence2", "label", "idx")
    (tmp_path / "a.tsv").write_text("\n".join("\t".join(map(str, row)) for row in (header, *rows)) + "\n")
    (tmp_path / "a.jsonl").write_text("\n".join(json.dumps(dict(zip(header, row))) for row in rows) + "\n")
    (tmp_path / "a.json").write_text(json.dumps([dict(zip(header, row)) for row in rows]))
    (tmp_path / "odd.csv").write_bytes(b"\xef\xbb\xbf\r\n" + paths[0].read_bytes().replace(b",", b", ", 3))
    paths += [tmp_path / name for name in ("a.tsv", "a.jsonl", "a.json", "odd.csv")]
    for path in paths:
        data = load_data(DataTrainingArguments(task_name="mrpc", train_file=str(path)), {"train"})
        assert data.train["sentence1"][:] == [row[0] for row in rows], path
        assert data.train["sentence2"][:] == [row[1] for row in rows], path
        assert data.train["label"][:] == [row[2] for row in rows], path


def texts_of(path, text, columns="text"):
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    arguments = DataTrainingArguments(test_file=str(path), text_columns=columns)
    (examples,) = load_data(arguments, {"prediction"}, SAVED).prediction.values()
    return [tuple(row[name] for name in columns.split(",")) for row in examples]


SAVED = {"problem_type": "regression", "notes": {}}


@pytest.mark.parametrize(
    "name, text, rows",
    [
        ("a.csv", "text\na\n\n\nb\n\n\n", ["a", "", "", "b"]),
        ("a.csv", 'text\n""\na\n""\n', ["", "a", ""]),
        ("a.tsv", "text\n\na\n", ["", "a"]),
        ("a.csv", "\n,text\n0,a\n\n,\n2,b\n", ["a", "", "b"]),
        ("a.tsv", "text\tmore\na\t\n\t\nb\t\n", ["a", "", "b"]),
        ("a.jsonl", '{"text": "a"}\n\n{"text": ""}\n{}\n{"text": "b"}\n\n', ["a", "", None, "b"]),
        ("a.csv", f"text\n{'a ' * 100000}\nb\n", ["a " * 100000, "b"]),
    ],
)
def test_every_row_is_a_row(tmp_path, name, text, rows):
    assert texts_of(tmp_path / name, text) == [(row,) for row in rows]


def test_blank_lines_that_are_left_out_are_reported(capsys, tmp_path):
    text = "text,more\na,b\n\n\nc,d\n\n"
    assert texts_of(tmp_path / "a.csv", text, "text,more") == [("a", "b"), ("c", "d")]
    assert "a.csv: 2 blank lines between the rows are left out" in capsys.readouterr().out


def test_predictions_have_a_line_for_each_row(flags, tmp_path):
    rows = [("a cat", "a dog", 1, 0), ("", "", "", ""), ("the bird", "a bird", 0, 2), ("", "", "", "")]
    changes = {"test_file": write_rows(tmp_path / "test.csv", rows), "do_predict": True, "num_train_epochs": 1}
    assert main(argv(flags, **changes)) == 0
    lines = (flags["output_dir"] / "MRPC.tsv").read_text().splitlines()
    assert [line.split("\t")[0] for line in lines] == ["index", "0", "1", "2", "3"]
    assert record_of(flags["output_dir"])["metrics"]["predict_samples"] == 4


@pytest.mark.parametrize(
    "name, text, message",
    [
        ("a.csv", "text\na\n".encode("utf-16"), "line 1 holds a NUL character, as UTF-16 does; save it as UTF-8"),
        ("a.csv", "text\na\n".encode("utf-16-le"), "line 1 holds a NUL character, as UTF-16 does; save it as UTF-8"),
        ("a.jsonl", '{"text": "\u00e9"}'.encode("utf-16-be"), "line 1 holds a NUL character, as UTF-16 does; save it"),
        ("a.csv", "text\na\nb\0b\n" + "c\n" * 9, "line 3 holds a NUL character"),
        ("a.csv", f"{'x' * 500},{'x' * 500}\n", "has the column 'xxx"),
        ("a.csv", ",,\ntext,more,label\na,b,c\n", "line 2 has 'text' in a column without a name; name the column"),
        ("a.csv", "text,label,,\na,b,,\nc,d,,e\n", "line 3 has 'e' in a column without a name; name the column in"),
        ("a.csv", ",,\n,,\n", "has no column 'text'"),
        ("a.csv", '""\ntext\na\n', "has no column 'text'"),
        ("a.jsonl", '{"text": "a"}\n{"text": ["b"]}', r"row 2 has \['b'\] in the column 'text', a list or an object"),
        ("a.jsonl", '{"text": "a"}\n{"text": 3}', "row 2 has 3 in the column 'text', a number, where rows before"),
        ("a.jsonl", f'{{"text": "a"}}\n{{"text": ["{"x" * 500}"]}}', "row 2 has "),
        ("a.jsonl", '{"text": %s}' % ("[" * 300 + "]" * 300), "'text' holds values of type list or object, no text"),
        ("a.jsonl", '{"text": {"a": "b"}}', "'text' holds values of type list or object, no text"),
        ("a.jsonl", '{"text": "\\ud83d"}', r"row 1 has an unpaired surrogate \(half of a character\) in 'text'"),
        ("a.jsonl", '{"text": "a"}\n\n{"text": "b", "text": "c"}\n', "line 3 has the key 'text' twice; leave one out"),
        (
            "a.json",
            '[{"text": "a"},\n\n{"text": "b", "label": 1, "label": 1}]',
            "row 2 of the list has the key 'label' ",
        ),
        ("a.json", '[{"text": "a"},\n3]', "row 2 of the list is no object; write a list of JSON objects$"),
        ("a.json", '[{"text": "a"},\n{"text"}]', "line 2 cannot be parsed: .*; write a list of JSON objects$"),
        ("a.json", '{"text": "a"}\n3', "line 2 is no object; write one JSON object a line$"),
    ],
)
def test_what_is_not_plain(tmp_path, name, text, message):
    with pytest.raises(UsageError, match=message) as error:
        texts_of(tmp_path / name, text)
    assert "x" * 81 not in str(error.value)


def test_columns_that_nobody_reads_may_hold_anything(tmp_path):
    deep = "[" * 300 + "]" * 300
    twice = '{"a": 1, "a": 2}'
    for more in (deep, twice):
        text = f'[{{"text": "a", "more": {more}}}, {{"text": "b"}}]'
        assert texts_of(tmp_path / "a.json", text) == [("a",), ("b",)]


@pytest.mark.parametrize("kind", ["pipe", "device", "folder"])
def test_what_is_no_regular_file_is_not_opened(capsys, flags, tmp_path, kind):
    path = tmp_path / "train.csv"
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    else:
        path.mkdir()
    error = refused(capsys, argv(flags, train_file=path), flags["output_dir"])
    assert f"--train_file {path} is no regular file" in error


def test_a_comma_within_a_header_of_semicolons_is_reported(capsys, tmp_path):
    """Excel does not quote a comma where semicolons separate the columns."""
    path = tmp_path / "a.csv"
    path.write_text("number;text, long;label\n1;a, b;x\n")
    with pytest.raises(UsageError):
        load_data(DataTrainingArguments(train_file=str(path), text_columns="text, long"), {"train"})
    assert "2 semicolons, but commas separate the columns; if semicolons separate" in capsys.readouterr().out


@pytest.mark.parametrize("mark, note", [(";", "semicolons (;) are read"), ("\t", "tabs are read"), (",", None)])
def test_another_separator_is_read_and_reported(capsys, tmp_path, mark, note):
    text = f'"text"{mark}more\n"great fun, 0{mark} really, yes"{mark}neg\na{mark}b\n'
    assert texts_of(tmp_path / "a.csv", b"\xef\xbb\xbf" + text.encode(), "text,more") == [
        (f"great fun, 0{mark} really, yes", "neg"),
        ("a", "b"),
    ]
    out = capsys.readouterr().out
    assert (f"a.csv: its header has no comma; {note} as the separator" in out) if note else "separator" not in out


@pytest.mark.parametrize(
    "name, text, mark",
    [
        ("a.csv", "text|label\na, b|x\nc|y\n", "|"),
        ("a.tsv", "text;label\na;x\nb;y\n", ";"),
        ("a.tsv", "text,label\na,x\nb,y\n", ","),
        ("a.csv", "text, long;label\na;x\nb;y\n", ";"),
        ("a.csv", "label|text\nx|a, b\ny|c\n", "|"),
    ],
)
def test_a_separator_that_is_not_read_is_named(tmp_path, name, text, mark):
    """The messages of training and of prediction say how to name the separator."""
    advice = re.escape(f"; if {mark} separates the columns, write sep={mark} as the first line of a .csv file")
    with pytest.raises(UsageError, match=advice):
        texts_of(tmp_path / name, text)
    with pytest.raises(UsageError, match=advice):
        list(text_rows(tmp_path / name, None, ("text",)))
    (tmp_path / "mended.csv").write_text(f"sep={mark}\n{text.replace('text, long', 'text')}")
    assert len(list(text_rows(tmp_path / "mended.csv", None, ("text",)))) == 2


def test_the_format_and_no_name_decides_whether_a_mark_may_separate_columns(monkeypatch, tmp_path):
    """JSON, Parquet and files whose separator a card gives get no advice, whatever their folder is called."""
    (tmp_path / "my.tsv.json").mkdir()
    for name, text, hint in (
        ("a.csv", "te|xt\na\n", "write sep=|"),
        ("a.tsv", "te,xt\na\n", "write sep=,"),
        ("a.jsonl", '{"te|xt": "a"}\n', ""),
    ):
        path = tmp_path / "my.tsv.json" / name
        advice = (re.escape(hint) + ".*" if hint else "others") + "$"
        with pytest.raises(UsageError, match=advice):
            texts_of(path, text)
        with pytest.raises(UsageError, match=advice):
            list(text_rows(path, None, ("text",)))
        monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(text.encode())))
        with pytest.raises(UsageError, match=advice):
            list(text_rows(None, path.suffix[1:], ("text",)))
    arguments = DataTrainingArguments(dataset_name=str(tmp_path / "folder"), text_columns="text")
    (tmp_path / "folder").mkdir()
    Dataset.from_dict({"te|xt": ["a"]}).to_parquet(tmp_path / "folder" / "train.parquet")
    with pytest.raises(UsageError, match="has no column 'text'; it has te|xt; --text_columns names others$"):
        load_data(arguments, {"train"})
    (tmp_path / "folder" / "train.parquet").unlink()
    card = "---\nconfigs:\n- config_name: default\n  data_files: train.csv\n  sep: ':'\n---\n"
    (tmp_path / "folder" / "README.md").write_text(card)
    for text, end in (("te|xt\na\n", "others"), ("te|xt\na:b\n", "the header 1")):
        (tmp_path / "folder" / "train.csv").write_text(text)
        with pytest.raises(UsageError, match=f"{end}$"):
            load_data(arguments, {"train"})


def test_a_mark_in_one_of_several_names_is_no_separator(tmp_path):
    path, text = tmp_path / "a.csv", "label,label|more\nx,y\n"
    for columns, end in (("text", "others"), (None, "them")):  # the latter for want of a column to guess
        with pytest.raises(UsageError, match=f"--text_columns names {end}$"):
            texts_of(path, text, columns)
    with pytest.raises(UsageError, match="--text_columns names others$"):
        list(text_rows(path, None, ("text",)))


@pytest.mark.parametrize("name, text", [("a.jsonl", '{"te, xt": "a"}\n'), ("a.csv", '"te, xt"\na\n')])
def test_a_comma_in_a_name_is_no_separator(tmp_path, name, text):
    (tmp_path / name).write_text(text)
    with pytest.raises(UsageError, match="--text_columns names others$"):
        list(text_rows(tmp_path / name, None, ("text",)))


def test_a_semicolon_among_commas_is_part_of_a_name(capsys, tmp_path):
    assert texts_of(tmp_path / "a.csv", 'text,b;c\n"a",b\n') == [("a",)]
    assert texts_of(tmp_path / "b.csv", '"te;xt"\na;b\n', "te;xt") == [("a;b",)]
    assert "separator" not in capsys.readouterr().out


@pytest.mark.parametrize(
    "text, column, row",
    [
        ('\n"q;1\n\nb",label\n"a\n;",b\n', "q;1\n\nb", "a\n;"),
        ('"q,1\nb";label\n"a,\n";b\n', "q,1\nb", "a,\n"),
        ('"a ""q;"" b\n",label\na,b\n', 'a "q;" b', "a"),
        ('5" screen,label\na;",b\n', '5" screen', 'a;"'),
    ],
)
def test_a_header_may_have_line_ends_in_quotes(tmp_path, text, column, row):
    path = tmp_path / "a.csv"
    path.write_text(text)
    assert list(text_rows(path, None, (column,))) == [(row,)]
    saved = SAVED | {"notes": {"texts": [column]}}
    data = load_data(DataTrainingArguments(test_file=str(path)), {"prediction"}, saved)
    assert data.prediction["predictions"][column][:] == [row]


def test_a_quote_that_is_never_closed_is_refused(tmp_path):
    with pytest.raises(UsageError, match="a.csv cannot be parsed: unexpected end of data, in the row that begins at"):
        texts_of(tmp_path / "a.csv", 'text,"label\n' + "a,b\n" * 9999)


@pytest.mark.parametrize(
    "text, rows, note",
    [
        ("text,label,,\na,b,,\nc,d, ,\n", ["a", "c"], ""),
        ("text;label;;\na;b;;\n", ["a"], "semicolons (;) are read"),
        ("\ufeffsep=;\r\ntext;label\r\na,b;c\r\n", ["a,b"], "a.csv: ';' separates the columns, as its first line"),
        ('"SEP=|"\ntext|label\n\na;b|c\n', ["a;b"], "a.csv: '|' separates the columns"),
        ("sep=\t\ntext\tlabel\na,b;\tb\n", ["a,b;"], "separates the columns"),
    ],
)
def test_what_excel_writes_is_read(capsys, monkeypatch, tmp_path, text, rows, note):
    path = tmp_path / "a.csv"
    assert texts_of(path, text) == [(row,) for row in rows]
    assert note in capsys.readouterr().out
    assert list(text_rows(path, None, ("text",))) == [(row,) for row in rows]
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(text.encode())))
    assert list(text_rows(None, None, ("text",))) == [(row,) for row in rows]
