"""One transaction of the lake: all of it, on the disk, or nothing."""

from __future__ import annotations

from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from cdpsync import disk

if TYPE_CHECKING:
    from collections.abc import Iterator

    import duckdb

    from cdpsync.model import TableName

_FOLDER = """
    select if(t.path_is_relative, if(s.path_is_relative, m.value, '') || s.path, '') || t.path
    from __ducklake_metadata_lake.ducklake_table as t
    join __ducklake_metadata_lake.ducklake_schema as s using (schema_id)
    join __ducklake_metadata_lake.ducklake_metadata as m on m.key = 'data_path' and m.scope is null
    where s.schema_name = ? and t.table_name = ?
        and s.end_snapshot is null and t.end_snapshot is null
"""


# The catalog's first snapshot is DuckLake's own.
_OTHERS = """
    select 1 from __ducklake_metadata_lake.ducklake_snapshot_changes
    where snapshot_id > 0 and author is distinct from 'cdpsync'
    limit 1
"""


@contextmanager
def transaction(
    con: duckdb.DuckDBPyConnection, message: str, table: TableName | None = None
) -> Iterator[None]:
    """Commit what the block does under a message, or nothing of it when it raises.

    What DuckLake itself writes for this table (which rows are deleted, rows merged) is on the disk
    before the catalog names it: DuckDB 1.5.5 waits for the disk with its catalog, not with Parquet.
    """
    import duckdb

    con.begin()
    try:
        folder = None if table is None else _folder(con, table)
        before = _written(folder)
        yield
        for file in _written(folder) - before:
            disk.wait_for(file)
        if folder is not None and folder.exists():
            disk.wait_for(folder)
        con.execute("call ducklake_set_commit_message('lake', 'cdpsync', ?)", [message])
        con.commit()
    except BaseException:
        with suppress(duckdb.Error):  # a commit that failed has ended the transaction
            con.rollback()
        raise


def has_other_writers(con: duckdb.DuckDBPyConnection) -> bool:
    """Whether any snapshot that is left was made by something else than `transaction`."""
    return con.execute(_OTHERS).fetchone() is not None


def _folder(con: duckdb.DuckDBPyConnection, table: TableName) -> Path | None:
    """Return where DuckLake writes for a table; None where that is a bucket, or not yet known."""
    row = con.execute(_FOLDER, [table.schema, table.name]).fetchone()
    return None if row is None or "://" in row[0] else Path(row[0])


def _written(folder: Path | None) -> set[Path]:
    return set() if folder is None else set(folder.glob("ducklake-*.parquet"))
