"""Reads one CSV, TSV or JSON-lines file with the standard library, and refuses an irregular one.

pandas would take the word "None" for a missing value, and the first of too many fields for an index. pyarrow reads
past an open quote, and converts dates to timestamps.
"""

import csv
import gzip
import io
import itertools
import json
import re
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, Optional

from ..errors import UsageError, quoted
from .arguments import ending_of
from .glue_server_files import with_header

BY_ENDING = {".jsonl": "jsonl", ".json": "jsonl", ".csv": "csv", ".tsv": "tsv", ".txt": "text"}
_SEPARATORS = {";": "semicolons (;)", "\t": "tabs"}
_OPEN_QUOTE = re.compile(r'(^|[,;\t])\s*"')  # in a header without what is quoted
_LONGEST_HEADER = 2**13  # characters, so that a quote which is never closed does not read everything
# The first line by which Excel gives the separator.
SEP_LINE = re.compile(r'"?sep=([^\w\s"]|\t)"?\s*', re.IGNORECASE)
_HALF = re.compile("[\ud800-\udfff]")
_ONE_A_LINE, _LIST = "write one JSON object a line", "write a list of JSON objects"


def format_of(path: str) -> Optional[str]:
    """Return the format that the ending of a file gives, or None for an ending that no reader of ours knows."""
    return BY_ENDING.get(ending_of(path))


def rows_of(path: str, source: str, task: str = "", delimiter: Optional[str] = None) -> list[dict[str, Any]]:
    """Return the rows of one file, which may be compressed as ``.gz``. CSV and TSV give strings, JSON its types. TSV
    has no quotes.

    A GLUE ``task`` may have its own layout. With a ``delimiter`` every table is read as CSV. An irregular file is
    refused: UsageError names ``source`` and the line.
    """
    with open_input(Path(path)) as file:
        lines = list(lines_of(file, source))
    text = "".join(lines)
    csv.field_size_limit(max(len(text), csv.field_size_limit()))  # a text may be long
    file_format = format_of(path)
    if file_format == "jsonl" and text.lstrip().startswith("["):
        parsed = enumerate(_parsed(text, source, advice=_LIST), 1)
        numbered = ((i, _object(row, source, f"row {i} of the list", _LIST)) for i, row in parsed)
    elif file_format == "jsonl":
        numbered = json_rows(lines, source)
    elif file_format == "tsv" and delimiter is None:
        numbered = tsv_rows(with_header(lines, task, source), source, task)
    else:
        numbered = csv_rows(lines, source, delimiter=delimiter)
    rows = [row for _, row in numbered]
    if not rows:
        raise UsageError(f"{source} has no rows")
    return rows


def open_input(path: Path) -> BinaryIO:
    """Open a file for reading its bytes, which are decompressed if its name ends in ``.gz``."""
    return gzip.open(path) if path.suffix.lower() == ".gz" else open(path, "rb")


def lines_of(file: BinaryIO, source: str, longest: int = -1) -> Iterator[str]:
    """Yield the lines with their ends; a lone carriage return, which old editors write, ends a line too. Raise
    UsageError for a damaged ``.gz`` file, what is not UTF-8, and a line of ``longest`` characters."""
    text = io.TextIOWrapper(file, encoding="utf-8-sig", errors="surrogateescape", newline="")
    for number in itertools.count(1):
        try:
            line = text.readline(longest)
        except (gzip.BadGzipFile, EOFError, zlib.error) as error:  # no gzip file, a cut one, a damaged one
            raise UsageError(f"{source} cannot be decompressed: {error}; compress it again with gzip") from None
        if not line:
            return
        if number == 1 and line.startswith("\x1f\udc8b"):  # how a gzip file begins, read as text
            raise UsageError(f"{source} is compressed; decompress it with gunzip, or let the file's name end in .gz")
        if len(line) == longest:
            raise UsageError(f"{source}: line {number} has more than {longest:,} characters; this is no list of texts")
        if "\0" in line:
            raise UsageError(f"{source}: line {number} holds a NUL character, as UTF-16 does; save it as UTF-8")
        if not is_unicode(line):
            raise UsageError(f"{source}: line {number} is not UTF-8 text; save it as UTF-8")
        yield line


def without_blank_end(lines: Iterable[str], blanks: Optional[str] = None) -> Iterator[str]:
    """Yield the lines up to the last one that holds more than ``blanks``, which are all kinds of blanks by default."""
    held: list[str] = []
    for line in lines:
        held.append(line)
        if line.strip(blanks):
            yield from held
            held.clear()


def is_unicode(text: str) -> bool:
    """Return whether the text has no half of a surrogate pair. Bytes that are not UTF-8 become such halves too."""
    return text.isascii() or not _HALF.search(text)


def csv_rows(
    lines: Iterable[str], source: str, task: str = "", delimiter: Optional[str] = None, quotes: bool = True
) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield each row of ``lines``, which keep their ends, with the number of the line on which it ends.

    A row of empty fields is a row. A blank line is a row only if the header has a single column and another row
    follows. Several columns without a name, as Excel writes behind a table, are left out if they are empty.
    """
    lines = without_blank_end(lines, "\r\n")
    file_format = "tsv" if not quotes else "csv" if delimiter is None else ""
    if quotes:
        delimiter, lines = _delimiter_of(lines, source, delimiter)
    quoting = csv.QUOTE_MINIMAL if quotes else csv.QUOTE_NONE
    reader = csv.reader(lines, strict=True, delimiter=delimiter, quoting=quoting)
    parsed = _parsed_rows(reader, source)
    header = [name.strip() for name in next(filter(None, parsed), [])]
    unnamed = [i for i, name in enumerate(header) if not name and header.count("") > 1]
    if twice := sorted({name for name in header if name and header.count(name) > 1}):
        raise UsageError(f"{source} has the column {quoted(twice[0])} twice")
    skipped = cut = 0
    for fields in parsed:
        if not fields and len(header) == 1:
            yield reader.line_num, {header[0]: ""}
        elif not fields:
            skipped += 1
        elif task == "qqp" and "is_duplicate" in header and len(fields) < len(header):
            cut += 1  # one of the few damaged rows of GLUE's own files
        elif len(fields) != len(header):
            counts = f"line {reader.line_num} has {len(fields)} fields, the header {len(header)}"
            raise UsageError(f"{source}: {counts}{separator_hint(header, file_format)}")
        elif filled := [fields[i] for i in unnamed if fields[i].strip()]:
            flaw = f"{quoted(filled[0])} in a column without a name; name the column in the header"
            raise UsageError(f"{source}: line {reader.line_num} has {flaw}")
        else:
            yield reader.line_num, {name: field for name, field in zip(header, fields) if name or not unnamed}
    _note_skipped(skipped, source)
    if cut:
        print(f"note: {source}: {cut} rows with too few fields are left out, as in the hub's QQP")


def separator_hint(columns: Iterable[str], file_format: str) -> str:
    """Return advice to append to a message about the columns of a CSV or TSV file, if a name holds a mark that may
    separate columns. A comma is one in TSV alone. Other formats have no separator to name."""
    marks = {"csv": ";|", "tsv": ";|,"}.get(file_format, "")
    mark = next((mark for mark in marks if any(mark in name for name in columns)), None)
    return f"; if {mark} separates the columns, write sep={mark} as the first line of a .csv file" if mark else ""


def without_quoted(line: str) -> str:
    """Return a line of a CSV file without its quoted parts. A quote that remains was not closed."""
    return re.sub('"[^"]*"', "", line)


def delimiter_in(header: str) -> str:
    """Return the separator of a CSV file: a comma, unless its header has no comma but semicolons or tabs."""
    return next((mark for mark in ",;\t" if mark in without_quoted(header)), ",")


def _delimiter_of(lines: Iterable[str], source: str, given: Optional[str]) -> tuple[str, Iterable[str]]:
    """Return the separator, and all lines. A note names a separator that is neither a comma nor ``given``.

    The header is read ahead to find it, and may have line ends in quotes. A first line such as ``sep=;``, by which
    Excel gives the separator, becomes a blank one.
    """
    lines, head, header = iter(lines), [], ""
    for line in lines:
        if not header.strip() and (found := SEP_LINE.fullmatch(line)):
            if given is None:
                print(f"note: {source}: {quoted(found[1])} separates the columns, as its first line says")
            return given or found[1], itertools.chain(head, ["\n"], lines)
        head.append(line)
        header += line
        is_open = _OPEN_QUOTE.search(without_quoted(header)) and len(header) < _LONGEST_HEADER
        if header.strip() and not is_open:
            break
    delimiter, bare = given or delimiter_in(header), without_quoted(header)
    if given is None and delimiter != ",":
        read = f"{_SEPARATORS[delimiter]} are read as the separator of columns"
        print(f"note: {source}: its header has no comma; {read}")
    elif given is None and (semicolons := bare.count(";")) > bare.count(","):
        advice = "if semicolons separate the columns, write sep=; as the first line"
        print(f"note: {source}: its header has {semicolons} semicolons, but commas separate the columns; {advice}")
    return delimiter, itertools.chain(head, lines)


def _parsed_rows(reader: Any, source: str) -> Iterator[list[str]]:
    """Yield the rows of a ``csv.reader``; raise UsageError naming the line at which a bad row begins."""
    last = 0
    try:
        for fields in reader:
            last = reader.line_num
            yield fields
    except csv.Error as error:  # an open quote includes every line below it
        raise UsageError(f"{source} cannot be parsed: {error}, in the row that begins at line {last + 1}") from None


def tsv_rows(lines: Iterable[str], source: str, task: str = "") -> Iterator[tuple[int, dict[str, str]]]:
    """Yield rows as :func:`csv_rows` does, and take quotes as part of the text."""
    return csv_rows(lines, source, task, "\t", quotes=False)


def json_rows(lines: Iterable[str], source: str) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield each object with its line number. Blank lines are left out, with a note unless they end the file."""
    skipped = 0
    for number, line in enumerate(without_blank_end(lines), 1):
        if line.strip():
            yield number, _object(_parsed(line.strip(), source, number), source, f"line {number}")
        else:
            skipped += 1
    _note_skipped(skipped, source)


def _parsed(text: str, source: str, line: int = 1, advice: str = _ONE_A_LINE) -> Any:
    """Return the value of a JSON text that begins on ``line``."""
    try:
        return json.loads(text, object_pairs_hook=_Object)
    except (ValueError, RecursionError) as error:
        line, flaw = line + getattr(error, "lineno", 1) - 1, getattr(error, "msg", error)
        raise UsageError(f"{source}: line {line} cannot be parsed: {flaw}; {advice}") from None


class _Object(dict):
    """A JSON object. ``twice`` is its first repeated key, of which Python takes the last value, or None."""

    def __init__(self, pairs: list[tuple[str, Any]]) -> None:
        super().__init__(pairs)
        counts = Counter(name for name, _ in pairs) if len(self) < len(pairs) else {}
        self.twice = next((name for name, count in counts.items() if count > 1), None)


def _object(row: Any, source: str, where: str, advice: str = _ONE_A_LINE) -> dict[str, Any]:
    """Return the row; refuse one that is no object, or has a key twice. Objects within it cannot be used."""
    if not isinstance(row, _Object):
        raise UsageError(f"{source}: {where} is no object; {advice}")
    if row.twice is not None:
        raise UsageError(f"{source}: {where} has the key {quoted(row.twice)} twice; leave one out")
    return row


def _note_skipped(lines: int, source: str) -> None:
    if lines:
        print(f"note: {source}: {lines} blank lines between the rows are left out")
