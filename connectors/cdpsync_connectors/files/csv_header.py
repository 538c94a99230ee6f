"""The first record of a CSV file: the delimiter that it is written with, and the columns' names."""

from __future__ import annotations

import contextlib
import itertools
import re
import secrets
from dataclasses import replace
from typing import TYPE_CHECKING

from cdpsync.errors import ReadError
from cdpsync.sql import fold_name
from cdpsync_connectors.files.content import is_openable, read_text, undecoded
from cdpsync_connectors.files.csv_scan import NOT_ENCODED
from cdpsync_connectors.files.csv_sql import lines_of, read_padded_fields
from cdpsync_connectors.files.dialect import DELIMITERS, delimiter_name
from cdpsync_connectors.files.header_lines import are_no_names, with_line_ends
from cdpsync_connectors.files.records import RecordRules, read_records
from cdpsync_connectors.files.schema import Layout

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from duckdb import DuckDBPyConnection

    from cdpsync_connectors.files.dialect import Dialect
    from cdpsync_connectors.files.discover import File

_LONGEST_HEADER = 1 << 16  # lines
_SEPARATOR_LINE = re.compile(r"sep=[^\w\s\"']|sep=\t", re.IGNORECASE)


def layout_of(con: DuckDBPyConnection, file: File, dialect: Dialect) -> Layout:
    """Return the columns of a file, and the dialect with the delimiter that it is written with."""
    headers = _headers(con, file, dialect)
    if not headers:
        return Layout(file)
    _require_no_separator_line(file.path, headers)
    found_dialect = _with_delimiter(con, file, dialect, headers)
    all_fields = headers[found_dialect.delimiter]
    fields = list(map(with_line_ends, all_fields[: len(all_fields) - dialect.origin_fields]))
    _require_known_start(file.path, fields, found_dialect)
    notices = []
    if found_dialect.delimiter != dialect.delimiter:
        notices.append(
            f"{file.path}: its fields are separated by {delimiter_name(found_dialect.delimiter)}"
        )
    given_names = [
        (name if dialect.header else "") or f"column_{number}"
        for number, name in enumerate(fields, start=1)
    ]
    _require_no_nul(file.path, given_names)
    names = distinct_names(given_names)
    for number, (given, name) in enumerate(zip(given_names, names, strict=True), start=1):
        if name != given:
            notices.append(
                f'{file.path}: the header names "{given}" again in column {number}, which is '
                f'"{name}" in the lake'
            )
    if are_no_names(fields):
        found_dialect = replace(found_dialect, header=True)
    return Layout(
        file,
        tuple((name, "VARCHAR") for name in names),
        tuple(fields) if dialect.header else (),
        found_dialect,
        notices=tuple(notices),
    )


def _require_no_separator_line(path: str, headers: Mapping[str, Sequence[str]]) -> None:
    """Raise ReadError for the line `sep=;` above the header, by which Excel knows the delimiter."""
    for delimiter, fields in headers.items():
        line = delimiter.join(fields)
        if _SEPARATOR_LINE.fullmatch(line):
            raise ReadError(
                f"{path}, line 1: {line!r} tells Excel the delimiter, and is no header. Set skip: "
                "1 of the source."
            )


def _require_no_nul(path: str, names: Sequence[str]) -> None:
    for number, name in enumerate(names, start=1):
        if "\0" in name:
            raise ReadError(
                f"{path}, line 1: the name of column {number} has a NUL character in it, which no "
                "name in the lake has. Rename it."
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


def _first_record(con: DuckDBPyConnection, file: File, dialect: Dialect) -> list[str] | None:
    """Return the fields of the first record; None for a file without text."""
    rules = RecordRules(dialect.delimiter, dialect.quote, nulls=())
    record = next(read_records(_text(con, file.path), rules), None)
    if record is None:
        return None
    if undecoded(record.text):
        raise ReadError(f"{file.path}, line 1: {NOT_ENCODED}. Fix the header.")
    if record.is_blank:
        raise ReadError(
            f"{file.path}, line 1: is empty. Set skip: to the number of lines above the header."
        )
    if record.fault:
        raise ReadError(f"{file.path}, line 1: {record.fault}. Fix the header.")
    return [field or "" for field in record.fields]


def _text(con: DuckDBPyConnection, path: str) -> Iterator[str]:
    """Yield the text of a file; its first lines by DuckDB where this Python cannot open it."""
    if is_openable(path):
        yield from read_text(path, "utf-8-sig", keeps_bytes=True)
    else:
        yield from (f"{line}\n" for line in lines_of(con, path, _LONGEST_HEADER))


def _require_known_start(path: str, fields: Sequence[str], dialect: Dialect) -> None:
    """Raise ReadError for a first record that DuckDB 1.5.5 may misread, and no copy can be made."""
    is_odd = any("\n" in name for name in fields) or {dialect.delimiter, dialect.quote} & {
        *fields[0]
    }
    if is_odd and not is_openable(path):
        raise ReadError(
            f"{path}, line 1: the first record of a .zst file has a line end, a quote or a "
            "delimiter in it, which is read with pyarrow: pip install pyarrow. Or compress the "
            "file with gzip."
        )
