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
    from collections.abc import Iterator, Sequence

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

USUAL_DELIMITERS = (",", ";", "\t", "|")
DELIMITERS = (*USUAL_DELIMITERS, " ", "a", "é")
ENCODINGS = (
    Encoding("utf-8", "utf-8", "utf-8-sig", texts=_LETTERS + "🦆"),
    Encoding("utf-8", "utf-8", "utf-8-sig", b"\xef\xbb\xbf", _LETTERS + "🦆"),
    Encoding("utf-16", "utf-16-le", "utf-16", b"\xff\xfe", _LETTERS),
    Encoding("utf-16", "utf-16-le", "utf-16", texts=_LETTERS),
    Encoding("latin-1", "latin-1", "latin-1"),
)
OTHER_ENCODINGS = (
    Encoding("windows-1252", "cp1252", "cp1252", texts="é€ß"),
    Encoding("shift_jis", "shift_jis", "shift_jis", texts="日本ｱ表"),  # 表 has a byte of \\
    Encoding("gbk", "gbk", "gbk", texts="中文誠"),  # the last has a byte of |
    Encoding("utf-16", "utf-16-be", "utf-16", b"\xfe\xff", _LETTERS),
    Encoding("utf-32", "utf-32-le", "utf-32", b"\xff\xfe\0\0", _LETTERS),
)
"""Encodings that only a copy in UTF-8 makes readable."""
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
    quote: str = '"'  # empty: quotes are text
    escape: str = ""
    comment: str = ""
    skip: int = 0
    more_nulls: tuple[str, ...] = ()
    empty_as_null: bool = False
    decimal: str = "."
    thousands: str = ""
    names_delimiter: bool = True

    @property
    def nulls(self) -> tuple[str, ...]:
        """The unquoted fields that are NULL."""
        return (self.null, *self.more_nulls)

    @property
    def options(self) -> dict[str, Any]:
        """Return the keys of the source in the project file."""
        options = {
            "delimiter": self.delimiter,
            "encoding": self.encoding.option,
            "null": self.nulls,
            "header": self.header,
            "quote": self.quote or "none",
            "escape": self.escape,
            "comment": self.comment,
            "skip": self.skip,
            "empty_as_null": self.empty_as_null,
            "decimal": self.decimal,
            "thousands": self.thousands,
        }
        if not self.names_delimiter:
            del options["delimiter"]
        return options


class UnreadableError(Exception):
    """The strict reader refuses a file."""


@dataclass(frozen=True, slots=True)
class Table:
    """The names of a file's columns, and its rows as texts."""

    names: tuple[str, ...]
    rows: list[tuple[Text, ...]]


def write_csv(table: Table, dialect: Dialect, more_lines: Sequence[str] = ()) -> bytes:
    """Return the content of a file, before it is compressed.

    `more_lines` stand above the header, as many as are skipped; the others are comments.
    """
    records = [[_field(text, dialect, len(row)) for text in row] for row in table.rows]
    if dialect.header:
        names = table.names
        header = [
            _quoted_if_needed(name, dialect) if name else _quoted(name, dialect) for name in names
        ]
        records.insert(0, header)
    lines = [dialect.delimiter.join(fields) for fields in records]
    if dialect.comment:
        for number, line in enumerate(more_lines[dialect.skip :]):
            lines.insert(number * 2 % (len(lines) + 1), dialect.comment + line)
    text = dialect.end.join(lines)
    if records and (dialect.ends_last_line or text.endswith(("\r", "\n")) or not records[-1][-1]):
        text += dialect.end
    skipped = "".join(line + dialect.end for line in more_lines[: dialect.skip])
    mark = dialect.encoding.mark if text or skipped else b""
    return mark + (skipped + text).encode(dialect.encoding.writes)


def _field(text: Text, dialect: Dialect, width: int) -> str:
    if text is None:
        return dialect.null
    if text in dialect.nulls or (width == 1 and not text):
        return _quoted(text, dialect)
    return _quoted_if_needed(text, dialect)


def _quoted_if_needed(text: str, dialect: Dialect) -> str:
    if not dialect.quote:
        return _without_quotes(text, dialect)
    signs = [dialect.delimiter, dialect.quote, "\r", "\n"]
    needs_quotes = any(sign in text for sign in signs) or (
        bool(dialect.comment) and text.startswith(dialect.comment)
    )
    return _quoted(text, dialect) if dialect.quotes_all or needs_quotes else text


def _quoted(text: str, dialect: Dialect) -> str:
    quote, escape = dialect.quote, dialect.escape
    if not quote:
        return _without_quotes(text, dialect)
    if not escape:
        return quote + text.replace(quote, quote * 2) + quote
    return quote + text.replace(escape, escape * 2).replace(quote, escape + quote) + quote


def _without_quotes(text: str, dialect: Dialect) -> str:
    """Return a field of a dialect without quotes; what it cannot say is another sign."""
    for sign in (dialect.delimiter, "\r", "\n"):
        text = text.replace(sign, "_")
    if dialect.comment and text.startswith(dialect.comment):
        text = "_" + text
    text = text or "_"
    return text.replace(dialect.escape, dialect.escape * 2) if dialect.escape else text


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
    """Return a file's table by RFC 4180 and the options; None for a file without text.

    An empty line is no record, but in a file of one column, where it is an empty field. Any other
    width than the header's is refused.
    """
    try:
        text = content.decode(dialect.encoding.reads)
    except UnicodeError as error:
        raise UnreadableError(str(error)) from error
    for _ in range(dialect.skip):
        text = re.sub(r"^[^\r\n]*(\r\n|\r|\n|$)", "", text, count=1)
    if not text:
        return None
    is_known_to_python = not dialect.escape and not dialect.comment
    try:
        records = list(_records(text, dialect))
    except UnreadableError:
        if is_known_to_python:
            _require_same(text, dialect, None)
        raise
    if is_known_to_python:
        _require_same(text, dialect, records)
    if not records:
        return None
    first = records[0]
    if not first:
        raise UnreadableError("line 1 is empty")
    width = len(first)
    names = _distinct(
        [
            (_name(text, dialect) if dialect.header else "") or f"column_{number}"
            for number, (text, _) in enumerate(first, 1)
        ]
    )
    rows = []
    for record in records[dialect.header :]:
        fields = record or ([("", False)] if width == 1 else [])
        if not fields:
            continue
        if len(fields) != width:
            raise UnreadableError(f"{len(fields)} fields")
        rows.append(tuple(_value(text, quoted, dialect) for text, quoted in fields))
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


def _name(text: str, dialect: Dialect) -> str:
    return text if dialect.quote else _unescaped(text, dialect)


def _value(text: str, quoted: bool, dialect: Dialect) -> Text:
    if quoted:
        return None if dialect.empty_as_null and not text else text
    is_null = text in dialect.nulls or (dialect.empty_as_null and not text)
    return None if is_null else text if dialect.quote else _unescaped(text, dialect)


def _records(text: str, dialect: Dialect) -> Iterator[list[tuple[str, bool]]]:
    """Yield the fields of each record, each with whether it was quoted; none of an empty line."""
    delimiter, quote = dialect.delimiter, dialect.quote
    sign = re.escape(dialect.escape)
    escaped = rf"{sign}(?:\r\n|.)|" if sign and not quote else ""
    bare_field = re.compile(f"(?:{escaped}[^{re.escape(delimiter)}\r\n])*+", re.DOTALL)
    line = re.compile(r"[^\r\n]*(\r\n|\r|\n|$)")
    record: list[tuple[str, bool]] = []
    at = 0
    while at <= len(text):
        if dialect.comment and not record and text.startswith(dialect.comment, at):
            at = line.match(text, at).end()
            if at == len(text):
                return
            continue
        quoted = bool(quote) and text.startswith(quote, at)
        if quoted:
            value, end = _quoted_field(text, at + 1, dialect)
            if end < len(text) and text[end] not in (delimiter, "\r", "\n"):
                raise UnreadableError("text behind a closing quote")
        else:
            value = bare_field.match(text, at)[0]
            end = at + len(value)
            if dialect.escape and quote and dialect.escape + quote in value:
                raise UnreadableError("an escape outside of quotes")
        record.append((value, quoted))
        at = end + 1
        if text.startswith(delimiter, end):
            continue
        yield [] if record == [("", False)] else record
        record = []
        at += text.startswith("\r\n", end)
        if at == len(text):
            return


def _quoted_field(text: str, at: int, dialect: Dialect) -> tuple[str, int]:
    """Return a field in quotes without its escapes, and the place behind the closing quote."""
    quote, escape = dialect.quote, dialect.escape or dialect.quote
    parts = []
    while at < len(text):
        if text[at] == escape and text[at + 1 : at + 2] in {escape, quote} - {""}:
            parts.append(text[at + 1])
            at += 2
        elif text[at] == quote:
            return "".join(parts), at + 1
        elif text[at] == escape:
            raise UnreadableError("an unknown escape")
        else:
            parts.append(text[at])
            at += 1
    raise UnreadableError("a quote is not closed")


def _unescaped(text: str, dialect: Dialect) -> str:
    """Return a field of a dialect without quotes, without its escapes."""
    escape = dialect.escape
    if not escape:
        return text
    known = "".join(map(re.escape, (escape, dialect.delimiter, "\r", "\n", '"')))
    if not re.fullmatch(f"(?:[^{re.escape(escape)}]|{re.escape(escape)}[{known}])*+", text):
        raise UnreadableError("an unknown escape")
    return re.sub(f"{re.escape(escape)}(.)", r"\1", text, flags=re.DOTALL)


def _require_same(
    text: str, dialect: Dialect, records: list[list[tuple[str, bool]]] | None
) -> None:
    """Fail if Python's csv reads other texts; `records` is None if it must refuse them."""
    delimiter, quote = dialect.delimiter, dialect.quote
    lines = io.StringIO(text, newline="")
    signs = {"quotechar": quote} if quote else {"quoting": csv.QUOTE_NONE}
    reader = csv.reader(lines, delimiter=delimiter, strict=True, **signs)
    try:
        expected = list(reader)
    except csv.Error:
        assert records is None, text
    else:
        assert records is not None, text
        assert [[value for value, _ in record] for record in records] == expected, text
