"""CSV and TSV: header and values are read as text; the types come from all values."""

from __future__ import annotations

import mmap
import secrets
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

from cdpsync.connector.exact_sql import text_class
from cdpsync.errors import ReadError
from cdpsync.sql import quote_name, quote_text
from cdpsync_connectors.files.content import is_openable, read_text
from cdpsync_connectors.files.csv_header import layout_of
from cdpsync_connectors.files.csv_scan import first_fault
from cdpsync_connectors.files.csv_sql import (
    paths_with_spaces,
    read_fields,
    read_padded_fields,
)
from cdpsync_connectors.files.records import RecordRules, read_records
from cdpsync_connectors.files.schema import LINE, TEXT, FileSchema, Layout, TextFormat, infer_types
from cdpsync_connectors.files.value_formats import standard_text

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from duckdb import DuckDBPyConnection

    from cdpsync_connectors.files.dialect import Dialect
    from cdpsync_connectors.files.discover import File

_TEXTS = TextFormat(text_class, lambda text: text, "VARCHAR")


def read_schema(con: DuckDBPyConnection, files: Sequence[File], dialect: Dialect) -> FileSchema:
    """Return the columns of all files, by name, each with the type that fits every value."""
    layouts = tuple(layout_of(con, file, dialect) for file in files)
    names = list(dict.fromkeys(name for layout in layouts for name, _ in layout.columns))
    not_empty = [layout for layout in layouts if layout.columns]
    if not not_empty:
        return FileSchema({}, layouts)
    rows = " union all ".join(
        f"select {_values(names, {name for name, _ in group[0].columns})} "
        f"from ({select_rows(group, names)})"
        for group in group_by_columns(not_empty)
    )
    texts = [f"v{number}" for number in range(len(names))]
    types = infer_types(con, texts, _TEXTS, rows)
    notices = [notice for layout in layouts for notice in layout.notices]
    for group in group_by_columns(not_empty):
        notices += _check_records(con, group)
        _require_no_empty_lines(group)
        _require_no_spaces(con, group)
    return FileSchema(dict(zip(names, types, strict=True)), layouts, notices=tuple(notices))


def _values(names: Sequence[str], own_names: set[str]) -> str:
    return ", ".join(
        f"{quote_name(name) if name in own_names else 'cast(null as varchar)'} as v{number}"
        for number, name in enumerate(names)
    )


def group_by_columns(layouts: Sequence[Layout]) -> Iterator[list[Layout]]:
    """Return neighbouring files of the same columns as groups, because one reader reads each."""
    for _, group in groupby(
        layouts, lambda layout: (layout.columns, layout.header, layout.dialect, layout.has_origin)
    ):
        yield list(group)


def select_rows(layouts: Sequence[Layout], standard: Collection[str] = ()) -> str:
    """Return the SELECT of all rows, as texts, of files that have the same columns.

    Those of `standard` have their numbers and times in the standard notation.
    """
    names = [name for name, _ in layouts[0].columns]
    dialect = layouts[0].text_dialect
    value = "nullif(c{}, '')" if dialect.empty_as_null else "c{}"
    values = [value.format(number) for number in range(len(names))]
    if not dialect.values.are_standard:
        values = [
            standard_text(text, dialect.values) if name in standard else text
            for text, name in zip(values, names, strict=True)
        ]
    named = ", ".join(
        f"{text} as {quote_name(name)}" for text, name in zip(values, names, strict=True)
    )
    if dialect.has_origin:
        named += f", c{len(names)} as {LINE}, c{len(names) + 1} as {TEXT}"
    width = len(names) + dialect.origin_fields
    return f"select {named} from {read_fields(_paths(layouts), dialect, width)}"


def _paths(layouts: Sequence[Layout]) -> list[str]:
    return [layout.file.path for layout in layouts]


def _check_records(con: DuckDBPyConnection, layouts: Sequence[Layout]) -> Iterator[str]:
    """Raise ReadError, with the line, for a record with more fields than its file has columns.

    DuckDB 1.5.5 drops empty fields behind the last column. So the files are read with one column
    more: it is NULL only where a record has no such field, because no text is NULL in this read.

    Yields a notice if records are the header again, as in files that were written one behind
    another.
    """
    dialect = layouts[0].text_dialect
    width = len(layouts[0].columns) + dialect.origin_fields
    no_text = secrets.token_hex(16).replace(dialect.delimiter, "")
    read = read_padded_fields(_paths(layouts), dialect, width + 1, no_text)
    first_name = quote_text(layouts[0].header[0]) if layouts[0].header else "null"
    (path, maybe_headers) = con.execute(
        f"select any_value(filename) filter (where c{width} is not null), "
        f"count(*) filter (where c0 = {first_name}) from {read}"
    ).fetchall()[0]
    if path is not None:
        fault = is_openable(str(path)) and first_fault(str(path), dialect.delimiter, dialect.quote)
        raise fault or ReadError(
            f"{path}, a record: {width + 1} or more fields where there should be {width}; the last "
            "ones are empty. Nothing of the stream was kept; fix it, or the header."
        )
    if maybe_headers:
        yield from _repeated_headers(con, layouts, read)


def _repeated_headers(
    con: DuckDBPyConnection, layouts: Sequence[Layout], read: str
) -> Iterator[str]:
    is_header = " and ".join(
        f"c{number} = {quote_text(name)}" for number, name in enumerate(layouts[0].header)
    )
    counts = con.execute(
        f"select filename, count(*) from {read} where {is_header} group by filename order by 1"
    ).fetchall()
    for path, count in counts:
        times = "once more" if count == 1 else f"{count} more times"
        yield f"{path}: the header is in the file {times}, and loaded as a row"


def _require_no_empty_lines(layouts: Sequence[Layout]) -> None:
    """Raise ReadError, with the line, for an empty field that DuckDB 1.5.5 drops with its record.

    It does so in a file of one column, if an empty text is not NULL.
    """
    dialect = layouts[0].text_dialect
    width = len(layouts[0].columns) + dialect.origin_fields
    if width > 1 or "" in dialect.nulls:
        return
    rules = RecordRules(dialect.delimiter, dialect.quote)
    for path in filter(is_openable, _paths(layouts)):
        for record in read_records(read_text(path, "utf-8-sig", keeps_bytes=True), rules):
            if record.is_blank:
                raise ReadError(
                    f"{path}, line {record.line}: is empty, which is a text, because null: does "
                    'not have it. Nothing of the stream was kept; set null: ["", …], or write "".'
                )


def _require_no_spaces(con: DuckDBPyConnection, layouts: Sequence[Layout]) -> None:
    """Raise ReadError, with the line, for a space that DuckDB 1.5.5 drops.

    It drops those between a quote and the delimiter (before a quote if it is one), and one behind a
    CR among lines that end in CR LF. By RFC 4180 they are text, and a quote behind text is none.
    """
    dialect = layouts[0].text_dialect
    paths = [path for path in _paths(layouts) if _may_have_spaces(path, dialect)]
    if not paths or dialect.delimiter == " ":
        return
    for path in paths_with_spaces(con, paths, dialect):
        if error := first_fault(path, dialect.delimiter, dialect.quote):
            raise error


def _may_have_spaces(path: str, dialect: Dialect) -> bool:
    """Whether a space stands beside a quote or CR anywhere; a compressed file is not read."""
    if path.lower().endswith((".gz", ".zst")):
        return True
    quote = dialect.quote.encode()
    signs = [b"\r ", *([b" " + quote, quote + b" "] if quote else [])]
    with (
        Path(path).open("rb") as content,
        mmap.mmap(content.fileno(), 0, access=mmap.ACCESS_READ) as text,
    ):
        return any(text.find(sign) >= 0 for sign in signs)
