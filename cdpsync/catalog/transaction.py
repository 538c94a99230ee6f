"""One transaction of the lake: everything is committed and on the disk, or nothing."""

from __future__ import annotations

from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from cdpsync.catalog import ducklake
from cdpsync.system import disk

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import duckdb

    from cdpsync.model import TableName


@contextmanager
def transaction(con: duckdb.DuckDBPyConnection, message: str, *tables: TableName) -> Iterator[None]:
    """Commit the statements of the block under a message, or roll them back when it raises.

    Files that DuckLake itself writes for these tables (deleted rows, merged rows) are synced to
    the disk before the commit, because DuckDB 1.5.5 syncs its catalog, but no Parquet files.
    """
    import duckdb

    con.begin()
    try:
        folders = _folders(con, tables)
        before = {folder: _ducklake_files(folder) for folder in folders}
        yield
        for folder in folders:
            new_files = _ducklake_files(folder) - before[folder]
            for file in new_files:
                disk.fsync(file)
            if new_files:
                disk.fsync(folder)
        ducklake.set_commit_message(con, message)
        con.commit()
    except BaseException:
        with suppress(duckdb.Error):  # a commit that failed has ended the transaction
            con.rollback()
        raise


def _folders(con: duckdb.DuckDBPyConnection, tables: Sequence[TableName]) -> list[Path]:
    """Return the local folders of those of these tables that exist."""
    folders = ducklake.table_folders(con, tables)
    return [Path(folder) for folder in folders if "://" not in folder]


def _ducklake_files(folder: Path) -> set[Path]:
    return set(folder.glob("ducklake-*.parquet"))
