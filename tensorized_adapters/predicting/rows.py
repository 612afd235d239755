"""The texts to predict, read line by line, so that memory stays flat: CSV, TSV, JSON lines, or plain text."""

import csv
import io
import itertools
import os
import stat
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, Optional

from ..data.arguments import DataTrainingArguments
from ..data.columns import kept_columns
from ..data.labels import listed
from ..data.readers import csv_rows, delimiter_in, json_rows, tsv_rows
from ..data.texts import text_of
from ..errors import UsageError, quoted
from . import FORMATS

Texts = tuple[str, ...]  # of one row: a text, or two

_BY_ENDING = {".jsonl": "jsonl", ".json": "jsonl", ".csv": "csv", ".tsv": "tsv", ".txt": "text"}
_CALLED = {
    "jsonl": "JSON lines",
    "csv": "CSV, since its first line names the text columns",
    "tsv": "TSV, since its first line names the text columns",
    "text": "plain text, tabs between its columns and without a header",
}
_LONGEST = 2**24  # characters of a line, and of a field: an open quote or a binary file must not fill the memory


def text_rows(path: Optional[Path], kind: Optional[str], columns: tuple[str, ...]) -> Iterator[Texts]:
    """The texts of each row, in order. The first is read, and so the header checked, before this returns.

    Args:
        path: None for standard input.
        kind: one of FORMATS; None for that of the file's ending. What has none, such as standard input, is taken for
            JSON lines if its first line begins with a brace, for a table if that line names the columns, else for
            plain text, and a line says so.
        columns: the names of the text columns. Plain text has them in this order, between tabs, without a header.

    Raises:
        UsageError: also while it is read, for what cannot be opened, is not of its format, has no rows, lacks a column
            or a text, naming the line.
    """
    source = "standard input" if path is None else f"--input {path}"
    lines = _lines(_opened(path, source), source)
    first = next(lines, None)
    if first is None:
        raise UsageError(f"{source} is empty")
    kind = kind or _kind_of(path, first, columns, source)
    lines = itertools.chain([first], lines)
    if kind == "text":
        rows = _plain(lines, columns, source)
    else:
        if kind == "jsonl" and first.lstrip().startswith("["):
            raise UsageError(f"{source} is a JSON list; write one JSON object a line")
        csv.field_size_limit(max(_LONGEST, csv.field_size_limit()))
        read = {"jsonl": json_rows, "csv": csv_rows, "tsv": tsv_rows}[kind]
        rows = _chosen(read(lines, source), columns, source)
    first_row = next(rows, None)
    if first_row is None:
        raise UsageError(f"{source} has no rows")
    return itertools.chain([first_row], rows)


def text_columns(record: dict[str, Any], said: Optional[str], folder: str | Path) -> tuple[str, ...]:
    """Those that an adapter was trained on, or as many others, as ``--text_columns`` has ``said``.

    Args:
        record: the adapter's config record.

    Raises:
        UsageError: if neither names any, or the two differ in number.
    """
    trained, texts = kept_columns(record)[0], DataTrainingArguments(text_columns=said).texts
    if not trained and not texts:
        raise UsageError(f"{folder} does not say which columns it was trained on; --text_columns names one or two")
    if trained and texts and len(trained) != len(texts):
        raise UsageError(f"--text_columns {said} contradicts {folder}, which was trained on {', '.join(trained)}")
    return texts or trained


def _opened(path: Optional[Path], source: str) -> BinaryIO:
    if path is None:
        if sys.stdin is None:
            raise UsageError("standard input is closed; --input names a file")
        return sys.stdin.buffer
    try:
        return open(path, "rb")
    except (OSError, ValueError) as error:  # ValueError: of a NUL character
        raise UsageError(f"{source} cannot be read: {getattr(error, 'strerror', None) or error}") from None


def _lines(file: BinaryIO, source: str) -> Iterator[str]:
    """The lines with their ends; a lone carriage return is one too, as old editors write it."""
    text = io.TextIOWrapper(file, encoding="utf-8-sig", errors="surrogateescape", newline="")
    for number in itertools.count(1):
        line = text.readline(_LONGEST)
        if not line:
            return
        if len(line) == _LONGEST:
            raise UsageError(
                f"{source}: line {number} has more than {_LONGEST:,} characters; this is no list of texts"
            )
        if "\0" in line:
            raise UsageError(f"{source}: line {number} holds a NUL character; save it as UTF-8 text, or remove it")
        if not _is_whole(line):
            raise UsageError(f"{source}: line {number} is not UTF-8 text; save it as UTF-8")
        yield line


def _kind_of(path: Optional[Path], first: str, columns: tuple[str, ...], source: str) -> str:
    if path is not None and path.suffix.lower() in _BY_ENDING:
        return _BY_ENDING[path.suffix.lower()]
    if path is not None and stat.S_ISREG(os.stat(path).st_mode):
        known = ", ".join(_BY_ENDING)
        raise UsageError(f"{source} has none of the endings {known}; --format says what it is: {', '.join(FORMATS)}")
    kind = "jsonl" if first.lstrip().startswith(("{", "[{")) else _table_of(first, columns) or "text"
    print(f"note: {source} is taken for {_CALLED[kind]}; --format says otherwise", file=sys.stderr)
    return kind


def _table_of(first: str, columns: tuple[str, ...]) -> str:
    """ "tsv" or "csv" if the first line is a header with these columns, else nothing."""
    if set(columns) <= {name.strip() for name in first.split("\t")} and "\t" in first:
        return "tsv"
    try:
        header = next(csv.reader([first], strict=True, delimiter=delimiter_in(first)), [])
    except csv.Error:  # a text with a quote in it
        return ""
    return "csv" if set(columns) <= {name.strip() for name in header} else ""


def _plain(lines: Iterable[str], columns: tuple[str, ...], source: str) -> Iterator[Texts]:
    for number, line in enumerate(lines, 1):
        texts = tuple(line.rstrip("\r\n").split("\t"))
        if len(texts) != len(columns):
            raise UsageError(
                f"{source}: line {number} has {len(texts)} columns between tabs, the adapter takes "
                f"{len(columns)} ({listed(columns)}); --format csv reads a table with a header"
            )
        _check_texts(texts, columns, number, source)
        yield texts


def _chosen(rows: Iterable[tuple[int, dict[str, Any]]], columns: tuple[str, ...], source: str) -> Iterator[Texts]:
    told = False
    for number, row in rows:
        try:
            values = tuple(row[name] for name in columns)
        except KeyError as error:
            has = listed(tuple(map(str, row)))
            raise UsageError(
                f"{source}: line {number} has no column {quoted(error.args[0])}; it has {has}; --text_columns names "
                "others"
            ) from None
        if not all(isinstance(value, str) for value in values):
            if not told and any(isinstance(value, (int, float)) for value in values):
                print(f"note: {source}: line {number} holds a number, which is read as text", file=sys.stderr)
                told = True
            values = tuple(text_of(value) if isinstance(value, (int, float)) else value for value in values)
        _check_texts(values, columns, number, source)
        yield values


def _check_texts(values: tuple[Any, ...], columns: tuple[str, ...], number: int, source: str) -> None:
    for name, value in zip(columns, values):
        if value is None or (isinstance(value, str) and not value.strip()):
            raise UsageError(f"{source}: line {number} has an empty {quoted(name)}; write it or remove the line")
        if not isinstance(value, str):
            raise UsageError(f"{source}: line {number} has a list or an object as {quoted(name)}; write a text")
        if not _is_whole(value):  # as an escape in JSON
            raise UsageError(f"{source}: line {number} has half a character in {quoted(name)}")


def _is_whole(text: str) -> bool:
    """Whether it has no half of a surrogate pair, which also stands for a byte that was no UTF-8."""
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
