"""Merges of large values: rows are compared by digests, and found again in their files.

A row of the comparison is in memory as a whole, and often several times. So a value of a large
column stands there as its SHA-256, and the rows to load are copied from file to file.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cdpsync.load.parquet import write
from cdpsync.sql import glob_escaped, quote_name, quote_names, quote_text

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from pathlib import Path

    import duckdb

    from cdpsync.model import Column

_LARGE_VALUE = 1_000  # bytes, on average in one row group
_MUCH = 16_000_000  # bytes; fewer are compared as they are
_COMPRESSION = 1_000  # values of more than that to one are equal, and rare
_DIGESTED_TYPES = {"VARCHAR", "BLOB", "JSON"}
_POSITION = ("filename", "file_row_number")  # DuckDB's names; a column of its own would hide them

_LARGE_COLUMNS = """
    with chunk as (
        select path_in_schema as name, total_uncompressed_size as bytes,
            total_uncompressed_size / greatest(row_group_num_rows, 1) as value_bytes
        from parquet_metadata([{files}])
    )
    select name from chunk group by name
    having max(value_bytes) >= {large} and (select sum(bytes) from chunk) >= {much}
"""

INCOMING_DIGESTS = "incoming_digests"
"""The table of `read_digests`. It has each row's position, too: `filename`, `file_row_number`."""

_INCOMING = """
    create or replace temporary table incoming_digests as
    select {position}, {values} from read_parquet([{files}], hive_partitioning = false)
"""

# Of equal rows, as many as are to be loaded.
_POSITIONS = """
    create or replace temporary table loaded_positions as
    with loaded as (
        select *, row_number() over (partition by {columns}) as {number} from ({select})
    ), incoming as (
        select *, row_number() over (partition by {columns} order by {position}) as {number}
        from incoming_digests
    )
    select {position} from incoming semi join loaded on {same}
"""

_ROWS_OF_FILE = """
    select {columns} from read_parquet({file}, hive_partitioning = false)
    where get_bit(getvariable('loaded_rows'), file_row_number::integer) = 1
"""


def digestible(columns: Sequence[Column], compared: Collection[str]) -> frozenset[str]:
    """Return the columns that may be compared by digests; `compared` are those that may not.

    None where a column has the name by which DuckDB calls a row's position.
    """
    if any(column.name.lower() in _POSITION for column in columns):
        return frozenset()
    return frozenset(
        column.name
        for column in columns
        if column.type in _DIGESTED_TYPES and column.name not in compared
    )


def large_columns(con: duckdb.DuckDBPyConnection, files: Sequence[Path]) -> set[str]:
    """Return the columns of Parquet files that have large values; none if the files are small.

    Files so small that they can hardly have much are not asked, because that takes 2 ms a table.
    """
    if sum(file.stat().st_size for file in files) * _COMPRESSION < _MUCH:
        return set()
    sql = _LARGE_COLUMNS.format(files=_quoted(files), large=_LARGE_VALUE, much=_MUCH)
    return {str(name) for (name,) in con.execute(sql).fetchall()}


def digest(expression: str) -> str:
    """Return the digest of a VARCHAR, BLOB or JSON expression in SQL."""
    return f"sha256({expression})"


def read_digests(
    con: duckdb.DuckDBPyConnection,
    files: Sequence[Path],
    columns: Sequence[Column],
    digested: Collection[str],
) -> str:
    """Read the rows of Parquet files with digests into a table; return a SELECT of it."""
    values = ", ".join(
        f"{digest(name) if column.name in digested else name} as {name}"
        for column in columns
        for name in [quote_name(column.name)]
    )
    con.execute(
        _INCOMING.format(position=", ".join(_POSITION), values=values, files=_quoted(files))
    )
    return f"select {quote_names(column.name for column in columns)} from incoming_digests"


def write_loaded(
    con: duckdb.DuckDBPyConnection,
    select: str,
    columns: Sequence[Column],
    files: Sequence[Path],
    folder: Path,
) -> tuple[tuple[Path, ...], int, int]:
    """Write the rows that `select` returns with digests; return the files, rows and bytes.

    A file of which every row is selected is returned itself, if it has no other columns.
    """
    names = [quote_name(column.name) for column in columns]
    number = quote_name("number of the equal row")
    same = " and ".join(
        f"incoming.{name} is not distinct from loaded.{name}" for name in [*names, number]
    )
    con.execute(
        _POSITIONS.format(
            position=", ".join(_POSITION),
            columns=", ".join(names),
            number=number,
            select=select,
            same=same,
        )
    )
    written = [_write_rows_of(con, names, file, folder) for file in files]
    with_rows = [(path, rows, size) for path, rows, size in written if rows]
    return (
        tuple(path for path, _, _ in with_rows),
        sum(rows for _, rows, _ in with_rows),
        sum(size for _, _, size in with_rows),
    )


def _write_rows_of(
    con: duckdb.DuckDBPyConnection, names: Sequence[str], file: Path, folder: Path
) -> tuple[Path, int, int]:
    """Write the selected rows of one file; return the path, its rows and bytes."""
    where = f"from loaded_positions where filename = {quote_text(str(file))}"
    (selected,) = con.execute(f"select count(*) {where}").fetchone() or (0,)
    if not selected:
        return file, 0, 0
    path = quote_text(glob_escaped(str(file)))
    source = f"from read_parquet({path}, hive_partitioning = false)"
    (rows,) = con.execute(f"select count(*) {source}").fetchone() or (0,)
    width = len(con.execute(f"describe {source}").fetchall())
    if (selected, len(names)) == (rows, width):
        return file, rows, file.stat().st_size
    con.execute(
        f"set variable loaded_rows = (select bitstring_agg(file_row_number, 0, {rows - 1}) {where})"
    )
    target = folder / f"merged-{file.name}"
    select = _ROWS_OF_FILE.format(columns=", ".join(names), file=path)
    return target, *write(con, select, target, len(names))


def _quoted(files: Sequence[Path]) -> str:
    return ", ".join(quote_text(glob_escaped(str(file))) for file in files)
