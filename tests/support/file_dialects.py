"""The dialects of CSV that are tolerated, a writer for each, and a strict reader without DuckDB.

A new option of the source is one more value of an axis below (or one more axis of `Dialect`), what
`write_csv` writes for it, and what `read_csv` makes of it.
"""

from __future__ import annotations

import csv
import gzip
import io
import re
import sys
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pyarrow as pa

if TYPE_CHECKING:
    from collections.abc import Iterator

csv.field_size_limit(sys.maxsize)

Text = str | None  # None is NULL


@dataclass(frozen=True, slots=True)
class Encoding:
    """An encoding of the source, as Python writes and reads it. `texts` are some of its letters."""

    option: str
    writes: str
    reads: str
    mark: bytes = b""
    texts: str = "é ü\u00a0ß"


_LETTERS = "é ü\u00a0ß€日本\u2028\u0301\ufeff\u0085"

DELIMITERS = (",", ";", "\t", "|", " ", "a", "é")
ENCODINGS = (
    Encoding("utf-8", "utf-8", "utf-8-sig", texts=_LETTERS + "🦆"),
    Encoding("utf-8", "utf-8", "utf-8-sig", b"\xef\xbb\xbf", _LETTERS + "🦆"),
    Encoding("utf-16", "utf-16-le", "utf-16", b"\xff\xfe", _LETTERS),
    Encoding("utf-16", "utf-16-le", "utf-16", texts=_LETTERS),
    Encoding("latin-1", "latin-1", "latin-1"),
)
NULLS = ("", "NULL", r"\N", "-", "1")
LINE_ENDS = ("\n", "\r\n", "\r")
COMPRESSIONS = ("", ".gz", ".zst")


@dataclass(frozen=True, slots=True)
class Dialect:
    """One dialect: what the source's options say of it, and what files may do as they like."""

    delimiter: str
    encoding: Encoding
    null: str
    header: bool
    end: str
    ends_last_line: bool
    quotes_all: bool
    compression: str
    quote: str = '"'

    @property
    def options(self) -> dict[str, Any]:
        """Return the keys of the source in the project file."""
        return {
            "delimiter": self.delimiter,
            "encoding": self.encoding.option,
            "null": self.null,
            "header": self.header,
            "quote": self.quote,
        }


class UnreadableError(Exception):
    """The strict reader refuses a file."""


@dataclass(frozen=True, slots=True)
class Table:
    """The names of a file's columns, and its rows as texts."""

    names: tuple[str, ...]
    rows: list[tuple[Text, ...]]


def write_csv(table: Table, dialect: Dialect) -> bytes:
    """Return the content of a file, before it is compressed."""
    records = [[_field(text, dialect, len(row)) for text in row] for row in table.rows]
    if dialect.header:
        names = table.names
        header = [
            _quoted_if_needed(name, dialect) if name else _quoted(name, dialect.quote)
            for name in names
        ]
        records.insert(0, header)
    text = dialect.end.join(dialect.delimiter.join(fields) for fields in records)
    if records and (dialect.ends_last_line or text.endswith(("\r", "\n")) or not records[-1][-1]):
        text += dialect.end
    mark = dialect.encoding.mark if records else b""
    return mark + text.encode(dialect.encoding.writes)


def _field(text: Text, dialect: Dialect, width: int) -> str:
    if text is None:
        return dialect.null
    if text == dialect.null or (width == 1 and not text):
        return _quoted(text, dialect.quote)
    return _quoted_if_needed(text, dialect)


def _quoted_if_needed(text: str, dialect: Dialect) -> str:
    needs_quotes = any(sign in text for sign in (dialect.delimiter, dialect.quote, "\r", "\n"))
    return _quoted(text, dialect.quote) if dialect.quotes_all or needs_quotes else text


def _quoted(text: str, quote: str) -> str:
    return quote + text.replace(quote, quote * 2) + quote


def compress(content: bytes, compression: str, *, parts: int = 1) -> bytes:
    """Return the content of a file; `parts` are compressed alone and put one behind another."""
    size = -(-len(content) // parts) or 1
    pieces = [content[at : at + size] for at in range(0, len(content) or 1, size)]
    if compression == ".gz":
        return b"".join(gzip.compress(piece, 1, mtime=0) for piece in pieces)
    if compression == ".zst":
        return b"".join(_zstd(piece) for piece in pieces)
    return content


def _zstd(content: bytes) -> bytes:
    output = pa.BufferOutputStream()
    with pa.CompressedOutputStream(output, "zstd") as stream:
        stream.write(content)
    return bytes(output.getvalue().to_pybytes())


def decompress(packed: bytes, compression: str) -> bytes:
    """Return what is in a compressed file; raise UnreadableError if it is not whole."""
    try:
        if compression == ".gz":
            if not packed:
                raise UnreadableError("nothing in it")
            return gzip.decompress(packed)
        if compression == ".zst":
            if not packed:
                raise UnreadableError("nothing in it")
            with pa.CompressedInputStream(pa.BufferReader(packed), "zstd") as stream:
                return bytes(stream.read())
    except (EOFError, OSError, zlib.error) as error:
        raise UnreadableError(str(error)) from error
    return packed


def read_csv(content: bytes, dialect: Dialect) -> Table | None:
    """Return a file's table by RFC 4180; None for a file without text.

    An empty line is no record, but in a file of one column, where it is an empty field. Any other
    width than the header's is refused.
    """
    try:
        text = content.decode(dialect.encoding.reads)
    except UnicodeError as error:
        raise UnreadableError(str(error)) from error
    if not text:
        return None
    try:
        records = list(_records(text, dialect))
    except UnreadableError:
        _require_same(text, dialect, None)
        raise
    _require_same(text, dialect, records)
    first = records[0]
    if not first:
        raise UnreadableError("line 1 is empty")
    width = len(first)
    names = _distinct(
        [
            (name if dialect.header else "") or f"column_{number}"
            for number, (name, _) in enumerate(first, 1)
        ]
    )
    rows = []
    for record in records[dialect.header :]:
        fields = record or ([("", False)] if width == 1 else [])
        if not fields:
            continue
        if len(fields) != width:
            raise UnreadableError(f"{len(fields)} fields")
        rows.append(tuple(_value(text, quoted, dialect.null) for text, quoted in fields))
    return Table(names, rows)


def folded_ascii(name: str) -> bytes:
    """Return a name as the lake compares it: the case of ASCII letters does not count."""
    return name.encode().lower()


def _distinct(names: list[str]) -> tuple[str, ...]:
    """Return the names, each one that is there again with the first number that is free."""
    taken = set(map(folded_ascii, names))
    distinct: list[str] = []
    for position, name in enumerate(names):
        own = name
        if folded_ascii(name) in map(folded_ascii, names[:position]):
            number = 2
            while folded_ascii(f"{name}_{number}") in taken:
                number += 1
            own = f"{name}_{number}"
            taken.add(folded_ascii(own))
        distinct.append(own)
    return tuple(distinct)


def _value(text: str, quoted: bool, null: str) -> Text:
    return None if text == null and not quoted else text


def _records(text: str, dialect: Dialect) -> Iterator[list[tuple[str, bool]]]:
    """Yield the fields of each record, each with whether it was quoted; none of an empty line."""
    delimiter, quote = dialect.delimiter, dialect.quote
    bare_field = re.compile(f"[^{re.escape(delimiter)}\r\n]*")
    record: list[tuple[str, bool]] = []
    at = 0
    while at <= len(text):
        quoted = text.startswith(quote, at)
        if quoted:
            value, end = _quoted_field(text, at + 1, quote)
            if end < len(text) and text[end] not in (delimiter, "\r", "\n"):
                raise UnreadableError("text behind a closing quote")
        else:
            value = bare_field.match(text, at)[0]
            end = at + len(value)
        record.append((value, quoted))
        at = end + 1
        if text.startswith(delimiter, end):
            continue
        yield [] if record == [("", False)] else record
        record = []
        at += text.startswith("\r\n", end)
        if at == len(text):
            return


def _quoted_field(text: str, at: int, quote: str) -> tuple[str, int]:
    parts = []
    while True:
        end = text.find(quote, at)
        if end < 0:
            raise UnreadableError("a quote is not closed")
        parts.append(text[at:end])
        at = end + 1
        if not text.startswith(quote, at):
            return quote.join(parts), at
        at += 1


def _require_same(
    text: str, dialect: Dialect, records: list[list[tuple[str, bool]]] | None
) -> None:
    """Fail if Python's csv reads other texts; `records` is None if it must refuse them."""
    delimiter, quote = dialect.delimiter, dialect.quote
    lines = io.StringIO(text, newline="")
    reader = csv.reader(lines, delimiter=delimiter, quotechar=quote, strict=True)
    try:
        expected = list(reader)
    except csv.Error:
        assert records is None, text
    else:
        assert records is not None, text
        assert [[value for value, _ in record] for record in records] == expected, text
