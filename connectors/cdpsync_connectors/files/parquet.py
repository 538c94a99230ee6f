"""Parquet: names and types from the footers, joined over the files of a stream."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from cdpsync.connector.exact_sql import quote_files
from cdpsync.connector.exact_types import UNKNOWN
from cdpsync.errors import ReadError
from cdpsync_connectors.files.page_checksums import require_checksums
from cdpsync_connectors.files.schema import FileSchema, Layout, joined_type

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from duckdb import DuckDBPyConnection

    from cdpsync_connectors.files.discover import File

_ELEMENTS = """
    select name, type, coalesce(num_children, 0), coalesce(logical_type, ''),
        coalesce(precision, 0)
    from parquet_schema({files})
"""


def read_schema(con: DuckDBPyConnection, files: Sequence[File]) -> FileSchema:
    """Return the columns of all files, by name, each with the type that holds all its values.

    A column that is only NULL in a file, and has no type there, takes the type of the others.
    """
    from duckdb import sqltype

    layouts = tuple(_layout(con, file) for file in files)
    types: dict[str, str] = {}
    conflicts: dict[str, str] = {}
    for layout in layouts:
        for name, type_ in layout.columns:
            known_type = types.get(name) or type_
            joined: str | None = known_type
            if type_ not in {UNKNOWN, known_type}:
                joined = joined_type(sqltype(known_type), sqltype(type_))
            types[name] = joined or known_type
            if joined is None:
                conflicts.setdefault(
                    name,
                    f'{layout.file.path}: column "{name}" is {type_}, and {known_type} in another '
                    "file of the stream; neither type holds the values of the other exactly",
                )
    inexact: dict[str, str] = {}
    for file in files:
        require_checksums(con, file.path)
        for name, type_ in _narrowed_columns(con, file.path):
            inexact.setdefault(name, f'{file.path}: column "{name}" is {type_}')
    rows = _count(con, files)
    return FileSchema(types, layouts, rows, inexact=inexact, conflicts=conflicts)


def _layout(con: DuckDBPyConnection, file: File) -> Layout:
    relation = con.sql(select_rows([Layout(file)]))
    if "\0" in "".join(relation.columns):
        raise ReadError(
            f"{file.path}: the name of a column has a NUL character in it, which no name in the "
            "lake has. Rename it."
        )
    untyped_columns = {
        element.column
        for element in _elements(con, file.path)
        if element.depth == 1 and element.logical_type == "NullType()"
    }
    types = {
        name: UNKNOWN if name in untyped_columns else str(type_)
        for name, type_ in zip(relation.columns, relation.types, strict=True)
    }
    return Layout(file, tuple(types.items()))


def _narrowed_columns(con: DuckDBPyConnection, path: str) -> Iterator[tuple[str, str]]:
    """Yield each column that has a type, at any depth, which DuckDB 1.5.5 does not read exactly.

    It reads decimals beyond 38 digits as DOUBLE, and nanoseconds in UTC, of times of day and of
    INT96 as microseconds. Spark writes INT96 too, but only whole microseconds.
    """
    files = quote_files([path])
    keys = con.execute(f"select key from parquet_kv_metadata({files})").fetchall()
    is_of_spark = (b"org.apache.spark.version",) in keys
    for element in _elements(con, path):
        column, logical_type = element.column, element.logical_type
        if element.physical_type == "INT96" and not is_of_spark:
            yield column, "an INT96 timestamp, which may have nanoseconds"
        elif element.precision > 38:
            yield column, f"a decimal of {element.precision} digits, of which the lake holds 38"
        elif "NANOS=NanoSeconds" in logical_type:
            if logical_type.startswith("TimeType"):
                yield column, "a time of day with nanoseconds, of which the lake holds microseconds"
            elif "isAdjustedToUTC=1" in logical_type:
                yield column, "an instant with nanoseconds, of which the lake holds microseconds"


class _Element(NamedTuple):
    """An element of a file's schema: the column that it belongs to, its depth in it (1: itself)."""

    column: str
    depth: int
    physical_type: str | None
    logical_type: str
    precision: int


def _elements(con: DuckDBPyConnection, path: str) -> Iterator[_Element]:
    statement = _ELEMENTS.format(files=quote_files([path]))
    (root, *elements) = con.execute(statement).fetchall()
    column = ""
    open_children = [root[2]]  # elements that are still to come, at each depth
    for name, physical_type, children, logical_type, precision in elements:
        while not open_children[-1]:
            open_children.pop()
        open_children[-1] -= 1
        depth = len(open_children)
        if depth == 1:
            column = str(name)
        if children:
            open_children.append(children)
        yield _Element(column, depth, physical_type, logical_type, precision)


def _count(con: DuckDBPyConnection, files: Sequence[File]) -> int:
    paths = quote_files([file.path for file in files])
    (rows,) = con.execute(f"select sum(num_rows) from parquet_file_metadata({paths})").fetchall()[0]
    return int(rows)


def select_rows(layouts: Sequence[Layout]) -> str:
    """Return the SELECT of all rows of files that have the same columns."""
    paths = quote_files([layout.file.path for layout in layouts])
    return f"select * from read_parquet({paths}, hive_partitioning = false)"
