"""The schema of a stream: the type of each column, over all files."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, cast

from cdpsync.connector import exact_sql as sql
from cdpsync.connector.exact_types import ColumnStats
from cdpsync.errors import ReadError
from cdpsync.model.types import common_type
from cdpsync.sql import fold_name, quote_name

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from duckdb import DuckDBPyConnection
    from duckdb.sqltypes import DuckDBPyType

    from cdpsync_connectors.files.dialect import Dialect
    from cdpsync_connectors.files.discover import File


LINE, TEXT = f'"line {secrets.token_hex(16)}"', f'"text {secrets.token_hex(16)}"'
"""The names of a record's line and text, where a read has them; no column has such a name."""

_FEW_COLUMNS = 32


@dataclass(frozen=True, slots=True)
class Layout:
    """A file and its own columns in order: names, and types (VARCHAR in text files).

    Of a CSV, `header` has the fields of its first record as they are written, and `dialect` the
    delimiter that was found. Of JSON, `json_format` is DuckDB's name for how the records stand in
    the file, and `json_has_origin` tells that each has its line in it. `notices` tell what was
    decided about the file.
    """

    file: File
    columns: tuple[tuple[str, str], ...] = ()
    header: tuple[str, ...] = ()
    dialect: Dialect | None = None
    json_format: str = "newline_delimited"
    json_has_origin: bool = False
    notices: tuple[str, ...] = ()

    @property
    def has_origin(self) -> bool:
        """Whether each record has its line and its text, so that it can be rejected."""
        return self.json_has_origin or (self.dialect is not None and self.dialect.has_origin)

    @property
    def text_dialect(self) -> Dialect:
        """The dialect of a CSV that has columns."""
        if self.dialect is None:
            raise ReadError(f"{self.file.path}: has no text.")
        return self.dialect


@dataclass(frozen=True, slots=True)
class FileSchema:
    """The columns of all files of a stream, in order of first appearance; UNKNOWN if all NULL.

    `longest_line` is how many bytes a record of JSON may have, and `json_keys` are the keys of the
    columns. `inexact` tells of columns why their values cannot be read exactly, `conflicts` why
    their files have no common type, so that the user has to give one. `notices` tell what was
    decided about the files.
    """

    types: dict[str, str]
    layouts: tuple[Layout, ...]
    rows: int | None = None
    longest_line: int = 1 << 24
    json_keys: tuple[str, ...] = ()
    inexact: dict[str, str] = field(default_factory=dict)
    conflicts: dict[str, str] = field(default_factory=dict)
    notices: tuple[str, ...] = ()

    def read_from(self, files: Sequence[File]) -> FileSchema:
        """Return the schema over other files with the same content, in the same order."""
        pairs = zip(self.layouts, files, strict=True)
        return replace(self, layouts=tuple(replace(layout, file=file) for layout, file in pairs))


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


def joined_type(old: DuckDBPyType, new: DuckDBPyType) -> str | None:
    """Return the type that holds the values of both types exactly; None if there is none.

    A struct has the fields of both; in the values of the other it is NULL.
    """
    if old.id == new.id == "struct":
        return _joined_struct(_children(old), _children(new))
    if old.id == new.id == "list":
        element = joined_type(_children(old)["child"], _children(new)["child"])
        return element and f"{element}[]"
    return common_type(str(old), str(new))


def _children(type_: DuckDBPyType) -> dict[str, DuckDBPyType]:
    return dict(cast("list[tuple[str, DuckDBPyType]]", type_.children))


def _joined_struct(old: dict[str, DuckDBPyType], new: dict[str, DuckDBPyType]) -> str | None:
    types = {}
    for name in dict.fromkeys((*old, *new)):
        both = name in old and name in new
        types[name] = joined_type(old[name], new[name]) if both else str((old | new)[name])
    if None in types.values() or len(set(map(fold_name, types))) < len(types):
        return None
    return f"STRUCT({', '.join(f'{quote_name(name)} {types[name]}' for name in types)})"
