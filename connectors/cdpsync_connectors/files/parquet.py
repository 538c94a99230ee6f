"""Parquet: names and types from the footers, joined over the files of a stream."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cdpsync_connectors._shared.exact_sql import quote_files
from cdpsync_connectors.files.page_checksums import require_checksums
from cdpsync_connectors.files.schema import FileSchema, Layout, joined_type

if TYPE_CHECKING:
    from collections.abc import Sequence

    from duckdb import DuckDBPyConnection

    from cdpsync_connectors.files.discover import File


def read_schema(con: DuckDBPyConnection, files: Sequence[File]) -> FileSchema:
    """Return the columns of all files, by name, each with the type that holds all its values."""
    layouts = tuple(_layout(con, file) for file in files)
    types: dict[str, str] = {}
    for layout in layouts:
        for name, type_ in layout.columns:
            types[name] = joined_type(name, types.get(name, type_), layout.file, type_)
    for file in files:
        require_checksums(con, file.path)
    return FileSchema(types, layouts, _count(con, files))


def _layout(con: DuckDBPyConnection, file: File) -> Layout:
    relation = con.sql(select_rows([Layout(file)]))
    pairs = zip(relation.columns, relation.types, strict=True)
    return Layout(file, tuple((name, str(type_)) for name, type_ in pairs))


def _count(con: DuckDBPyConnection, files: Sequence[File]) -> int:
    paths = quote_files([file.path for file in files])
    (rows,) = con.execute(f"select sum(num_rows) from parquet_file_metadata({paths})").fetchall()[0]
    return int(rows)


def select_rows(layouts: Sequence[Layout]) -> str:
    """Return the SELECT of all rows of files that have the same columns."""
    paths = quote_files([layout.file.path for layout in layouts])
    return f"select * from read_parquet({paths}, hive_partitioning = false)"
