"""The types of a stream's columns, over all its files."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cdpsync.errors import ReadError
from cdpsync.model.types import widens
from cdpsync_connectors._shared import exact_sql as sql
from cdpsync_connectors._shared.exact_types import Seen

if TYPE_CHECKING:
    from collections.abc import Sequence

    from duckdb import DuckDBPyConnection

    from cdpsync_connectors.files.discover import File


@dataclass(frozen=True, slots=True)
class Layout:
    """A file with the names, and for Parquet the types, of its own columns, in their order."""

    file: File
    columns: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class FileSchema:
    """A stream over all its files: the type of each column, in order of first appearance."""

    types: dict[str, str]
    layouts: tuple[Layout, ...]
    rows: int | None = None


def infer_types(
    con: DuckDBPyConnection,
    columns: Sequence[tuple[str, str]],
    source: str,
    otherwise: str,
) -> list[str]:
    """Return the type of each (class, number text) pair of expressions over the rows of `source`.

    One pass; a second one only over columns that may be floats.
    """
    if not columns:
        return []
    seen = _see(con, columns, source)
    floats = [number for number, one in enumerate(seen) if one.maybe_float]
    kept: dict[int, bool] = {}
    if floats:
        tests = ", ".join(f"bool_and({sql.float_keeps(columns[number][1])})" for number in floats)
        row = _row(con, f"select {tests} from ({source})")
        kept = dict(zip(floats, (value is not False for value in row), strict=True))
    return [one.type(otherwise, floats=kept.get(n, False)) for n, one in enumerate(seen)]


def _see(con: DuckDBPyConnection, columns: Sequence[tuple[str, str]], source: str) -> list[Seen]:
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
    return [Seen(classes or 0, whole or 0, fraction or 0) for classes, whole, fraction in triples]


def _row(con: DuckDBPyConnection, statement: str) -> tuple[Any, ...]:  # Any: DuckDB's rows are
    row: tuple[Any, ...] = con.execute(statement).fetchall()[0]
    return row


def joined_type(column: str, held: str, file: File, arriving: str) -> str:
    """Return the type that holds a column of two files exactly; raises ReadError for none."""
    if widens(arriving, held):
        return held
    if widens(held, arriving):
        return arriving
    raise ReadError(
        f'{file.path}: column "{column}" is {arriving}, and {held} in another file of the stream; '
        "neither holds the other exactly. Make the files alike, or narrow path."
    )
