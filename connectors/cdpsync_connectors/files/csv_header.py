"""The first record of a CSV file: the delimiter that it is written with, and the columns' names."""

from __future__ import annotations

import codecs
import contextlib
import csv
import itertools
import secrets
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from cdpsync.errors import ReadError
from cdpsync.sql import fold_name
from cdpsync_connectors.files.csv_sql import lines_of, read_padded_fields
from cdpsync_connectors.files.dialect import DELIMITERS, delimiter_name, python_reader
from cdpsync_connectors.files.schema import Layout

if TYPE_CHECKING:
    from collections.abc import Sequence

    from duckdb import DuckDBPyConnection

    from cdpsync_connectors.files.dialect import Dialect
    from cdpsync_connectors.files.discover import File

_LONGEST_HEADER = 1 << 16  # lines


def layout_of(con: DuckDBPyConnection, file: File, dialect: Dialect) -> Layout:
    """Return the columns of a file, and the dialect with the delimiter that it is written with."""
    headers = _headers(con, file, dialect)
    if not headers:
        return Layout(file)
    found_dialect = _with_delimiter(con, file, dialect, headers)
    all_fields = headers[found_dialect.delimiter]
    fields = all_fields[: len(all_fields) - dialect.origin_fields]
    notices = []
    if found_dialect != dialect:
        notices.append(
            f"{file.path}: its fields are separated by {delimiter_name(found_dialect.delimiter)}"
        )
    given_names = [
        (name if dialect.header else "") or f"column_{number}"
        for number, name in enumerate(fields, start=1)
    ]
    if dialect.header and any("\n" in name for name in given_names) and _may_have_mark(file):
        raise ReadError(
            f"{file.path}, line 1: a column's name has a line end in it, behind a byte order mark. "
            "Save the file without the mark, or the name on one line."
        )
    names = distinct_names(given_names)
    for number, (given, name) in enumerate(zip(given_names, names, strict=True), start=1):
        if name != given:
            notices.append(
                f'{file.path}: the header names "{given}" again in column {number}, which is '
                f'"{name}" in the lake'
            )
    return Layout(
        file,
        tuple((name, "VARCHAR") for name in names),
        tuple(fields) if dialect.header else (),
        found_dialect,
        notices=tuple(notices),
    )


def distinct_names(names: Sequence[str]) -> list[str]:
    """Return the names, a repeated one as `name_2`, `name_3`; the lake ignores their case."""
    taken_names = set(map(fold_name, names))
    seen_names: set[str] = set()
    distinct = []
    for name in names:
        if fold_name(name) in seen_names:
            numbered = (f"{name}_{number}" for number in itertools.count(2))
            distinct.append(next(new for new in numbered if fold_name(new) not in taken_names))
        else:
            distinct.append(name)
        seen_names.add(fold_name(name))
        taken_names.add(fold_name(distinct[-1]))
    return distinct


def _headers(con: DuckDBPyConnection, file: File, dialect: Dialect) -> dict[str, list[str]]:
    """Return the first record under the dialect's delimiter, and under usual ones that divide it.

    It is empty for a file without text. Raises ReadError if there is no such record.
    """
    default = dialect.delimiter
    try:
        header = _first_record(con, file, dialect)
    except ReadError as error:
        headers = {} if dialect.delimiter_is_set else _other_headers(con, file, dialect, None)
        if not headers:
            raise error from None
        return headers
    if header is None:
        return {}
    if dialect.delimiter_is_set:
        return {default: header}
    return {default: header} | _other_headers(con, file, dialect, header)


def _other_headers(
    con: DuckDBPyConnection, file: File, dialect: Dialect, header: list[str] | None
) -> dict[str, list[str]]:
    """Return the first record under each other usual delimiter that divides it.

    `header` is the record under the dialect's own, or None where that does not end.
    """
    headers = {}
    for delimiter in DELIMITERS:
        may_divide = header is None or any(delimiter in field for field in header)
        if delimiter == dialect.delimiter or not may_divide:
            continue
        with contextlib.suppress(ReadError):
            fields = _first_record(con, file, replace(dialect, delimiter=delimiter))
            if fields is not None and len(fields) > 1:
                headers[delimiter] = fields
    return headers


def _with_delimiter(
    con: DuckDBPyConnection, file: File, dialect: Dialect, headers: dict[str, list[str]]
) -> Dialect:
    """Return the dialect with the delimiter that all records are written with.

    Under it, each record has as many fields as the header, two or more. Raises ReadError if there
    is no such delimiter and the header has a usual one in it, or if there are several.
    """
    if list(headers) == [dialect.delimiter]:
        return dialect
    fitting = [
        delimiter
        for delimiter, header in headers.items()
        if len(header) > 1
        and _is_width_of_all(con, file, replace(dialect, delimiter=delimiter), len(header))
    ]
    if len(fitting) > 1:  # a quote inside a field shows that the delimiter is in a quoted one
        fitting = [
            delimiter
            for delimiter in fitting
            if not dialect.quote or not any(dialect.quote in field for field in headers[delimiter])
        ] or fitting
    if not fitting and len(headers.get(dialect.delimiter, [])) > 1:
        return dialect  # a record is broken, whose line is still to be told
    if len(fitting) == 1:
        return replace(dialect, delimiter=fitting[0])
    others = [delimiter for delimiter in headers if delimiter != dialect.delimiter]
    choices = " or ".join(delimiter_name(delimiter) for delimiter in fitting or others)
    reason = "and so could each record" if fitting else "and a record has another number of fields"
    raise ReadError(
        f"{file.path}, line 1: the header could be separated by {choices}, {reason}. "
        'Set delimiter: of the source, such as delimiter: ";".'
    )


def _is_width_of_all(con: DuckDBPyConnection, file: File, dialect: Dialect, width: int) -> bool:
    import duckdb

    no_text = secrets.token_hex(16).replace(dialect.delimiter, "")
    read = read_padded_fields([file.path], dialect, width + 1, no_text)
    try:
        row = con.execute(
            f"select 1 from {read} where c{width - 1} is null or c{width} is not null limit 1"
        ).fetchone()
    except duckdb.InvalidInputException:
        return False
    return row is None


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
        lines = lines_of(con, file.path, count)
        if not lines:
            return None
        if not lines[0]:
            raise ReadError(
                f"{file.path}, line 1: is empty. Set skip: to the number of lines above the header."
            )
        fields = _parse(lines, dialect)
        if fields is not None:
            if count > 1:  # DuckDB 1.5.5 loses a row behind such a header if line ends are mixed
                lines_of(con, file.path, count, strict=True)
            return fields
        if len(lines) < count or count > _LONGEST_HEADER:
            raise ReadError(f"{file.path}, line 1: a quote is not closed. Fix the header.")
        count *= 2


def _parse(lines: Sequence[str], dialect: Dialect) -> list[str] | None:
    """Return the fields of the first record in these lines; None if it does not end in them."""
    full_lines = (f"{line}\n" for line in lines)
    try:
        return next(python_reader(full_lines, dialect, strict=True))
    except csv.Error:
        return None
