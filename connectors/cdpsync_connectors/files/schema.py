"""The schema of a stream: the type of each column, over all files."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cdpsync.errors import ReadError
from cdpsync.model.types import widens
from cdpsync_connectors._shared import exact_sql as sql
from cdpsync_connectors._shared.exact_types import ColumnStats

if TYPE_CHECKING:
    from collections.abc import Sequence

    from duckdb import DuckDBPyConnection

    from cdpsync_connectors.files.discover import File


@dataclass(frozen=True, slots=True)
class Layout:
    """A file and its own columns in order: names, and types (VARCHAR in text files)."""

    file: File
    columns: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class FileSchema:
    """The columns of all files of a stream, in order of first appearance; UNKNOWN if all NULL.

    `longest_line` is how many bytes a line of JSON may have.
    """

    types: dict[str, str]
    layouts: tuple[Layout, ...]
    rows: int | None = None
    longest_line: int = 1 << 24


def infer_types(
    con: DuckDBPyConnection,
    columns: Sequence[tuple[str, str]],
    source: str,
    otherwise: str,
) -> list[str]:
    """Return the type of each column, given as two SQL expressions: its class, its number's text.

    `source` is read once, and again only for columns that may be floats. `otherwise` is the type
    of a column that no other type fits.
    """
    if not columns:
        return []
    values = _summarize(con, columns, source)
    floats = [number for number, column in enumerate(values) if column.maybe_float]
    fits_double: dict[int, bool] = {}
    if floats:
        tests = ", ".join(f"bool_and({sql.float_keeps(columns[number][1])})" for number in floats)
        row = _row(con, f"select {tests} from ({source})")
        fits_double = dict(zip(floats, (value is not False for value in row), strict=True))
    return [
        column.type(otherwise, floats=fits_double.get(number, False))
        for number, column in enumerate(values)
    ]


def _summarize(
    con: DuckDBPyConnection, columns: Sequence[tuple[str, str]], source: str
) -> list[ColumnStats]:
    classes = ", ".join(
        f"{class_} as k{n}, {text} as t{n}" for n, (class_, text) in enumerate(columns)
    )
    numbers = sql.INTEGER | sql.DECIMAL
    figures = ", ".join(
        f"bit_or(k{n}), max(case when k{n} & {numbers} > 0 then {sql.whole_digits(f't{n}')} end), "
        f"max(case when k{n} = {sql.DECIMAL} then {sql.fraction_digits(f't{n}')} end)"
        for n in range(len(columns))
    )
    row = _row(con, f"select {figures} from (select {classes} from ({source}))")
    triples = zip(row[0::3], row[1::3], row[2::3], strict=True)
    return [ColumnStats(*(number or 0 for number in triple)) for triple in triples]


def _row(con: DuckDBPyConnection, statement: str) -> tuple[Any, ...]:  # Any: DuckDB's rows are
    row: tuple[Any, ...] = con.execute(statement).fetchall()[0]
    return row


def joined_type(column: str, known_type: str, file: File, file_type: str) -> str:
    """Return the type that holds a column of two files exactly; raises ReadError if none does."""
    if widens(file_type, known_type):
        return known_type
    if widens(known_type, file_type):
        return file_type
    raise ReadError(
        f'{file.path}: column "{column}" is {file_type}, and {known_type} in another file of the '
        "stream; neither type holds the values of the other exactly. Give the column one type in "
        "all files, or narrow path."
    )
