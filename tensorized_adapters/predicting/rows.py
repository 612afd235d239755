"""Reads the texts to predict from CSV, TSV, JSON lines or plain text, line by line, so that memory stays flat."""

import csv
import itertools
import re
import sys
import unicodedata
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, Optional

from ..data.arguments import DataTrainingArguments
from ..data.columns import Columns, columns_of_adapter, lone_column_hint, other_forms
from ..data.glue_server_files import renamed, usual_names, with_header
from ..data.label_names import shown_beside
from ..data.readers import (
    BY_ENDING,
    SEP_LINE,
    csv_rows,
    delimiter_in,
    format_of,
    is_unicode,
    json_rows,
    lines_of,
    open_input,
    tsv_rows,
    without_blank_end,
    without_quoted,
)
from ..data.texts import delimiter_for, joined, text_of
from ..errors import UsageError, listed, quoted
from . import FORMATS

Texts = tuple[str, ...]  # the texts of a row as the tokenizer gets them: one, or a pair

_CALLED = {
    "jsonl": "JSON lines",
    "csv": "CSV, since its first line names the text columns",
    "tsv": "TSV, since its first line names the text columns",
    "text": "plain text, tabs between its columns and without a header",
}
_BEGINS_JSON = re.compile(r"\s*(\{|\[\s*(\{|\]?\s*$))")  # an object, or a list of objects in any layout
_OPEN_QUOTE = re.compile(r'(^|[,;\t])"')  # at the beginning of a field, in a line without its closed quotes
_LONGEST = 2**24  # characters of a line or field, so that an open quote or a binary file cannot fill the memory


def text_rows(
    path: Optional[Path],
    file_format: Optional[str],
    columns: tuple[str, ...],
    delimiter: Optional[str] = None,
    task: str = "",
) -> Iterator[Texts]:
    """Yield the texts of each row, in order. The first row is read before this returns, so that the header is checked.

    Args:
        path: None for standard input.
        file_format: one of FORMATS, or None for that of the file's ending, or for standard input that of its first
            line which is not blank: JSON lines if it begins with a brace, a table if it names the columns, and else
            plain text. A note names the format. A line with an open quote is refused, since a header may go on below.
        columns: the names of the text columns; plain text has them in this order.
        delimiter: joins the columns of a row to one text.
        task: the GLUE task that the adapter was trained on, whose columns may have the names of GLUE's own files.

    Raises:
        UsageError: naming the line of what is refused. It may come while rows are read.
    """
    source = "standard input" if path is None else f"--input {path}"
    lines = lines_of(_opened(path, source), source, _LONGEST)
    head: list[str] = []  # the lines up to the first one that is not blank
    for line in lines:
        head.append(line)
        if line.strip():
            break
    if not head:
        raise UsageError(f"{source} is empty")
    first = head[-1].strip()
    file_format = file_format or _format_of(path, head[-1], columns, source)
    if file_format == "jsonl" and (first.startswith("[") or first == "{"):
        layout = "object over several lines" if first == "{" else "list"
        raise UsageError(f"{source} is a JSON {layout}; write one JSON object a line")
    csv.field_size_limit(max(_LONGEST, csv.field_size_limit()))
    readers = {"jsonl": json_rows, "csv": csv_rows, "tsv": tsv_rows, "text": partial(_plain_rows, columns=columns)}
    lines = itertools.chain(head, lines)
    if file_format == "tsv":
        lines = with_header(lines, task, source, notes=sys.stderr)
    numbered = readers[file_format](lines, source)
    rows = _texts(numbered, columns, delimiter, source, file_format, task)
    first_row = next(rows, None)
    if first_row is None:
        raise UsageError(f"{source} has no rows")
    return itertools.chain([first_row], rows)


def text_columns(record: dict[str, Any], named: Optional[str], folder: str | Path) -> Columns:
    """Return the columns that an adapter was trained on, or as many others that ``--text_columns`` has ``named``."""
    arguments = DataTrainingArguments(text_columns=named)
    if trained := columns_of_adapter(record, arguments):
        return trained
    if arguments.texts is None:
        raise UsageError(f"{folder} does not say which columns it was trained on; --text_columns names them")
    return Columns(arguments.texts, delimiter=delimiter_for(arguments.texts, None))


def _opened(path: Optional[Path], source: str) -> BinaryIO:
    if path is None:
        if sys.stdin is None:
            raise UsageError("standard input is closed; --input names a file")
        return sys.stdin.buffer
    try:
        return open_input(path)
    except (OSError, ValueError) as error:  # ValueError: the path has a NUL character
        raise UsageError(f"{source} cannot be read: {getattr(error, 'strerror', None) or error}") from None


def _format_of(path: Optional[Path], first: str, columns: tuple[str, ...], source: str) -> str:
    """Return the format that the file's ending gives, or for standard input and pipes the one of the first line."""
    if path is not None and (by_ending := format_of(str(path))):
        return by_ending
    if path is not None and path.is_file():
        known = ", ".join(BY_ENDING)
        raise UsageError(f"{source} has none of the endings {known}; --format says what it is: {', '.join(FORMATS)}")
    if SEP_LINE.fullmatch(first):
        return "csv"
    file_format = "jsonl" if _BEGINS_JSON.match(first) else _table_of(first, columns)
    if not file_format and _OPEN_QUOTE.search(without_quoted(first)):  # a header may end in a later line
        raise UsageError(f"{source}: its first line opens a quote; --format csv or --format text says what it is")
    file_format = file_format or "text"
    print(f"note: {source} is read as {_CALLED[file_format]}; --format sets another format", file=sys.stderr)
    return file_format


def _table_of(first: str, columns: tuple[str, ...]) -> str:
    """Return "tsv" or "csv" if the first line is a header with these columns, else nothing.

    Case is ignored, so a header in another case is refused as a header instead of being predicted.
    """

    def plain(names: Iterable[str]) -> set[str]:
        return {unicodedata.normalize("NFC", name.strip()).casefold() for name in names}

    if plain(columns) <= plain(first.split("\t")) and "\t" in first:
        return "tsv"
    try:
        header = next(csv.reader([first], strict=True, delimiter=delimiter_in(first)), [])
    except csv.Error:  # a text with a quote in it
        return ""
    return "csv" if plain(columns) <= plain(header) else ""


def _plain_rows(lines: Iterable[str], source: str, columns: tuple[str, ...]) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield line number and row of plain text, whose columns are separated by tabs. Blank lines at the end are no
    rows. A line with a tab is not blank."""
    for number, line in enumerate(without_blank_end(lines, " \r\n"), 1):
        texts = line.rstrip("\r\n").split("\t")
        if len(texts) != len(columns):
            flaw = f"{len(texts)} columns between tabs, the adapter takes {len(columns)} ({listed(columns)})"
            raise UsageError(f"{source}: line {number} has {flaw}; --format csv reads a table with a header")
        yield number, dict(zip(columns, texts))


def _texts(
    rows: Iterable[tuple[int, dict[str, Any]]],
    columns: tuple[str, ...],
    delimiter: Optional[str],
    source: str,
    file_format: str,
    task: str,
) -> Iterator[Texts]:
    """Yield the checked texts of each row for the tokenizer. A note names the first line with a number, and another
    one the columns of a file of GLUE's own server.

    A part of a joined text may be empty, as in training, and JSON lines may leave it out.
    """
    noted, noted_names, may_lack = False, False, file_format == "jsonl" and delimiter is not None
    for number, row in rows:
        line = f"{source}: line {number}"
        if not row.keys() >= set(columns):
            names = usual_names(row, task)
            if not set(columns) <= set(names.values()):
                names = other_forms(row, columns)
            elif not noted_names:
                print(f"note: {renamed(names, source)}", file=sys.stderr)
                noted_names = True
            row |= {name: row[form] for form, name in names.items()}
        absent = [name for name in columns if name not in row]
        if absent and not (may_lack and len(absent) < len(columns)):
            has = listed(tuple(map(str, row)))
            lacking = shown_beside(absent[0], map(str, row))
            hint = lone_column_hint(row, file_format)
            raise UsageError(f"{line} has no column {lacking}; it has {has}; --text_columns names others{hint}")
        values = [row.get(name) for name in columns]
        if not noted and any(isinstance(value, (int, float)) for value in values):
            print(f"note: {line} holds a number, which is read as text", file=sys.stderr)
            noted = True
        texts = tuple(map(text_of, values))
        for name, value, text in zip(columns, values, texts):
            if isinstance(value, (list, dict)):
                raise UsageError(f"{line} has a list or an object as {quoted(name)}; write a text")
            if not text.strip() and (delimiter is None or not "".join(texts).strip()):
                raise UsageError(f"{line} has an empty {quoted(name)}; write it or remove the line")
            if not is_unicode(text):  # JSON can write one as an escape
                raise UsageError(f"{line} has an unpaired surrogate (half of a character) in {quoted(name)}")
        yield joined(texts, delimiter)
