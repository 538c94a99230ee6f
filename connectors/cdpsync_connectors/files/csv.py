"""CSV and TSV: header and values are read as text; the types come from all values."""

from __future__ import annotations

import codecs
import csv
import mmap
import re
import secrets
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

from cdpsync.errors import ReadError
from cdpsync.sql import fold_name, quote_name, quote_text
from cdpsync_connectors._shared.exact_sql import quote_files, text_class
from cdpsync_connectors.files.compressed import open_content
from cdpsync_connectors.files.csv_scan import SPACE_AT_QUOTE, fault_error, first_record, scan
from cdpsync_connectors.files.schema import FileSchema, Layout, TextFormat, infer_types

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from duckdb import DuckDBPyConnection

    from cdpsync_connectors.files.discover import File

_LONGEST_HEADER = 1 << 16  # lines

# DuckDB detects nothing, because a guess from a sample may be wrong for the rest of a file.
_READ = """read_csv({files}, auto_detect = false, strict_mode = {strict}, hive_partitioning = false,
    header = {header}, delim = {delimiter}{line_end}, quote = '"', escape = '"', nullstr = {null},
    allow_quoted_nulls = false, encoding = {encoding}, max_line_size = 16777216,
    buffer_size = 33554432, columns = {{{columns}}}{more_options})"""

_LINE_ENDS = {
    "": "",
    "\n": r", new_line = '\n'",
    "\r": r", new_line = '\r'",
    "\r\n": r", new_line = '\r\n'",
}

# Each line as one column: without quotes, and with a separator that no text has. A quoted cell may
# have other line ends than the records (Excel writes LF in a file of CR LF), which is not strict.
_LINES = """
    select line from read_csv({files}, auto_detect = false, hive_partitioning = false,
        header = false, delim = '\x01\x02\x03\x04', quote = '', escape = '',
        strict_mode = {strict}{line_end}, encoding = {encoding}, max_line_size = 16777216,
        buffer_size = 33554432,
        columns = {{'line': 'VARCHAR'}})
    limit {count}
"""

_SPACED = """
    select filename from read_csv({files}, auto_detect = false, hive_partitioning = false,
        header = false, delim = '\x01\x02\x03\x04', quote = '', escape = '', strict_mode = false,
        new_line = '\\n', encoding = {encoding}, max_line_size = 16777216, buffer_size = 33554432,
        columns = {{'line': 'VARCHAR'}}, filename = true)
    where starts_with(line, ' ')
        or (contains(line, ' "') or contains(line, '" ')) and regexp_matches(line, {pattern})
    group by filename
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
    _require_one_spelling(layouts)
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
        _require_no_spaces(con, group, dialect)
    return FileSchema(dict(zip(names, types, strict=True)), layouts)


def _values(names: Sequence[str], own_names: set[str]) -> str:
    return ", ".join(
        f"{quote_name(name) if name in own_names else 'cast(null as varchar)'} as v{number}"
        for number, name in enumerate(names)
    )


def group_by_columns(layouts: Sequence[Layout]) -> Iterator[list[Layout]]:
    """Return neighbouring files of the same columns as groups, because one reader reads each."""
    for _, group in groupby(
        layouts, lambda layout: (layout.columns, layout.line_end, layout.header_row)
    ):
        yield list(group)


def select_rows(layouts: Sequence[Layout], dialect: Dialect) -> str:
    """Return the SELECT of all rows, as texts, of files that have the same columns."""
    names = [name for name, _ in layouts[0].columns]
    named = ", ".join(f"c{number} as {quote_name(name)}" for number, name in enumerate(names))
    read = _read(layouts, dialect, len(names), dialect.null)
    header_row = layouts[0].header_row
    return f"select {named} from {read}" + (
        f" where not ({_is_row(header_row)})" * bool(header_row)
    )


def _read(
    layouts: Sequence[Layout], dialect: Dialect, width: int, null: str, more_options: str = ""
) -> str:
    return _READ.format(
        files=quote_files([layout.file.path for layout in layouts]),
        strict=str(not layouts[0].line_end).lower(),
        line_end=_LINE_ENDS[layouts[0].line_end],
        header=str(dialect.header and not layouts[0].header_row).lower(),
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
        raise fault_error(path, scan(path, dialect), "; the last ones are empty") or ReadError(
            f"{path}, a record: {width + 1} or more fields where there should be {width}. Nothing "
            "of the stream was kept; fix it, or the header."
        )


def _require_no_spaces(
    con: DuckDBPyConnection, layouts: Sequence[Layout], dialect: Dialect
) -> None:
    """Raise ReadError, with the line, for a space that DuckDB 1.5.5 drops.

    It drops those between a quote and the separator (before a quote if it is one), and one behind a
    CR among lines that end in CR LF. By RFC 4180 they are text, and a quote behind text is none.
    Lines that may have such a space are found first, also in the middle of quoted text; then the
    file is scanned.
    """
    paths = [layout.file.path for layout in layouts if _may_have_spaces(layout.file, dialect)]
    if not paths or dialect.delimiter == " ":
        return
    sign = re.escape(dialect.delimiter)
    opening = f'(^|{sign}) "([^"]|""|" *({sign}|$))'
    closing = f'((^|[^"])"|(^|{sign})"")("")* +({sign}|$)'
    statement = _SPACED.format(
        files=quote_files(paths),
        encoding=quote_text(dialect.encoding),
        pattern=quote_text(f"{opening}|{closing}"),
    )
    for (path,) in con.execute(statement).fetchall():
        result = scan(path, dialect)
        if result is None:
            raise ReadError(f"{path}, a line: {SPACE_AT_QUOTE}. Remove it.")
        if error := fault_error(path, result):
            raise error


def _may_have_spaces(file: File, dialect: Dialect) -> bool:
    """Whether a space stands beside a quote or CR anywhere; a compressed file is not read."""
    is_plain = not file.path.lower().endswith((".gz", ".zst"))
    if not is_plain or dialect.encoding == "utf-16" or not file.size:
        return True
    with (
        Path(file.path).open("rb") as content,
        mmap.mmap(content.fileno(), 0, access=mmap.ACCESS_READ) as text,
    ):
        return any(text.find(signs) >= 0 for signs in (b' "', b'" ', b"\r "))


def _layout(con: DuckDBPyConnection, file: File, dialect: Dialect) -> Layout:
    if dialect.encoding == "utf-16":
        _require_utf16(file, dialect)
    fields, lines = _first_record(con, file, dialect)
    if not fields:
        return Layout(file)
    if lines > 1:
        fields = first_record(file.path, dialect) or fields
    names = [
        (name if dialect.header else "") or f"column_{number}"
        for number, name in enumerate(fields, start=1)
    ]
    _require_names(file, names)
    line_end = _scanned_line_end(con, file, dialect, lines) if lines > 1 else ""
    layout = Layout(file, tuple((name, "VARCHAR") for name in names), line_end)
    if dialect.header and any(sign in names[0] for sign in f'{dialect.delimiter}"\r\n'):
        return replace(layout, header_row=_header_row(con, layout, dialect))
    return layout


def _header_row(
    con: DuckDBPyConnection, layout: Layout, dialect: Dialect
) -> tuple[str | None, ...]:
    """Return the header as it is read as a row; raises ReadError if another row has its values.

    Behind a byte order mark DuckDB 1.5.5 does not see the quotes of the first name: then it drops
    rows with the header, or takes a part of the header for a row.
    """
    width = len(layout.columns)
    no_header = replace(dialect, header=False)
    read = _read([layout], no_header, width, dialect.null)
    values = con.execute(f"select * from {read} limit 1").fetchone() or ()
    matches = _is_row(values)
    (count,) = con.execute(f"select count(*) from {read} where {matches}").fetchall()[0]
    if count != 1:
        raise ReadError(
            f"{layout.file.path}, line 1: the header comes again as a row. Remove the others."
        )
    return values


def _is_row(values: Sequence[str | None]) -> str:
    return " and ".join(
        f"c{number} is not distinct from {'null' if value is None else quote_text(value)}"
        for number, value in enumerate(values)
    )


def _require_names(file: File, names: Sequence[str]) -> None:
    names_by_lower: dict[str, str] = {}
    for number, name in enumerate(names, start=1):
        if "\0" in name:
            raise ReadError(
                f"{file.path}, line 1: the name of column {number} has a NUL character in it, "
                "which no name in the lake has. Rename it."
            )
        namesake = names_by_lower.setdefault(fold_name(name), name)
        if namesake is not name:
            raise ReadError(
                f'{file.path}, line 1: the header has "{namesake}" and "{name}", which are one '
                "name in the lake. Rename one of them."
            )


def _require_one_spelling(layouts: Sequence[Layout]) -> None:
    names_by_lower: dict[str, str] = {}
    for layout in layouts:
        for name, _ in layout.columns:
            namesake = names_by_lower.setdefault(fold_name(name), name)
            if namesake != name:
                raise ReadError(
                    f'{layout.file.path}, line 1: the header has "{name}", and another file of '
                    f'the stream "{namesake}", which are one name in the lake. Rename one of them.'
                )


def _require_utf16(file: File, dialect: Dialect) -> None:
    """Raise ReadError for UTF-16 that DuckDB 1.5.5 misreads: big endian, or with half a letter."""
    with open_content(file.path) as content:
        if content is None:
            return
        length = len(start := content.read(2))
        while part := content.read(1 << 20):
            length += len(part)
    if start == codecs.BOM_UTF16_BE:
        raise ReadError(
            f"{file.path}, line 1: the text is UTF-16 in big endian. Save it in little endian, or "
            "as UTF-8."
        )
    if length % 2:
        raise fault_error(file.path, scan(file.path, dialect)) or ReadError(
            f"{file.path}: its text ends in half a letter. Copy the file again."
        )


def _first_record(con: DuckDBPyConnection, file: File, dialect: Dialect) -> tuple[list[str], int]:
    """Return the fields of the first record, and its number of lines; none for an empty file.

    A quoted field may contain line ends. So the number of lines is doubled until the record ends.
    """
    count = 1
    while True:
        lines = _lines(con, file, dialect, count)
        if not lines:
            return [], 0
        if not lines[0]:
            raise ReadError(f"{file.path}, line 1: is empty. Remove the lines above the header.")
        fields = _parse(lines, dialect)
        if fields is not None:
            return fields, count
        if len(lines) < count or count > _LONGEST_HEADER:
            raise ReadError(f"{file.path}, line 1: a quote is not closed. Fix the header.")
        count *= 2


def _scanned_line_end(con: DuckDBPyConnection, file: File, dialect: Dialect, count: int) -> str:
    """Return the end of a file's records if only DuckDB's lenient mode reads them; else "".

    In strict mode DuckDB 1.5.5 loses rows if the first record has other line ends in it than those
    of records. In lenient mode it forgives what is no CSV, so the whole file is scanned before.
    """
    import duckdb

    try:
        _lines(con, file, dialect, count, strict=True)
    except duckdb.InvalidInputException:
        result = scan(file.path, dialect)
        if result is None:
            raise
    else:
        return ""
    if error := fault_error(file.path, result):
        raise error
    return result.line_end or "\n"


def _lines(
    con: DuckDBPyConnection, file: File, dialect: Dialect, count: int, *, strict: bool = False
) -> list[str]:
    statement = _LINES.format(
        files=quote_files([file.path]),
        encoding=quote_text(dialect.encoding),
        count=count,
        strict=str(strict).lower(),
        line_end="" if strict else _LINE_ENDS["\n"],  # else it does not read each kind of line end
    )
    return [line or "" for (line,) in con.execute(statement).fetchall()]


def _parse(lines: Sequence[str], dialect: Dialect) -> list[str] | None:
    """Return the fields of the first record in these lines; None if it does not end in them."""
    full_lines = (f"{line}\n" for line in lines)
    try:
        return next(csv.reader(full_lines, delimiter=dialect.delimiter, strict=True))
    except csv.Error:
        return None
