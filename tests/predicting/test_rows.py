"""How rows to predict are read: separators, and the format of what comes without a name."""

from tensorized_adapters.predicting.rows import text_rows


def test_another_separator_is_read_and_said(capsys, tmp_path):
    path = tmp_path / "a.csv"
    path.write_text('text;label\n"great fun, 0; yes";neg\nb;c\n')
    assert list(text_rows(path, None, ("text",))) == [("great fun, 0; yes",), ("b",)]
    assert "a.csv: its header has no comma; semicolons (;) are read" in capsys.readouterr().out
