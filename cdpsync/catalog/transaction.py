"""One transaction of the lake: all of it, on the disk, or nothing."""

from __future__ import annotations

from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from cdpsync.system import disk

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import duckdb

    from cdpsync.model import TableName

_FOLDERS = """
    select distinct
        if(t.path_is_relative, if(s.path_is_relative, m.value, '') || s.path, '') || t.path
    from __ducklake_metadata_lake.ducklake_table as t
    join __ducklake_metadata_lake.ducklake_schema as s using (schema_id)
    join __ducklake_metadata_lake.ducklake_metadata as m on m.key = 'data_path' and m.scope is null
    where (s.schema_name, t.table_name) in (select unnest(?), unnest(?))
        and s.end_snapshot is null and t.end_snapshot is null
"""


# The catalog's first snapshot is DuckLake's own.
_OTHERS = """
    select 1 from __ducklake_metadata_lake.ducklake_snapshot_changes
    where snapshot_id > 0 and author is distinct from 'cdpsync'
    limit 1
"""


@contextmanager
def transaction(con: duckdb.DuckDBPyConnection, message: str, *tables: TableName) -> Iterator[None]:
    """Commit what the block does under a message, or nothing of it when it raises.

    What DuckLake itself writes for these tables (which rows are deleted, rows merged) is on the
    disk before the catalog names it: DuckDB 1.5.5 waits for it with its catalog, not with Parquet.
    """
    import duckdb

    con.begin()
    try:
        folders = _folders(con, tables)
        before = {folder: _written(folder) for folder in folders}
        yield
        for folder in folders:
            news = _written(folder) - before[folder]
            for file in news:
                disk.fsync(file)
            if news:
                disk.fsync(folder)
        con.execute("call ducklake_set_commit_message('lake', 'cdpsync', ?)", [message])
        con.commit()
    except BaseException:
        with suppress(duckdb.Error):  # a commit that failed has ended the transaction
            con.rollback()
        raise


def has_other_writers(con: duckdb.DuckDBPyConnection) -> bool:
    """Whether any snapshot that is left was made by something else than `transaction`."""
    return con.execute(_OTHERS).fetchone() is not None


def _folders(con: duckdb.DuckDBPyConnection, tables: Sequence[TableName]) -> list[Path]:
    """Return where DuckLake writes for tables that there are, unless that is a bucket."""
    if not tables:
        return []
    names = [[table.schema for table in tables], [table.name for table in tables]]
    rows = con.execute(_FOLDERS, names).fetchall()
    return [Path(row[0]) for row in rows if "://" not in row[0]]


def _written(folder: Path) -> set[Path]:
    return set(folder.glob("ducklake-*.parquet"))
