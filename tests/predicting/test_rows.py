"""How rows to predict are read: separators, and the format of input without a file name."""

import gzip
import io
import json
import sys
from types import SimpleNamespace

import pytest

from tensorized_adapters import UsageError
from tensorized_adapters.predicting.rows import text_rows


def test_another_separator_is_read_and_reported(capsys, tmp_path):
    path = tmp_path / "a.csv"
    path.write_text('text;label\n"great fun, 0; yes";neg\nb;c\n')
    assert list(text_rows(path, None, ("text",))) == [("great fun, 0; yes",), ("b",)]
    assert "a.csv: its header has no comma; semicolons (;) are read" in capsys.readouterr().out


def test_a_compressed_file_and_parts_that_are_empty(tmp_path):
    path = tmp_path / "a.tsv.gz"
    path.write_bytes(gzip.compress(b"one\ttwo\na\t\nb\tc\n\t\n"))
    rows = text_rows(path, None, ("one", "two"), "-")
    assert next(rows) == ("a-",) and next(rows) == ("b-c",)
    with pytest.raises(UsageError, match="line 4 has an empty 'one'"):
        next(rows)
    path.write_bytes(gzip.compress(b"one\ttwo\na\tb\n" * 9)[:-12])
    with pytest.raises(UsageError, match="a.tsv.gz cannot be decompressed: .*; compress it again with gzip"):
        list(text_rows(path, None, ("one", "two")))


def from_stdin(monkeypatch, text, columns, file_format=None):
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(text.encode())))
    return list(text_rows(None, file_format, columns))


@pytest.mark.parametrize(
    "text, columns, rows, kind",
    [
        ('text,label\n"a, b",x\n', ("text",), [("a, b",)], "CSV"),
        ('\ufeff"text"\r\n"a, b"\r\nc\r\n', ("text",), [("a, b",), ("c",)], "CSV"),
        ("label;two;one\nx;b;a\n", ("one", "two"), [("a", "b")], "CSV"),
        ('one,"two, too"\na,b\n', ("one", "two, too"), [("a", "b")], "CSV"),
        ('one\ttwo\n"a\tb\n', ("one", "two"), [('"a', "b")], "TSV"),
        ('a "text", said\nb\n', ("text",), [('a "text", said',), ("b",)], "plain text"),
        ("the text\nb\n", ("text",), [("the text",), ("b",)], "plain text"),
        ('"a" is said\nb\n', ("text",), [('"a" is said',), ("b",)], "plain text"),
        ('a 5" disk, she said, "b\nc\n', ("text",), [('a 5" disk, she said, "b',), ("c",)], "plain text"),
        ("[1] is a text\n[a]\n", ("text",), [("[1] is a text",), ("[a]",)], "plain text"),
        ("\n\r\ntext,label\na,x\n", ("text",), [("a",)], "CSV"),
        ('\n\n{"text": "a"}\n', ("text",), [("a",)], "JSON lines"),
    ],
)
def test_a_stream_is_known_by_its_first_line(capsys, monkeypatch, text, columns, rows, kind):
    assert from_stdin(monkeypatch, text, columns) == rows
    assert f"note: standard input is read as {kind}" in capsys.readouterr().err


@pytest.mark.parametrize("mark", [",", ";"])
@pytest.mark.parametrize("header", ['"text"{}"la\nbel"', '"la\nbel"{}text', 'text{}"la"" \nbel"'])
def test_a_stream_whose_header_may_have_several_lines_is_refused_without_a_format(monkeypatch, header, mark):
    text = header.format(mark) + "\n" + mark.join("aa") + "\n"
    with pytest.raises(UsageError, match="input: its first line opens a quote; --format csv or --format text says"):
        from_stdin(monkeypatch, text, ("text",))
    assert from_stdin(monkeypatch, text, ("text",), "csv") == [("a",)]
    assert from_stdin(monkeypatch, '"a\nb\n', ("text",), "text") == [('"a',), ("b",)]


@pytest.mark.parametrize(
    "text, columns, kind, has",
    [
        ("Text,label\nhello there,x\n", ("text",), "CSV", "'text'; it has Text, label; --text_columns names"),
        ('Title,"mid, dle",Body\na,b,c\n', ("title", "mid, dle", "body"), "CSV", "'title'; it has Title, 'mid, dle'"),
        ("One\tTWO\na\tb\n", ("one", "two"), "TSV", "'one'; it has One, TWO"),
    ],
)
def test_a_header_of_other_capitals_is_no_text(capsys, monkeypatch, tmp_path, text, columns, kind, has):
    with pytest.raises(UsageError, match=f"has no column {has}"):
        from_stdin(monkeypatch, text, columns)
    assert f"is read as {kind}, since its first line names the text columns; --format" in capsys.readouterr().err
    path = tmp_path / f"a.{kind.lower()}"
    path.write_text(text)
    with pytest.raises(UsageError, match=f"has no column {has}"):
        list(text_rows(path, None, columns))


def test_names_of_columns_are_compared_in_nfc(monkeypatch):
    composed, apart = "text\u00e9", "texte\u0301"
    for present, wanted in ((composed, apart), (apart, composed)):
        assert from_stdin(monkeypatch, f"{present},label\na,x\n", (wanted,)) == [("a",)]
        assert from_stdin(monkeypatch, json.dumps({present: "a"}), (wanted,)) == [("a",)]
        assert from_stdin(monkeypatch, f"{present},{wanted}\na,b\n", (wanted,)) == [("b",)]
    with pytest.raises(UsageError, match=r"no column 't\\u0435xt', which only looks like 'text'; it has text;"):
        from_stdin(monkeypatch, '{"text": "a"}', ("t\u0435xt",))


def test_blank_lines_at_the_end_of_plain_text_are_no_rows(monkeypatch, tmp_path):
    assert from_stdin(monkeypatch, "good\nbad\n\n \r\n", ("text",)) == [("good",), ("bad",)]
    assert from_stdin(monkeypatch, "a\tb\n\n", ("one", "two")) == [("a", "b")]
    path = tmp_path / "a.txt"
    path.write_text("good\n\nbad\n\n")
    rows = text_rows(path, None, ("text",))
    assert next(rows) == ("good",)
    with pytest.raises(UsageError, match="a.txt: line 2 has an empty 'text'; write it or remove the line"):
        next(rows)
    path.write_text("a\tb\n\t\n")  # a row of empty fields is a row
    with pytest.raises(UsageError, match="a.txt: line 2 has an empty 'one'"):
        list(text_rows(path, None, ("one", "two")))
    for text in ("\n", "\n \n\n"):
        with pytest.raises(UsageError, match="standard input has no rows"):
            from_stdin(monkeypatch, text, ("text",))
    with pytest.raises(UsageError, match="line 1 has an empty 'text'"):
        from_stdin(monkeypatch, "\ngood\n", ("text",))


@pytest.mark.parametrize("indent", [None, 0, 1, 2])
@pytest.mark.parametrize("rows", [[], [{"text": "a"}, {"text": "b"}]])
def test_a_json_list_is_refused_however_it_is_laid_out(monkeypatch, rows, indent):
    for before in ("", "\n \n"):
        with pytest.raises(UsageError, match="standard input is a JSON list; write one JSON object a line"):
            from_stdin(monkeypatch, before + json.dumps(rows, indent=indent), ("text",))
    with pytest.raises(UsageError, match="standard input is a JSON list; write one JSON object a line"):
        from_stdin(monkeypatch, '[ {"text": "a"},\n{"text": "b"} ]', ("text",))


def test_a_json_object_over_several_lines_is_refused_as_such(monkeypatch):
    for text in ('{\n "text": "a"\n}', '\n{ \n"text": "a"}\n'):
        with pytest.raises(UsageError, match="is a JSON object over several lines; write one JSON object a line"):
            from_stdin(monkeypatch, text, ("text",))


def test_a_list_in_a_file_is_refused_behind_blank_lines_too(tmp_path):
    path = tmp_path / "a.json"
    path.write_text('\n[\n{"text": "a"}\n]\n')
    with pytest.raises(UsageError, match="a.json is a JSON list; write one JSON object a line"):
        list(text_rows(path, None, ("text",)))


def test_a_stream_of_another_header_is_refused_with_the_flag(monkeypatch):
    with pytest.raises(UsageError, match=r"takes 2 \(one, two\); --format csv reads a table with a header"):
        from_stdin(monkeypatch, "first,second\na,b\n", ("one", "two"))
    with pytest.raises(UsageError, match="standard input is a JSON list; write one JSON object a line"):
        from_stdin(monkeypatch, '[{"one": "a"}]\n', ("one",))
