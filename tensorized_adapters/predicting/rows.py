"""Reads the texts to predict from CSV, TSV, JSON lines or plain text, line by line, so that memory stays flat."""

import csv
import gzip
import io
import itertools
import os
import stat
import sys
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO, Optional

from ..data.arguments import DataTrainingArguments, ending_of
from ..data.columns import Columns, kept_columns
from ..data.labels import listed
from ..data.readers import GZIP_ERRORS, csv_rows, delimiter_in, json_rows, tsv_rows
from ..data.texts import delimiter_for, joined, text_of
from ..errors import UsageError, quoted
from . import FORMATS

Texts = tuple[str, ...]  # the texts of a row as the tokenizer gets them: one, or a pair

_BY_ENDING = {".jsonl": "jsonl", ".json": "jsonl", ".csv": "csv", ".tsv": "tsv", ".txt": "text"}
_CALLED = {
    "jsonl": "JSON lines",
    "csv": "CSV, since its first line names the text columns",
    "tsv": "TSV, since its first line names the text columns",
    "text": "plain text, tabs between its columns and without a header",
}
_LONGEST = 2**24  # characters of a line or field, so that an open quote or a binary file cannot fill the memory


def text_rows(
    path: Optional[Path], file_format: Optional[str], columns: tuple[str, ...], delimiter: Optional[str] = None
) -> Iterator[Texts]:
    """Yield the texts of each row, in order. The first row is read before this returns, so that the header is checked.

    Args:
        path: None for standard input.
        file_format: one of FORMATS, or None for that of the file's ending. Input without an ending, such as standard
            input, is JSON lines if its first line begins with a brace, a table if that line names the columns, and
            else plain text. A note names the format.
        columns: the names of the text columns. Plain text has them in this order, between tabs, without a header.
        delimiter: joins the columns of a row to one text.

    Raises:
        UsageError: if the input cannot be opened, is not of its format, has no rows, or lacks a column or a text. It
            names the line, and may come while rows are read.
    """
    source = "standard input" if path is None else f"--input {path}"
    lines = _lines(_opened(path, source), source)
    first = next(lines, None)
    if first is None:
        raise UsageError(f"{source} is empty")
    file_format = file_format or _format_of(path, first, columns, source)
    lines = itertools.chain([first], lines)
    if file_format == "text":
        rows = _plain(lines, columns, delimiter, source)
    else:
        if file_format == "jsonl" and first.lstrip().startswith("["):
            raise UsageError(f"{source} is a JSON list; write one JSON object a line")
        csv.field_size_limit(max(_LONGEST, csv.field_size_limit()))
        read = {"jsonl": json_rows, "csv": csv_rows, "tsv": tsv_rows}[file_format]
        rows = _chosen(read(lines, source), columns, delimiter, source)
    first_row = next(rows, None)
    if first_row is None:
        raise UsageError(f"{source} has no rows")
    return itertools.chain([first_row], rows)


def text_columns(record: dict[str, Any], named: Optional[str], folder: str | Path) -> Columns:
    """Return the columns that an adapter was trained on, or those ``named`` by ``--text_columns``, which must be as
    many.

    Args:
        record: the adapter's config record.

    Raises:
        UsageError: if neither names any, or the two differ in number.
    """
    trained, texts = kept_columns(record), DataTrainingArguments(text_columns=named).texts
    if trained is None:
        if texts is None:
            raise UsageError(f"{folder} does not say which columns it was trained on; --text_columns names them")
        return Columns(texts, delimiter=delimiter_for(texts, None))
    if texts and len(trained.texts) != len(texts):
        raise UsageError(
            f"--text_columns {named} contradicts {folder}, which was trained on {', '.join(trained.texts)}"
        )
    return replace(trained, texts=texts or trained.texts)


def _opened(path: Optional[Path], source: str) -> BinaryIO:
    if path is None:
        if sys.stdin is None:
            raise UsageError("standard input is closed; --input names a file")
        return sys.stdin.buffer
    try:
        file = open(path, "rb")
        return gzip.GzipFile(fileobj=file) if path.suffix == ".gz" else file
    except (OSError, ValueError) as error:  # ValueError: the path has a NUL character
        raise UsageError(f"{source} cannot be read: {getattr(error, 'strerror', None) or error}") from None


def _lines(file: BinaryIO, source: str) -> Iterator[str]:
    """Yield the lines with their ends; a lone carriage return, which old editors write, ends a line too."""
    text = io.TextIOWrapper(file, encoding="utf-8-sig", errors="surrogateescape", newline="")
    for number in itertools.count(1):
        try:
            line = text.readline(_LONGEST)
        except GZIP_ERRORS as error:
            raise UsageError(f"{source} cannot be decompressed: {error}; write it anew with gzip") from None
        if not line:
            return
        if len(line) == _LONGEST:
            raise UsageError(
                f"{source}: line {number} has more than {_LONGEST:,} characters; this is no list of texts"
            )
        if "\0" in line:
            raise UsageError(f"{source}: line {number} holds a NUL character; save it as UTF-8 text, or remove it")
        if not _is_unicode(line):
            raise UsageError(f"{source}: line {number} is not UTF-8 text; save it as UTF-8")
        yield line


def _format_of(path: Optional[Path], first: str, columns: tuple[str, ...], source: str) -> str:
    if path is not None and (ending := ending_of(str(path)).lower()) in _BY_ENDING:
        return _BY_ENDING[ending]
    if path is not None and stat.S_ISREG(os.stat(path).st_mode):
        known = ", ".join(_BY_ENDING)
        raise UsageError(f"{source} has none of the endings {known}; --format says what it is: {', '.join(FORMATS)}")
    file_format = "jsonl" if first.lstrip().startswith(("{", "[{")) else _table_of(first, columns) or "text"
    print(f"note: {source} is read as {_CALLED[file_format]}; --format sets another format", file=sys.stderr)
    return file_format


def _table_of(first: str, columns: tuple[str, ...]) -> str:
    """Return "tsv" or "csv" if the first line is a header with these columns, else nothing."""
    if set(columns) <= {name.strip() for name in first.split("\t")} and "\t" in first:
        return "tsv"
    try:
        header = next(csv.reader([first], strict=True, delimiter=delimiter_in(first)), [])
    except csv.Error:  # a text with a quote in it
        return ""
    return "csv" if set(columns) <= {name.strip() for name in header} else ""


def _plain(lines: Iterable[str], columns: tuple[str, ...], delimiter: Optional[str], source: str) -> Iterator[Texts]:
    for number, line in enumerate(lines, 1):
        texts = tuple(line.rstrip("\r\n").split("\t"))
        if len(texts) != len(columns):
            raise UsageError(
                f"{source}: line {number} has {len(texts)} columns between tabs, the adapter takes "
                f"{len(columns)} ({listed(columns)}); --format csv reads a table with a header"
            )
        yield _checked(texts, columns, delimiter, number, source)


def _chosen(
    rows: Iterable[tuple[int, dict[str, Any]]], columns: tuple[str, ...], delimiter: Optional[str], source: str
) -> Iterator[Texts]:
    noted = False
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
            if not noted and any(isinstance(value, (int, float)) for value in values):
                print(f"note: {source}: line {number} holds a number, which is read as text", file=sys.stderr)
                noted = True
            values = tuple(text_of(value) if isinstance(value, (int, float)) else value for value in values)
        yield _checked(values, columns, delimiter, number, source)


def _checked(
    values: tuple[Any, ...], columns: tuple[str, ...], delimiter: Optional[str], number: int, source: str
) -> Texts:
    """Return the texts of a row for the tokenizer. A part of a joined text may be empty, as in training."""
    values = tuple("" if value is None else value for value in values)
    empty = [not isinstance(value, (list, dict)) and not value.strip() for value in values]
    for name, value, is_empty in zip(columns, values, empty):
        if is_empty and (delimiter is None or all(empty)):
            raise UsageError(f"{source}: line {number} has an empty {quoted(name)}; write it or remove the line")
        if not isinstance(value, str):
            raise UsageError(f"{source}: line {number} has a list or an object as {quoted(name)}; write a text")
        if not _is_unicode(value):  # JSON can write one as an escape
            raise UsageError(f"{source}: line {number} has half a character in {quoted(name)}")
    return joined(values, delimiter)


def _is_unicode(text: str) -> bool:
    """Return whether the text has no half of a surrogate pair. Bytes that are not UTF-8 become such halves too."""
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
