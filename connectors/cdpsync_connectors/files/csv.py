"""CSV and TSV: header and values are read as text; the types come from all values."""

from __future__ import annotations

import codecs
import contextlib
import csv
import gzip
import secrets
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from cdpsync.errors import ReadError
from cdpsync.sql import fold_name, quote_name, quote_text
from cdpsync_connectors._shared.exact_sql import quote_files, text_class
from cdpsync_connectors.files.schema import FileSchema, Layout, TextFormat, infer_types

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from duckdb import DuckDBPyConnection

    from cdpsync_connectors.files.discover import File

_LONGEST_HEADER = 1 << 16  # lines

# DuckDB detects nothing, because a guess from a sample may be wrong for the rest of a file.
_READ = """read_csv({files}, auto_detect = false, strict_mode = true, hive_partitioning = false,
    header = {header}, delim = {delimiter}, quote = '"', escape = '"', nullstr = {null},
    allow_quoted_nulls = false, encoding = {encoding}, max_line_size = 16777216,
    buffer_size = 33554432, columns = {{{columns}}}{more_options})"""

# Each line as one column: without quotes, and with a separator that no text has. A quoted cell may
# have other line ends than the records (Excel writes LF in a file of CR LF), which is not strict.
_LINES = """
    select line from read_csv({files}, auto_detect = false, hive_partitioning = false,
        header = false, delim = '\x01\x02\x03\x04', quote = '', escape = '', strict_mode = {strict},
        encoding = {encoding}, max_line_size = 16777216, buffer_size = 33554432,
        columns = {{'line': 'VARCHAR'}})
    limit {count}
"""

_TEXTS = TextFormat(text_class, lambda text: text, "VARCHAR")


_PADDED = ", null_padding = true, parallel = false, filename = true"


@dataclass(frozen=True, slots=True)
class Dialect:
    """The format of a stream's text files: separator, header, encoding, and the text of NULL."""

    delimiter: str
    header: bool
    encoding: str
    null: str


def read_schema(con: DuckDBPyConnection, files: Sequence[File], dialect: Dialect) -> FileSchema:
    """Return the columns of all files, by name, each with the type that fits every value."""
    layouts = tuple(_layout(con, file, dialect) for file in files)
    names = list(dict.fromkeys(name for layout in layouts for name, _ in layout.columns))
    not_empty = [layout for layout in layouts if layout.columns]
    if not not_empty:
        return FileSchema({}, layouts)
    rows = " union all ".join(
        f"select {_values(names, {name for name, _ in group[0].columns})} "
        f"from ({select_rows(group, dialect)})"
        for group in group_by_columns(not_empty)
    )
    texts = [f"v{number}" for number in range(len(names))]
    types = infer_types(con, texts, _TEXTS, rows)
    for group in group_by_columns(not_empty):
        _require_width(con, group, dialect)
    return FileSchema(dict(zip(names, types, strict=True)), layouts)


def _values(names: Sequence[str], own_names: set[str]) -> str:
    return ", ".join(
        f"{quote_name(name) if name in own_names else 'cast(null as varchar)'} as v{number}"
        for number, name in enumerate(names)
    )


def group_by_columns(layouts: Sequence[Layout]) -> Iterator[list[Layout]]:
    """Return neighbouring files of the same columns as groups, because one reader reads each."""
    for _, group in groupby(layouts, lambda layout: layout.columns):
        yield list(group)


def select_rows(layouts: Sequence[Layout], dialect: Dialect) -> str:
    """Return the SELECT of all rows, as texts, of files that have the same columns."""
    names = [name for name, _ in layouts[0].columns]
    named = ", ".join(f"c{number} as {quote_name(name)}" for number, name in enumerate(names))
    return f"select {named} from {_read(layouts, dialect, len(names), dialect.null)}"


def _read(
    layouts: Sequence[Layout], dialect: Dialect, width: int, null: str, more_options: str = ""
) -> str:
    return _READ.format(
        files=quote_files([layout.file.path for layout in layouts]),
        header=str(dialect.header).lower(),
        delimiter=quote_text(dialect.delimiter),
        null=quote_text(null),
        encoding=quote_text(dialect.encoding),
        columns=", ".join(f"'c{number}': 'VARCHAR'" for number in range(width)),
        more_options=more_options,
    )


def _require_width(con: DuckDBPyConnection, layouts: Sequence[Layout], dialect: Dialect) -> None:
    """Raise ReadError, with the line, for a record with more fields than its file has columns.

    DuckDB 1.5.5 drops empty fields behind the last column. So the files are read with one column
    more: it is NULL only where a record has no such field, because no text is NULL in this read.
    """
    width = len(layouts[0].columns)
    no_text = secrets.token_hex(16).replace(dialect.delimiter, "")
    read = _read(layouts, dialect, width + 1, no_text, _PADDED)
    row = con.execute(f"select filename from {read} where c{width} is not null limit 1").fetchone()
    if row:
        path = str(row[0])
        line, fields = _first_wide_record(path, dialect, width)
        raise ReadError(
            f"{path}, {line}: {fields} fields where there should be {width}; the last ones are "
            "empty. Nothing of the stream was kept; fix the line, or the header."
        )


def _first_wide_record(path: str, dialect: Dialect, width: int) -> tuple[str, str]:
    """Return line and number of fields of the first record with more fields than columns."""
    with contextlib.suppress(csv.Error, UnicodeError, OSError):
        lines: TextIO
        if path.lower().endswith(".gz"):
            lines = gzip.open(path, "rt", encoding=dialect.encoding, newline="")  # noqa: SIM115
        else:
            lines = Path(path).open(encoding=dialect.encoding, newline="")  # noqa: SIM115
        with lines:
            records = csv.reader(lines, delimiter=dialect.delimiter)
            for record in records:
                if len(record) > width:
                    return f"line {records.line_num}", str(len(record))
    return "a record", f"{width + 1} or more"  # zstd, or a field too long for Python


def _layout(con: DuckDBPyConnection, file: File, dialect: Dialect) -> Layout:
    fields = _first_record(con, file, dialect)
    if fields is None:
        return Layout(file)
    names = [
        (name if dialect.header else "") or f"column_{number}"
        for number, name in enumerate(fields, start=1)
    ]
    if dialect.header and any("\n" in name for name in names) and _may_have_mark(file):
        raise ReadError(
            f"{file.path}, line 1: a column's name has a line end in it, behind a byte order mark. "
            "Save the file without the mark, or the name on one line."
        )
    names_by_lower: dict[str, str] = {}
    for name in names:
        namesake = names_by_lower.setdefault(fold_name(name), name)
        if namesake is not name:
            raise ReadError(
                f'{file.path}, line 1: the header has "{namesake}" and "{name}", which are one '
                "name in the lake. Rename one of them."
            )
    return Layout(file, tuple((name, "VARCHAR") for name in names))


def _may_have_mark(file: File) -> bool:
    """Whether a file may begin with a byte order mark; a compressed file is not looked into.

    After a mark, DuckDB 1.5.5 reads the second line of a header as a row.
    """
    if file.path.lower().endswith((".gz", ".zst")):
        return True
    with Path(file.path).open("rb") as content:
        return content.read(3) == codecs.BOM_UTF8


def _first_record(con: DuckDBPyConnection, file: File, dialect: Dialect) -> list[str] | None:
    """Return the fields of the first record; None for a file without text.

    A quoted field may contain line ends. So the number of lines is doubled until the record ends.
    """
    count = 1
    while True:
        lines = _lines(con, file, dialect, count)
        if not lines:
            return None
        if not lines[0]:
            raise ReadError(f"{file.path}, line 1: is empty. Remove the lines above the header.")
        fields = _parse(lines, dialect)
        if fields is not None:
            if count > 1:  # DuckDB 1.5.5 loses a row behind such a header if line ends are mixed
                _lines(con, file, dialect, count, strict=True)
            return fields
        if len(lines) < count or count > _LONGEST_HEADER:
            raise ReadError(f"{file.path}, line 1: a quote is not closed. Fix the header.")
        count *= 2


def _lines(
    con: DuckDBPyConnection, file: File, dialect: Dialect, count: int, *, strict: bool = False
) -> list[str]:
    statement = _LINES.format(
        files=quote_files([file.path]),
        encoding=quote_text(dialect.encoding),
        count=count,
        strict=str(strict).lower(),
    )
    return [line or "" for (line,) in con.execute(statement).fetchall()]


def _parse(lines: Sequence[str], dialect: Dialect) -> list[str] | None:
    """Return the fields of the first record in these lines; None if it does not end in them."""
    full_lines = (f"{line}\n" for line in lines)
    try:
        return next(csv.reader(full_lines, delimiter=dialect.delimiter, strict=True))
    except csv.Error:
        return None
