"""CSV and TSV: the header read as text, every value as text, the types from all the values."""

from __future__ import annotations

import codecs
import csv
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

from cdpsync.errors import ReadError
from cdpsync_connectors._shared.exact_sql import quote_files, quote_name, quote_text, text_class
from cdpsync_connectors.files.schema import FileSchema, Layout, infer_types

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from duckdb import DuckDBPyConnection

    from cdpsync_connectors.files.discover import File

_LONGEST_HEADER = 1 << 16  # lines

# Nothing is left to detection: a guess made from a sample may be wrong for the rest of a file.
_READ = """read_csv({files}, auto_detect = false, strict_mode = true, hive_partitioning = false,
    header = {header}, delim = {delimiter}, quote = '"', escape = '"', nullstr = {null},
    allow_quoted_nulls = false, encoding = {encoding}, max_line_size = 16777216,
    buffer_size = 33554432, columns = {{{columns}}})"""

# One column per line: a separator that no text has, and no quotes.
_LINES = """
    select line from read_csv({files}, auto_detect = false, hive_partitioning = false,
        header = false, delim = '\x01\x02\x03\x04', quote = '', escape = '',
        encoding = {encoding}, columns = {{'line': 'VARCHAR'}})
    limit {count}
"""


@dataclass(frozen=True, slots=True)
class Dialect:
    """How a stream's text files are written."""

    delimiter: str
    header: bool
    encoding: str
    null: str


def shape(con: DuckDBPyConnection, files: Sequence[File], dialect: Dialect) -> FileSchema:
    """Return the columns of all the files, by name, each with the type that fits every value."""
    layouts = tuple(_layout(con, file, dialect) for file in files)
    names = list(dict.fromkeys(name for layout in layouts for name, _ in layout.columns))
    held = [layout for layout in layouts if layout.columns]
    if not held:
        return FileSchema({}, layouts)
    rows = " union all ".join(
        f"select {_values(names, {name for name, _ in part[0].columns})} "
        f"from ({rows_of(part, dialect)})"
        for part in alike(held)
    )
    texts = [f"v{number}" for number in range(len(names))]
    types = infer_types(con, [(text_class(text), text) for text in texts], rows, "VARCHAR")
    return FileSchema(dict(zip(names, types, strict=True)), layouts)


def _values(names: Sequence[str], there: set[str]) -> str:
    return ", ".join(
        f"{quote_name(name) if name in there else 'cast(null as varchar)'} as v{number}"
        for number, name in enumerate(names)
    )


def alike(layouts: Sequence[Layout]) -> Iterator[list[Layout]]:
    """Give neighbouring files of the same columns together: one reader can read them."""
    for _, group in groupby(layouts, lambda layout: layout.columns):
        yield list(group)


def rows_of(layouts: Sequence[Layout], dialect: Dialect) -> str:
    """Return the SELECT of every row, as text, of files that have the same columns."""
    names = [name for name, _ in layouts[0].columns]
    columns = ", ".join(f"'c{number}': 'VARCHAR'" for number in range(len(names)))
    read = _READ.format(
        files=quote_files([layout.file.path for layout in layouts]),
        header=str(dialect.header).lower(),
        delimiter=quote_text(dialect.delimiter),
        null=quote_text(dialect.null),
        encoding=quote_text(dialect.encoding),
        columns=columns,
    )
    named = ", ".join(f"c{number} as {quote_name(name)}" for number, name in enumerate(names))
    return f"select {named} from {read}"


def _layout(con: DuckDBPyConnection, file: File, dialect: Dialect) -> Layout:
    first = _first_record(con, file, dialect)
    if first is None:
        return Layout(file)
    names = [
        (name if dialect.header else "") or f"column_{number}"
        for number, name in enumerate(first, start=1)
    ]
    if dialect.header and any("\n" in name for name in names) and not _starts_plainly(file):
        raise ReadError(
            f"{file.path}, line 1: a column's name has a line end in it, behind a byte order mark. "
            "Save the file without the mark, or the name on one line."
        )
    seen: dict[str, str] = {}
    for name in names:
        other = seen.setdefault(name.lower(), name)
        if other is not name:
            raise ReadError(
                f'{file.path}, line 1: the header has "{other}" and "{name}", which are one name '
                "in the lake. Rename one of them."
            )
    return Layout(file, tuple((name, "VARCHAR") for name in names))


def _starts_plainly(file: File) -> bool:
    """Whether a file surely has no byte order mark.

    Behind one, DuckDB 1.5.5 takes the second line of a header for a row.
    """
    if file.path.lower().endswith((".gz", ".zst")):
        return False
    with Path(file.path).open("rb") as content:
        return content.read(3) != codecs.BOM_UTF8


def _first_record(con: DuckDBPyConnection, file: File, dialect: Dialect) -> list[str] | None:
    """Return the fields of the first record, or None for a file without a byte of text.

    Quoted fields may hold line ends, so twice as many lines are taken until the record ends.
    """
    count = 1
    while True:
        lines = _lines(con, file, dialect, count)
        if not lines:
            return None
        if not lines[0]:
            raise ReadError(f"{file.path}, line 1: is empty. Remove the lines above the header.")
        fields = _parsed(lines, dialect)
        if fields is not None:
            return fields
        if len(lines) < count or count > _LONGEST_HEADER:
            raise ReadError(f"{file.path}, line 1: a quote is not closed. Mend the header.")
        count *= 2


def _lines(con: DuckDBPyConnection, file: File, dialect: Dialect, count: int) -> list[str]:
    statement = _LINES.format(
        files=quote_files([file.path]), encoding=quote_text(dialect.encoding), count=count
    )
    return [line or "" for (line,) in con.execute(statement).fetchall()]


def _parsed(lines: Sequence[str], dialect: Dialect) -> list[str] | None:
    """Return the fields of the first record in these lines, or None when it goes on."""
    ended = (f"{line}\n" for line in lines)
    try:
        return next(csv.reader(ended, delimiter=dialect.delimiter, strict=True))
    except csv.Error:
        return None
