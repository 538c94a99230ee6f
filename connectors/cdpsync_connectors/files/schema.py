"""The schema of a stream: the type of each column, over all files."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from cdpsync.errors import ReadError
from cdpsync.model.types import widens
from cdpsync_connectors._shared import exact_sql as sql
from cdpsync_connectors._shared.exact_types import ColumnStats

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from duckdb import DuckDBPyConnection

    from cdpsync_connectors.files.discover import File


_FEW_COLUMNS = 32


@dataclass(frozen=True, slots=True)
class Layout:
    """A file and its own columns in order: names, and types (VARCHAR in text files).

    Of a CSV: `line_end` is set if the file was scanned, because DuckDB's strict mode cannot read
    it; `header_row` has the values of the header if it is read as a row, and left out by value.
    """

    file: File
    columns: tuple[tuple[str, str], ...] = ()
    line_end: str = ""
    header_row: tuple[str | None, ...] = ()


@dataclass(frozen=True, slots=True)
class FileSchema:
    """The columns of all files of a stream, in order of first appearance; UNKNOWN if all NULL.

    `longest_line` is how many bytes a line of JSON may have. `inexact` tells of columns why their
    values cannot be read exactly.
    """

    types: dict[str, str]
    layouts: tuple[Layout, ...]
    rows: int | None = None
    longest_line: int = 1 << 24
    inexact: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class TextFormat:
    """The SQL over a value of a text format: its class, and its number's text.

    `otherwise` is the type of a column that no other type fits.
    """

    class_of: Callable[[str], str]
    number_of: Callable[[str], str]
    otherwise: str


def infer_types(
    con: DuckDBPyConnection, values: Sequence[str], format_: TextFormat, source: str
) -> list[str]:
    """Return the type of each column, given as the SQL expression of its value in `source`.

    `source` is read once, and again only for columns that may be floats.
    """
    figures = _aggregate(con, values, format_, _figures, source)
    stats = [ColumnStats(*(number or 0 for number in row)) for row in figures]
    maybe_floats = [number for number, column in enumerate(stats) if column.maybe_float]
    float_values = [values[number] for number in maybe_floats]
    tests = _aggregate(con, float_values, format_, _float_test, source)
    fits_double = {
        number: fits is not False for number, (fits,) in zip(maybe_floats, tests, strict=True)
    }
    return [
        column.type(format_.otherwise, floats=fits_double.get(number, False))
        for number, column in enumerate(stats)
    ]


def _figures(class_: str, text: str) -> tuple[str, ...]:
    numbers = sql.INTEGER | sql.DECIMAL
    return (
        f"bit_or({class_})",
        f"max(case when {class_} & {numbers} > 0 then {sql.whole_digits(text)} end)",
        f"max(case when {class_} = {sql.DECIMAL} then {sql.fraction_digits(text)} end)",
    )


def _float_test(_class: str, text: str) -> tuple[str, ...]:
    return (f"bool_and({sql.float_keeps(text)})",)


def _aggregate(
    con: DuckDBPyConnection,
    values: Sequence[str],
    format_: TextFormat,
    aggregates: Callable[[str, str], tuple[str, ...]],
    source: str,
) -> list[tuple[Any, ...]]:  # Any: DuckDB's rows are
    """Return the aggregates of each value, which are SQL over its class and its number's text.

    Many values become rows, because DuckDB 1.5.5 takes 4 ms to plan the aggregates of each column
    (of 200 columns: 0.8 s), and few do not, because rows cost a tenth more to read.
    """
    count = len(values)
    if count > _FEW_COLUMNS:
        statement = (
            f"select {', '.join(aggregates('k', 't'))} "
            f"from (select n, {format_.class_of('x')} as k, {format_.number_of('x')} as t "
            f"from (select unnest([{', '.join(values)}]) as x, unnest(range({count})) as n "
            f"from ({source}))) group by n order by n"
        )
        return con.execute(statement).fetchall() or [(None,) * len(aggregates("k", "t"))] * count
    if not values:
        return []
    classes = ", ".join(
        f"{format_.class_of(value)} as k{n}, {format_.number_of(value)} as t{n}"
        for n, value in enumerate(values)
    )
    width = len(aggregates("k", "t"))
    figures = ", ".join(", ".join(aggregates(f"k{n}", f"t{n}")) for n in range(count))
    row = con.execute(f"select {figures} from (select {classes} from ({source}))").fetchall()[0]
    return [row[start : start + width] for start in range(0, len(row), width)]


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
